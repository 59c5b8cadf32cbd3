/* Normal forms, exact match and F1 against what the SQuAD evaluation gives (tests/golden/make_evals.py answers), and
 * the stop texts of a text that grows. */
#include "base/table.h"
#include "eval/answer.h"
#include "eval/generate.h"

#include "../tap.h"

static void check_row(const struct moe_table *t, int64_t row, int64_t *n_wrong)
{
	const struct moe_str text = moe_table_str(t, row, 0), answer = moe_table_str(t, row, 1),
		normal = moe_table_str(t, row, 2);
	struct moe_err err = { 0 };
	struct moe_match match = { 0 };
	struct moe_buf form = { 0 };
	int64_t literal = -1, exact = -1;
	double f1 = -1;

	moe_answer_normalize(text, &form);
	const bool read = !moe_answer_match(text, answer, &match, &err) &&
	                  !moe_table_i64(t, row, 3, 0, 1, &literal, &err) &&
	                  !moe_table_i64(t, row, 4, 0, 1, &exact, &err) && !moe_table_f64(t, row, 5, &f1, &err);
	const bool same = form.n == normal.n && (form.n == 0 || !memcmp(form.p, normal.p, form.n));
	if (!read || !same || match.literal != literal || match.exact != exact || !(fabs(match.f1 - f1) < 1e-6)) {
		printf("# line %lld: '%s' and '%s': %d %d %.6f, '%s'\n", (long long)moe_table_line(t, row), text.p,
		       answer.p, match.literal, match.exact, match.f1, form.p ? form.p : "");
		++*n_wrong;
	}
	moe_buf_free(&form);
}

static void test_golden(void)
{
	char path[512];
	struct moe_table *t = NULL;
	struct moe_err err = { 0 };
	int64_t n_wrong = 0;

	snprintf(path, sizeof path, "%s/tests/golden/evals/answers.tsv", getenv("MOE_TOP") ? getenv("MOE_TOP") : ".");
	if (!ok(moe_table_read(&t, path, &err) == MOE_OK, "the pairs are read %s", err.text))
		return;
	is_i64(moe_table_rows(t), 400, "all of them");
	for (int64_t row = 0; row < moe_table_rows(t); row++)
		check_row(t, row, &n_wrong);
	is_i64(n_wrong, 0, "normal forms, exact match and F1 are those of the reference");
	moe_table_free(t);
}

static void test_bytes(void)
{
	struct moe_match match = { 0 };
	struct moe_err err = { 0 };

	is_i64(moe_answer_match((struct moe_str){ "\xff the\xc3", 6 }, (struct moe_str){ "\xfe", 1 }, &match, &err),
	       MOE_OK, "bytes that are not UTF-8 are compared");
	ok(!match.literal && !match.exact, "and differ as bytes");
	is_i64(moe_answer_match((struct moe_str){ "", 0 }, (struct moe_str){ "", 0 }, &match, &err), MOE_OK, "nothing");
	ok(match.literal && match.exact && match.f1 == 1, "is nothing");
}

/* As a text grows by one byte at a time: where it ends, and that nothing of a stop text is given out before. */
static void grow(const struct moe_stops *stops, const char *text, size_t wanted)
{
	const size_t n = strlen(text);
	size_t end = n, out = 0;

	for (size_t i = 1; i <= n && end == n; i++) {
		const size_t at = moe_stops_find(stops, text, i, i - 1);

		if (at < i) {
			end = at;
		} else {
			const size_t safe = moe_stops_safe(stops, text, i);

			out = safe > out ? safe : out;
		}
	}
	is_i64((int64_t)end, (int64_t)wanted, "a text of %zu bytes ends", n);
	ok(out <= end, "nothing behind the end is out");
}

static void test_stops(void)
{
	const char *const texts[] = { "abab", "\n\n", "x" };
	const struct moe_stops three = { texts, 3 }, none = { texts, 0 };

	grow(&three, "aabaabab", 4);
	grow(&three, "ab\n", 3);
	grow(&three, "ab\n\n", 2);
	grow(&three, "ababab", 0);
	grow(&three, "\n \n\t\n\n", 4);
	grow(&three, "abax", 3);
	grow(&none, "ababx", 5);
	is_i64((int64_t)moe_stops_find(&three, "abab x", 6, 0), 0, "the earliest of several");
	is_i64((int64_t)moe_stops_safe(&three, "aba", 3), 0, "all of it may be a beginning");
	is_i64((int64_t)moe_stops_safe(&three, "zaba", 4), 1, "but for what stands before");
	is_i64((int64_t)moe_stops_safe(&none, "aba", 3), 3, "without stop texts all is out");
}

static void test_streams(void)
{
	ok(moe_generate_stream("a", 0) != moe_generate_stream("a", 1), "samples draw differently");
	ok(moe_generate_stream("a", 0) != moe_generate_stream("b", 0), "so do items");
	ok(moe_generate_stream("", 0) != 0, "no stream is 0");
}

int main(void)
{
	test_golden();
	test_bytes();
	test_stops();
	test_streams();
	return done();
}
