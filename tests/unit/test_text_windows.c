/* What encoding window by window rests on: where normal forms can be cut, merging a long piece with a short heap,
 * memory that does not grow with the text, and time that does not grow with its square. */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <utf8proc.h>

#include "../tap.h"
#include "base/file.h"
#include "base/rng.h"
#include "text/encode.h"
#include "text/merge.h"
#include "text/normal.h"
#include "text/unicode.h"

#if defined(__has_feature) && !defined(__SANITIZE_ADDRESS__)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
static const bool has_address_sanitizer = true;
#else
static const bool has_address_sanitizer = false;
#endif

/* -- normal forms ------------------------------------------------------------------------------------------------- */

static bool is_new(uint32_t code)
{
	return code == 0x11A7 || moe_unicode_in(moe_unicode_uncombined, moe_unicode_n_uncombined, code);
}

/* Every character that composes with one before it ends the decomposition of some character; every other that may not
 * stand behind a cut has a combining class. */
static void test_cuts(void)
{
	size_t n_wrong = 0, n_marks = 0, n_ends = 0, n_begin = 0;

	for (uint32_t c = 0; c <= 0x10FFFF; c++) {
		utf8proc_int32_t parts[32];
		int boundary = 0;
		utf8proc_ssize_t n;

		n_begin += moe_normal_begins(c, MOE_FORM_C);
		if ((c >= 0xD800 && c < 0xE000) || is_new(c))
			continue;
		if (utf8proc_get_property((utf8proc_int32_t)c)->combining_class != 0) {
			n_marks++;
			for (int form = 0; form < 4; form++)
				n_wrong += moe_normal_begins(c, (enum moe_form)form);
		}
		n = utf8proc_decompose_char((utf8proc_int32_t)c, parts, 32, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
		                            &boundary);
		for (utf8proc_ssize_t i = 1; i < n; i++) {
			n_ends++;
			for (int form = 0; form < 4; form++)
				n_wrong += !is_new((uint32_t)parts[i]) &&
				           moe_normal_begins((uint32_t)parts[i], (enum moe_form)form);
		}
	}
	ok(n_marks > 700 && n_ends > 20000, "%zu marks, %zu characters behind others", n_marks, n_ends);
	is_i64((int64_t)n_wrong, 0, "no text is cut before one of these");
	ok(n_begin > 1000000, "before %zu characters it can be", n_begin);
}

/* -- merges ------------------------------------------------------------------------------------------------------- */

static size_t draw(uint64_t *drawn, size_t n)
{
	return moe_rng_u64(5, 1, (*drawn)++) % n;
}

/* The lowest rank first, the leftmost of equal ones, looked for anew each time. */
static size_t merge_slowly(int32_t (*rules)[4], size_t n_rules, int32_t *symbols, size_t n)
{
	for (;;) {
		int32_t rank = INT32_MAX, id = 0;
		size_t at = 0;

		for (size_t i = 0; i + 1 < n; i++) {
			for (size_t k = 0; k < n_rules; k++) {
				if (rules[k][0] == symbols[i] && rules[k][1] == symbols[i + 1] && rules[k][3] < rank) {
					rank = rules[k][3];
					id = rules[k][2];
					at = i;
				}
			}
		}
		if (rank == INT32_MAX)
			return n;
		symbols[at] = id;
		memmove(symbols + at + 1, symbols + at + 2, (--n - at - 1) * sizeof *symbols);
	}
}

/* Rules that no training would give: later symbols merge first, ranks are equal, results are what others begin with. */
static void test_merges(void)
{
	enum { N_PIECES = 1500, N_MAX = 150, N_RULES = 12 };
	uint64_t drawn = 0;
	int n_good = 0;

	for (int i = 0; i < N_PIECES; i++) {
		const size_t n_kinds = 1 + draw(&drawn, 3), n_rules = 1 + draw(&drawn, N_RULES);
		size_t n = 49 + draw(&drawn, N_MAX - 49), n_slow;
		int32_t rules[N_RULES][4], slow[N_MAX];
		struct moe_merges merges = {0};
		struct moe_merging mg = {.heap_max = 1 + draw(&drawn, 40)};
		struct moe_err err = {0};
		bool good = !moe_merges_room(&merges, n_rules, &err) && !moe_merging_room(&mg, n, &err);

		for (size_t k = 0; k < n_rules && good; k++) {
			const size_t kinds = n_kinds + k;
			rules[k][0] = (int32_t)draw(&drawn, kinds);
			rules[k][1] = (int32_t)draw(&drawn, kinds);
			rules[k][2] = (int32_t)(draw(&drawn, 4) ? kinds : draw(&drawn, kinds));
			rules[k][3] = (int32_t)draw(&drawn, draw(&drawn, 2) ? N_RULES : 100000);
			for (size_t j = 0; j < k; j++) {
				/* A pair that is there already has the later rule. */
				if (rules[j][0] == rules[k][0] && rules[j][1] == rules[k][1])
					memcpy(rules[j], rules[k], sizeof rules[j]);
			}
			moe_merges_put(&merges, rules[k][0], rules[k][1], rules[k][2], (uint32_t)rules[k][3]);
		}
		for (size_t k = 0; k < n && good; k++)
			slow[k] = mg.symbols[k] = (int32_t)draw(&drawn, n_kinds);
		n_slow = good ? merge_slowly(rules, n_rules, slow, n) : 0;
		good = good && !moe_merging_run(&mg, &merges, &n, &err) && n == n_slow &&
		       !memcmp(slow, mg.symbols, n * sizeof *slow);
		if (!good)
			printf("# piece %d, heap of %zu: %zu symbols, expected %zu\n", i, mg.heap_max, n, n_slow);
		n_good += good;
		moe_merges_free(&merges);
		moe_merging_free(&mg);
	}
	is_i64(n_good, N_PIECES, "pieces merge as by looking for the next pair each time");
}

/* -- memory ------------------------------------------------------------------------------------------------------- */

static size_t address_space(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	unsigned long n_pages = 0;

	if (file && fscanf(file, "%lu", &n_pages) != 1)
		n_pages = 0;
	if (file)
		fclose(file);
	return n_pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Encodes within `most` more bytes than there are. */
static void check_memory(const char *name, const char *text, size_t n, size_t most)
{
	const char *top = getenv("MOE_TOP") ? getenv("MOE_TOP") : ".";
	char path[4096];
	struct moe_buf json = {0};
	struct moe_tokenizer *tok = NULL;
	/* One for each byte, and for each space that is put before a piece. */
	struct moe_ids ids = {.ids = malloc(2 * n * sizeof *ids.ids), .cap = 2 * n};
	struct moe_err err = {0};
	struct rlimit before;
	enum moe_status status;

	snprintf(path, sizeof path, "%s/tests/golden/tokenizers/small/%s.json", top, name);
	status = moe_read_all(path, 0, &json, &err);
	if (!status)
		status = moe_tokenizer_parse(&tok, json.p, json.n, NULL, 0, path, &err);
	ok(!status && ids.ids, "%s is read: %s", name, err.text);
	const bool limits = !has_address_sanitizer && address_space() > 0 && getrlimit(RLIMIT_AS, &before) == 0 &&
	                    setrlimit(RLIMIT_AS, &(struct rlimit){address_space() + most, before.rlim_max}) == 0;
	if (!status)
		status = moe_tokenizer_encode(tok, text, n, &ids, &err);
	if (limits)
		setrlimit(RLIMIT_AS, &before);
	ok(!status && ids.n > 0, "%s: %zu bytes of text within %zu of memory: %s", name, n, most, err.text);
	moe_tokenizer_free(tok);
	moe_buf_free(&json);
	moe_ids_free(&ids);
}

static void test_memory(void)
{
	static const char *const names[] = {"gpt2", "o200k", "added", "sp_bpe", "sp_bpe_split", "unigram_whole",
	                                    "unigram"};
	enum { N = 6000000, MOST = 12 << 20, SORTED = 13 };
	static const char unit[] = "2024-05-06 07:08:09.123 [INFO] job-7: It takes 45 ms, Stra\u00dfe \u4e2d\u6587\n";
	char *text = malloc(N);

	for (size_t i = 0; text && i < N; i++)
		text[i] = unit[i % (sizeof unit - 1)];
	for (size_t i = 0; text && i < sizeof names / sizeof *names; i++)
		check_memory(names[i], text, N, MOST);
	/* Marks that a normalizer sorts: all of them wait for the last. */
	for (size_t i = 0; text && i < N; i += 4)
		memcpy(text + i, "\u0301\u0327", 4);
	if (text)
		check_memory("nfd", text, N, SORTED * (size_t)N);
	free(text);
}

/* -- time --------------------------------------------------------------------------------------------------------- */

/* Each of a run of line breaks is a token that takes the others along. */
static void test_blanks(void)
{
	static const char json[] =
		"{\"added_tokens\":[{\"id\":1,\"content\":\"\\n\",\"special\":false,\"single_word\":false,"
		"\"lstrip\":false,\"rstrip\":true,\"normalized\":false}],"
		"\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}";
	enum { N = 1000000, SECONDS = 20 };
	char *text = malloc(N);
	struct moe_tokenizer *tok = NULL;
	struct moe_ids ids = {0};
	struct moe_err err = {0};
	const clock_t before = clock();
	enum moe_status status = moe_tokenizer_parse(&tok, json, sizeof json - 1, NULL, 0, "blanks", &err);
	int32_t n_others = 0;
	double seconds;

	for (size_t i = 0; text && i < N; i++)
		text[i] = i == 0 || i == N - 1 ? 'a' : '\n';
	if (!status && text)
		status = moe_tokenizer_encode(tok, text, N, &ids, &err);
	seconds = (double)(clock() - before) / CLOCKS_PER_SEC;
	for (size_t i = 1; i + 1 < ids.n; i++)
		n_others += ids.ids[i] != 1;
	ok(!status && ids.n == N && ids.ids[0] == 0 && ids.ids[N - 1] == 0 && n_others == 0,
	   "%zu ids of %d line breaks: %s", ids.n, N - 2, err.text);
	ok(seconds < SECONDS, "in %.3f seconds, at most %d", seconds, SECONDS);
	moe_tokenizer_free(tok);
	moe_ids_free(&ids);
	free(text);
}

int main(void)
{
	test_cuts();
	test_merges();
	test_memory();
	test_blanks();
	return done();
}
