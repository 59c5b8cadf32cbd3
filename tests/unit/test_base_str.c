/* Text, numbers, JSON, hashes, arenas, error sentences. */
#include "base/str.h"

#include <locale.h>

#include "../tap.h"
#include "base/arena.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/rng.h"

static bool i64_of(const char *text, int64_t *v) { return moe_parse_i64(moe_str_of(text), v); }
static bool f64_of(const char *text, double *v) { return moe_parse_f64(moe_str_of(text), v); }
static bool bytes_of(const char *text, uint64_t *v) { return moe_parse_bytes(moe_str_of(text), v); }

static void test_numbers(void)
{
	static const char *const not_i64[] = {"", "-", "+1", " 1", "1 ", "1.0", "0x1", "9223372036854775808",
	                                      "-9223372036854775809", "1e3"};
	static const char *const not_f64[] = {"", ".", "-", "e1", "1e", "1e+", "nan", "inf", "0x1p3", " 1", "1 ",
	                                      "1e999", "1,5", "--1"};
	static const char *const not_bytes[] = {"", "-1", "K", "1X", "1KK", "1Ki", "1.5", "1.B", "16777216T", "1 K",
	                                        "5g5", "18446744073709551616", "1.0000001G"};
	int64_t i = 0;
	uint64_t u = 0;
	double f = 0;

	ok(i64_of("9223372036854775807", &i) && i == INT64_MAX, "the largest");
	ok(i64_of("-9223372036854775808", &i) && i == INT64_MIN, "the smallest");
	ok(i64_of("007", &i) && i == 7, "leading zeros");
	for (size_t k = 0; k < sizeof not_i64 / sizeof *not_i64; k++)
		ok(!i64_of(not_i64[k], &i), "'%s' is no integer", not_i64[k]);
	ok(f64_of("-1.5e-3", &f) && f == -1.5e-3, "-1.5e-3");
	ok(f64_of(".5", &f) && f == 0.5 && f64_of("5.", &f) && f == 5 && f64_of("+2", &f) && f == 2, ".5 5. +2");
	ok(f64_of("0.1000000000000000055511151231257827021181583404541015625000000000000000000000", &f) && f == 0.1,
	   "many digits");
	for (size_t k = 0; k < sizeof not_f64 / sizeof *not_f64; k++)
		ok(!f64_of(not_f64[k], &f), "'%s' is no number", not_f64[k]);
	ok(bytes_of("4096", &u) && u == 4096 && bytes_of("512B", &u) && u == 512, "plain bytes");
	ok(bytes_of("64K", &u) && u == 65536 && bytes_of("64k", &u) && u == 65536 && bytes_of("2MiB", &u) &&
	   u == 2 << 20, "powers of 1024");
	ok(bytes_of("80GiB", &u) && u == UINT64_C(80) << 30 && bytes_of("1T", &u) && u == UINT64_C(1) << 40, "G and T");
	ok(bytes_of("5kB", &u) && u == 5000 && bytes_of("5GB", &u) && u == 5000000000, "powers of 1000");
	ok(bytes_of("1.5G", &u) && u == UINT64_C(3) << 29 && bytes_of("0.25K", &u) && u == 256, "fractions");
	for (size_t k = 0; k < sizeof not_bytes / sizeof *not_bytes; k++)
		ok(!bytes_of(not_bytes[k], &u), "'%s' is no size", not_bytes[k]);
}

static void is_f64_text(double value, const char *wanted)
{
	struct moe_buf buf = {0};

	moe_buf_add_f64(&buf, value);
	is_str(buf.p, wanted, "%s", wanted);
	moe_buf_free(&buf);
}

static void test_f64_text(void)
{
	int wrong = 0;

	/* Where the locale exists, its decimal comma must not show. */
	setlocale(LC_ALL, "de_DE.UTF-8");
	is_f64_text(0.5, "0.5");
	is_f64_text(3, "3");
	is_f64_text(1e-6, "1e-06");
	is_f64_text(0.1, "0.1");
	is_f64_text(1.0 / 3, "0.3333333333333333");
	is_f64_text(-0.0, "-0");
	is_f64_text(1e300 * 1e300, "inf");
	is_f64_text(5e-324, "4.94065645841247e-324");
	for (uint64_t i = 0; i < 20000; i++) {
		struct moe_buf buf = {0};
		uint64_t bits = moe_rng_u64(1, 2, i);
		double value, back = 0;

		memcpy(&value, &bits, sizeof value);
		if (!isfinite(value))
			continue;
		moe_buf_add_f64(&buf, value);
		wrong += !moe_parse_f64((struct moe_str){buf.p, buf.n}, &back) || back != value;
		moe_buf_free(&buf);
	}
	is_i64(wrong, 0, "20000 doubles read back as they were");
	setlocale(LC_ALL, "C");
}

static void test_text(void)
{
	struct moe_buf buf = {0};
	struct moe_str rest = moe_str_of("a,,bc,"), item;
	struct moe_err err = {0};
	char text[24], *room;

	ok(moe_str_next(&rest, ',', &item) && moe_str_eq(item, "a"), "first");
	ok(moe_str_next(&rest, ',', &item) && item.n == 0, "empty");
	ok(moe_str_next(&rest, ',', &item) && moe_str_eq(item, "bc"), "last");
	ok(!moe_str_next(&rest, ',', &item), "the end");
	for (int i = 0; i < 1000; i++)
		moe_buf_addf(&buf, "%d,", i);
	moe_buf_addc(&buf, '!');
	room = moe_buf_room(&buf, 100);
	memset(room, 'x', 100);
	buf.n += 100;
	is_i64((int64_t)buf.n, 3890 + 1 + 100, "appends add up");
	is_i64((int64_t)strlen(buf.p), (int64_t)buf.n, "and are terminated");
	ok(!moe_buf_room(&buf, SIZE_MAX) && buf.failed, "what cannot be is refused");
	is_i64(moe_buf_check(&buf, &err), MOE_EIO, "and remembered");
	moe_buf_free(&buf);
	is_str(moe_format_bytes(text, 312), "312 B", "bytes");
	is_str(moe_format_bytes(text, 1.5 * 1073741824), "1.5 GiB", "more of them");
	is_str(moe_format_bytes(text, 1048575), "1.0 MiB", "rounded up to the next unit");
}

static void test_errors(void)
{
	struct moe_err err = {0};
	char longer[3000];

	is_i64(moe_err_set(&err, MOE_EFORMAT, "bad %s", "a\033[31m\nb\xc2\x9b"), MOE_EFORMAT, "the status comes back");
	is_str(err.text, "bad a?[31m?b??", "no control bytes");
	moe_err_set(&err, MOE_EIO, "outer: %s", err.text);
	is_str(err.text, "outer: bad a?[31m?b??", "a sentence may quote itself");
	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	moe_err_set(&err, MOE_EIO, "%s", longer);
	ok(strlen(err.text) == sizeof err.text - 1 && strcmp(err.text + strlen(err.text) - 3, "...") == 0,
	   "cut, and seen");
	is_i64(moe_err_set(NULL, MOE_EUSAGE, "x"), MOE_EUSAGE, "nobody listens");
}

static void test_arena(void)
{
	struct moe_arena arena = {0};
	bool good = true;

	for (size_t n = 1; n < 300000; n = n * 3 / 2 + 1) {
		unsigned char *p = moe_arena_alloc(&arena, n, 1);

		good = good && p && (uintptr_t)p % 64 == 0;
		for (size_t i = 0; good && i < n; i++)
			good = p[i] == 0;
		if (p)
			memset(p, 0xff, n);
	}
	ok(good, "aligned and zeroed");
	ok(moe_arena_alloc(&arena, SIZE_MAX / 2, 3) == NULL, "a product that overflows");
	ok(moe_arena_alloc(&arena, SIZE_MAX, 1) == NULL, "a sum that overflows");
	ok(moe_arena_alloc(&arena, 0, 8) != NULL, "nothing is something");
	is_str(moe_arena_strndup(&arena, "abcdef", 3), "abc", "text");
	moe_arena_free(&arena);
	ok(!arena.head && arena.n_bytes == 0, "empty again");
}

static void test_hash(void)
{
	struct moe_hash *hash = moe_hash_new();
	char text[33];

	/* XXH3-128 of nothing, as its specification gives it. */
	moe_hash_text(hash, text);
	is_str(text, "99aa06d3014798d86001c324468d497f", "of nothing");
	moe_hash_add(hash, "ab", 2);
	moe_hash_add(hash, "c", 1);
	moe_hash_text(hash, text);
	is_str(text, "06b05ab6733a618578af5f94892f3950", "of abc, in pieces");
	moe_hash_reset(hash);
	moe_hash_text(hash, text);
	is_str(text, "99aa06d3014798d86001c324468d497f", "afresh");
	moe_hash_free(hash);
}

static json_t *json_of(const char *text, struct moe_err *err)
{
	json_t *value = NULL;

	*err = (struct moe_err){0};
	if (moe_json_parse(&value, text, strlen(text), "c.json", err))
		return NULL;
	return value;
}

static void test_json(void)
{
	struct moe_err err;
	json_t *obj = json_of("\xef\xbb\xbf{\"n\": 5, \"f\": 1e-06, \"w\": 4096.0, \"s\": \"x\", \"b\": true,"
	                      "\"z\": null, "
	                      "\"a\": [1], \"big\": 1000000000000000019884624838656, \"inf\": -Infinity, \"nan\": NaN}",
	                      &err);
	int64_t i = 42;
	int32_t k = 42;
	double f = 0;
	bool b = false;
	const char *s = "default";

	if (!ok(obj != NULL, "an object, Python's numbers included"))
		return;
	ok(!moe_json_i64(obj, "n", "c.json", 0, 10, &i, &err) && i == 5, "an integer");
	ok(!moe_json_i32(obj, "w", "c.json", 0, 5000, &k, &err) && k == 4096, "a whole real");
	ok(!moe_json_f64(obj, "f", "c.json", &f, &err) && f == 1e-6, "a real");
	ok(!moe_json_f64(obj, "n", "c.json", &f, &err) && f == 5, "an integer as a real");
	ok(!moe_json_f64(obj, "big", "c.json", &f, &err) && f == 1e30, "an integer beyond 64 bits");
	ok(!moe_json_f64(obj, "inf", "c.json", &f, &err) && f < -1.7e308, "infinity");
	ok(!moe_json_has(obj, "z") && moe_json_has(obj, "b"), "null is not there");
	is_i64(moe_json_f64(obj, "nan", "c.json", &f, &err), MOE_EFORMAT, "NaN is no number");
	is_str(err.text, "c.json: 'nan' should be a number, found \"NaN\"", "and not overlooked");
	ok(!moe_json_bool(obj, "b", "c.json", &b, &err) && b, "a boolean");
	ok(!moe_json_str(obj, "s", "c.json", &s, &err) && strcmp(s, "x") == 0, "a string");
	i = 42;
	ok(!moe_json_i64(obj, "none", "c.json", 0, 10, &i, &err) &&
	   !moe_json_i64(obj, "z", "c.json", 0, 10, &i, &err) && i == 42, "missing or null keeps the default");
	is_i64(moe_json_i64(obj, "n", "c.json", 6, 10, &i, &err), MOE_EFORMAT, "out of range");
	is_str(err.text, "c.json: 'n' should be an integer in 6..10, found 5", "says so");
	is_i64(moe_json_i64(obj, "f", "c.json", 0, INT64_MAX, &i, &err), MOE_EFORMAT, "not whole");
	is_i64(moe_json_i32(obj, "big", "c.json", 0, INT32_MAX, &k, &err), MOE_EFORMAT, "too big");
	is_i64(moe_json_f64(obj, "s", "c.json", &f, &err), MOE_EFORMAT, "not a number");
	is_str(err.text, "c.json: 's' should be a number, found \"x\"", "says what it is");
	is_i64(moe_json_str(obj, "a", "c.json", &s, &err), MOE_EFORMAT, "not a string");
	is_str(err.text, "c.json: 'a' should be a string, found an array of 1", "says what it is");
	is_i64(moe_json_bool(obj, "n", "", &b, &err), MOE_EFORMAT, "not a boolean");
	is_str(err.text, "'n' should be true or false, found 5", "no place, no colon");
	json_decref(obj);

	ok(!json_of("{\"a\": 1, \"a\": 2}", &err), "duplicate keys are refused");
	is_like(err.text, "c.json: line 1, column", "with line and column");
	ok(!json_of("{\"a\":\n tru\033}", &err), "what is not JSON is refused");
	is_like(err.text, "c.json: line 2, column 4: not JSON: invalid token near 'tru'", "near the place");
	ok(!strchr(err.text, '\033'), "no control bytes");
	ok(!json_of("", &err) && !json_of("{\"a\": 1e999}", &err) && !json_of("{\"a\": \"\xff\"}", &err) &&
	   !json_of("{} x", &err) && !json_of("{\"a\": Infinit}", &err), "nor are these");
	obj = json_of("{\"a\": \"x\\u0000y NaN 99999999999999999999\", \"b\": NaN}", &err);
	ok(obj && json_string_length(json_object_get(obj, "a")) == 28, "NUL in a string; strings are left alone");
	is_i64(moe_json_str(obj, "a", "c.json", &s, &err), MOE_EFORMAT, "but it is not the string that ends there");
	is_like(err.text, "'a' should be a string without NUL", "says so");
	ok(!moe_json_word(json_object_get(obj, "a")) && !moe_json_word(obj) && !moe_json_word(NULL), "nor a word");
	json_decref(obj);
}

static void is_quoted(const char *text, size_t n, const char *wanted)
{
	struct moe_buf buf = {0};

	moe_json_quote(&buf, text, n);
	is_str(buf.p, wanted, "quoted");
	moe_buf_free(&buf);
}

static void test_quote(void)
{
	is_quoted("a\"b\\c\n\t\001\177", 9, "\"a\\\"b\\\\c\\n\\t\\u0001\\u007f\"");
	is_quoted("\xc3\xa4\xe4\xb8\xad\xf0\x9f\x98\x80", 9, "\"\xc3\xa4\xe4\xb8\xad\xf0\x9f\x98\x80\"");
	is_quoted("\xff" "a\xc3", 3, "\"\xef\xbf\xbd" "a\xef\xbf\xbd\"");
	is_quoted("\xc0\x80", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"");
	is_quoted("\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
	is_quoted("a\0b", 3, "\"a\\u0000b\"");
}

int main(void)
{
	test_numbers();
	test_f64_text();
	test_text();
	test_errors();
	test_arena();
	test_hash();
	test_json();
	test_quote();
	return done();
}
