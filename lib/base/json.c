/* jansson with sentences, and with the numbers that Python writes into configs. */
#include "base/json.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define FLAGS (JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL)

/* The bytes of a sequence that encodes one code point at p, or 0 where it is not UTF-8 (RFC 3629). */
static size_t utf8_length(const unsigned char *p, size_t n)
{
	size_t len = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
	           : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;

	if (len == 0 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

void moe_json_quote(struct moe_buf *buf, const char *text, size_t n)
{
	const unsigned char *p = (const unsigned char *)text;

	moe_buf_addc(buf, '"');
	for (size_t i = 0; i < n;) {
		size_t len = utf8_length(p + i, n - i);

		if (len == 0)
			moe_buf_adds(buf, "\xef\xbf\xbd");
		else if (p[i] == '"' || p[i] == '\\')
			moe_buf_addf(buf, "\\%c", p[i]);
		else if (p[i] == '\n')
			moe_buf_adds(buf, "\\n");
		else if (p[i] == '\t')
			moe_buf_adds(buf, "\\t");
		else if (p[i] < 0x20 || p[i] == 0x7f)
			moe_buf_addf(buf, "\\u%04x", p[i]);
		else
			moe_buf_add(buf, p + i, len);
		i += len ? len : 1;
	}
	moe_buf_addc(buf, '"');
}

static bool is_word(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '+' || c == '-' ||
	       c == '.';
}

/* What Python's json module writes beyond the standard, as something jansson reads: integers beyond 64 bits become
 * reals, Infinity the largest double, NaN a string. */
static void add_word(struct moe_buf *buf, struct moe_str word)
{
	int64_t unused;
	size_t sign = word.n > 0 && word.p[0] == '-';
	struct moe_str body = {word.p + sign, word.n - sign};
	bool digits = body.n > 0;

	for (size_t i = 0; i < body.n; i++)
		digits = digits && body.p[i] >= '0' && body.p[i] <= '9';
	if (moe_str_eq(word, "NaN")) {
		moe_buf_adds(buf, "\"NaN\"");
	} else if (moe_str_eq(body, "Infinity")) {
		moe_buf_adds(buf, sign ? "-1.7976931348623157e308" : "1.7976931348623157e308");
	} else {
		moe_buf_add(buf, word.p, word.n);
		if (digits && !moe_parse_i64(word, &unused))
			moe_buf_adds(buf, ".0");
	}
}

static void add_standard(struct moe_buf *buf, const char *p, size_t n)
{
	for (size_t i = 0; i < n && !buf->failed;) {
		size_t from = i;

		if (p[i] == '"') {
			for (i++; i < n && p[i] != '"'; i++)
				i += p[i] == '\\';
			i = i < n ? i + 1 : n;
			moe_buf_add(buf, p + from, i - from);
		} else if (is_word(p[i])) {
			while (i < n && is_word(p[i]))
				i++;
			add_word(buf, (struct moe_str){p + from, i - from});
		} else {
			moe_buf_addc(buf, p[i++]);
		}
	}
}

/* The key that ends just before byte n of a JSON text, as it is spelt there, without its quotes. */
static void key_before(const char *text, size_t n, const char **key, int *n_key)
{
	size_t end = n, from;

	while (end > 0 && text[end - 1] != '"')
		end--;
	for (from = end ? end - 1 : 0; from > 0 && (text[from - 1] != '"' || (from > 1 && text[from - 2] == '\\'));)
		from--;
	*key = text + from;
	*n_key = end - from > 1 ? (int)(end - 1 - from > 256 ? 256 : end - 1 - from) : 0;
}

enum moe_status moe_json_parse(json_t **out, const void *bytes, size_t n, const char *name, struct moe_err *err)
{
	struct moe_buf standard = {0};
	json_error_t error, again;

	if (n >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) {
		bytes = (const char *)bytes + 3;
		n -= 3;
	}
	*out = NULL;
	if (n == 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: is empty", name);
	/* jansson takes a text that memory is missing for as wrong here and there; malloc says why in errno */
	errno = 0;
	*out = json_loadb(bytes, n, FLAGS, &error);
	if (!*out && errno != ENOMEM && (json_error_code(&error) == json_error_numeric_overflow ||
	              json_error_code(&error) == json_error_invalid_syntax)) {
		add_standard(&standard, bytes, n);
		errno = standard.failed ? ENOMEM : 0;
		if (!standard.failed)
			*out = json_loadb(standard.p ? standard.p : "", standard.n, FLAGS, &again);
		moe_buf_free(&standard);
	}
	if (*out)
		return MOE_OK;
	if (errno == ENOMEM || json_error_code(&error) == json_error_out_of_memory)
		return moe_err_set(err, MOE_EIO, "%s: out of memory: its %zu bytes of JSON take several times as many",
		                   name, n);
	if (json_error_code(&error) == json_error_duplicate_key && error.position >= 0 && (size_t)error.position <= n) {
		const char *key;
		int n_key;

		key_before(bytes, (size_t)error.position, &key, &n_key);
		return moe_err_set(err, MOE_EFORMAT, "%s: line %d, column %d: the key '%.*s' is there twice", name,
		                   error.line, error.column, n_key, key);
	}
	return moe_err_set(err, MOE_EFORMAT, "%s: line %d, column %d: not JSON: %s", name, error.line, error.column,
	                   error.text);
}

enum moe_status moe_json_load(json_t **out, const char *path, size_t limit_bytes, struct moe_err *err)
{
	struct moe_buf buf = {0};
	enum moe_status status = moe_read_all(path, limit_bytes, &buf, err);

	if (!status)
		status = moe_json_parse(out, buf.p, buf.n, strcmp(path, "-") == 0 ? "stdin" : path, err);
	moe_buf_free(&buf);
	return status;
}

enum { FOUND_BYTES = 100 };

/* A value in a few words. */
static void describe(char text[FOUND_BYTES], const json_t *value)
{
	char *dump;

	if (!value || json_is_null(value)) {
		snprintf(text, FOUND_BYTES, value ? "null" : "nothing");
	} else if (json_is_object(value)) {
		snprintf(text, FOUND_BYTES, "an object");
	} else if (json_is_array(value)) {
		snprintf(text, FOUND_BYTES, "an array of %zu", json_array_size(value));
	} else {
		dump = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
		snprintf(text, FOUND_BYTES, "%.80s", dump ? dump : "another value");
		free(dump);
	}
}

enum moe_status moe_json_refuse(struct moe_err *err, const json_t *value, const char *where, const char *expected, ...)
{
	char words[400], found[FOUND_BYTES];
	va_list args;

	va_start(args, expected);
	vsnprintf(words, sizeof words, expected, args);
	va_end(args);
	describe(found, value);
	return moe_err_set(err, MOE_EFORMAT, "%s%s%s, found %s", where ? where : "", where && *where ? ": " : "",
	                   words, found);
}

static enum moe_status mismatch(const json_t *value, const char *key, const char *where, const char *expected,
                                struct moe_err *err)
{
	return moe_json_refuse(err, value, where, "'%.100s' should be %s", key, expected);
}

static const json_t *lookup(const json_t *obj, const char *key)
{
	const json_t *value = json_object_get(obj, key);
	return json_is_null(value) ? NULL : value;
}

bool moe_json_has(const json_t *obj, const char *key) { return lookup(obj, key) != NULL; }

/* A real that is whole counts as an integer: some writers put 4096.0. */
static bool whole_number(const json_t *value, int64_t *out)
{
	double real;

	if (json_is_integer(value)) {
		*out = json_integer_value(value);
		return true;
	}
	real = json_real_value(value);
	if (!json_is_real(value) || real < -0x1p53 || real > 0x1p53 || real != (double)(int64_t)real)
		return false;
	*out = (int64_t)real;
	return true;
}

enum moe_status moe_json_i64(const json_t *obj, const char *key, const char *where, int64_t min, int64_t max,
                             int64_t *out, struct moe_err *err)
{
	const json_t *value = lookup(obj, key);
	char expected[80] = "an integer";
	int64_t v;

	if (!value)
		return MOE_OK;
	if (whole_number(value, &v) && v >= min && v <= max) {
		*out = v;
		return MOE_OK;
	}
	if (max < INT32_MAX || min > INT32_MIN)
		snprintf(expected, sizeof expected, max >= INT32_MAX ? "an integer of at least %jd"
		         : "an integer in %jd..%jd", (intmax_t)min, (intmax_t)max);
	return mismatch(value, key, where, expected, err);
}

enum moe_status moe_json_i32(const json_t *obj, const char *key, const char *where, int32_t min, int32_t max,
                             int32_t *out, struct moe_err *err)
{
	int64_t v = *out;
	enum moe_status status = moe_json_i64(obj, key, where, min, max, &v, err);

	if (!status)
		*out = (int32_t)v;
	return status;
}

enum moe_status moe_json_f64(const json_t *obj, const char *key, const char *where, double *out, struct moe_err *err)
{
	const json_t *value = lookup(obj, key);

	if (!value)
		return MOE_OK;
	if (!json_is_number(value))
		return mismatch(value, key, where, "a number", err);
	*out = json_number_value(value);
	return MOE_OK;
}

enum moe_status moe_json_bool(const json_t *obj, const char *key, const char *where, bool *out, struct moe_err *err)
{
	const json_t *value = lookup(obj, key);

	if (!value)
		return MOE_OK;
	if (!json_is_boolean(value))
		return mismatch(value, key, where, "true or false", err);
	*out = json_is_true(value);
	return MOE_OK;
}

enum moe_status moe_json_str(const json_t *obj, const char *key, const char *where, const char **out,
                             struct moe_err *err)
{
	const json_t *value = lookup(obj, key);

	if (!value)
		return MOE_OK;
	if (!moe_json_word(value))
		return mismatch(value, key, where, json_is_string(value) ? "a string without NUL" : "a string", err);
	*out = json_string_value(value);
	return MOE_OK;
}

const char *moe_json_word(const json_t *value)
{
	const char *text = json_string_value(value);

	return text && strlen(text) == json_string_length(value) ? text : NULL;
}
