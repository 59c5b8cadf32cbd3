/* Growing buffers, strict numbers, and their text, always as in the C locale. */
#include "base/str.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

char *moe_buf_room(struct moe_buf *buf, size_t n)
{
	size_t need, cap;
	char *p;

	if (buf->failed)
		return NULL;
	if (!moe_add_size(buf->n, n, &need) || !moe_add_size(need, 1, &need) || need > PTRDIFF_MAX) {
		buf->failed = true;
		return NULL;
	}
	if (need > buf->cap) {
		cap = buf->cap < 64 ? 64 : buf->cap > PTRDIFF_MAX / 2 ? need : buf->cap * 2;
		if (cap < need)
			cap = need;
		p = realloc(buf->p, cap);
		if (!p) {
			buf->failed = true;
			return NULL;
		}
		buf->p = p;
		buf->cap = cap;
	}
	buf->p[buf->n] = '\0';
	buf->p[need - 1] = '\0';
	return buf->p + buf->n;
}

void moe_buf_add(struct moe_buf *buf, const void *bytes, size_t n)
{
	char *p = moe_buf_room(buf, n);

	if (!p)
		return;
	if (n > 0)
		memcpy(p, bytes, n);
	buf->n += n;
}

void moe_buf_adds(struct moe_buf *buf, const char *text) { moe_buf_add(buf, text, strlen(text)); }

void moe_buf_addc(struct moe_buf *buf, char c) { moe_buf_add(buf, &c, 1); }

void moe_buf_addf(struct moe_buf *buf, const char *fmt, ...)
{
	va_list args, again;
	char *p;
	int n;

	va_start(args, fmt);
	va_copy(again, args);
	n = vsnprintf(NULL, 0, fmt, args);
	if (n < 0) {
		buf->failed = true;
	} else {
		p = moe_buf_room(buf, (size_t)n);
		if (p) {
			vsnprintf(p, (size_t)n + 1, fmt, again);
			buf->n += (size_t)n;
		}
	}
	va_end(again);
	va_end(args);
}

enum moe_status moe_buf_check(const struct moe_buf *buf, struct moe_err *err)
{
	return buf->failed ? moe_err_nomem(err, buf->n, "a growing buffer") : MOE_OK;
}

void moe_buf_free(struct moe_buf *buf)
{
	free(buf->p);
	*buf = (struct moe_buf){0};
}

struct moe_str moe_str_of(const char *text) { return (struct moe_str){text, strlen(text)}; }

bool moe_str_eq(struct moe_str a, const char *text)
{
	return a.n == strlen(text) && (a.n == 0 || memcmp(a.p, text, a.n) == 0);
}

bool moe_str_next(struct moe_str *rest, char sep, struct moe_str *item)
{
	const char *end;

	if (rest->n == 0)
		return false;
	end = memchr(rest->p, sep, rest->n);
	*item = (struct moe_str){rest->p, end ? (size_t)(end - rest->p) : rest->n};
	rest->p += item->n + (end ? 1 : 0);
	rest->n -= item->n + (end ? 1 : 0);
	return true;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool moe_parse_i64(struct moe_str text, int64_t *out)
{
	bool negative = text.n > 0 && text.p[0] == '-';
	int64_t v = 0;

	if (text.n == (size_t)negative)
		return false;
	for (size_t i = negative; i < text.n; i++) {
		if (!is_digit(text.p[i]) || __builtin_mul_overflow(v, 10, &v))
			return false;
		if (__builtin_add_overflow(v, negative ? '0' - text.p[i] : text.p[i] - '0', &v))
			return false;
	}
	*out = v;
	return true;
}

static size_t skip_digits(struct moe_str text, size_t i)
{
	while (i < text.n && is_digit(text.p[i]))
		i++;
	return i;
}

/* sign? digits? ('.' digits?)? ([eE] sign? digits)?, with a digit before the exponent. */
static bool is_decimal(struct moe_str text)
{
	size_t i = text.n > 0 && (text.p[0] == '-' || text.p[0] == '+'), from = i, n_digits;

	i = skip_digits(text, i);
	n_digits = i - from;
	if (i < text.n && text.p[i] == '.') {
		from = i + 1;
		i = skip_digits(text, from);
		n_digits += i - from;
	}
	if (n_digits == 0)
		return false;
	if (i < text.n && (text.p[i] == 'e' || text.p[i] == 'E')) {
		i++;
		if (i < text.n && (text.p[i] == '-' || text.p[i] == '+'))
			i++;
		from = i;
		i = skip_digits(text, from);
		if (i == from)
			return false;
	}
	return i == text.n;
}

bool moe_parse_f64(struct moe_str text, double *out)
{
	char small[64], *copy = small;
	locale_t c_locale;
	double v;

	if (!is_decimal(text))
		return false;
	if (text.n >= sizeof small) {
		copy = malloc(text.n + 1);
		if (!copy)
			return false;
	}
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	v = c_locale ? strtod_l(copy, NULL, c_locale) : strtod(copy, NULL);
	if (c_locale)
		freelocale(c_locale);
	if (copy != small)
		free(copy);
	if (!isfinite(v))
		return false;
	*out = v;
	return true;
}

/* The factor a suffix stands for, or 0. */
static uint64_t byte_unit(struct moe_str suffix)
{
	static const char letters[] = "KMGT";
	uint64_t binary = 1, decimal = 1;

	if (suffix.n == 0 || moe_str_eq(suffix, "B"))
		return 1;
	for (const char *l = letters; *l; l++) {
		binary *= 1024;
		decimal *= 1000;
		if (suffix.p[0] != *l && suffix.p[0] != *l + ('a' - 'A'))
			continue;
		if (suffix.n == 1 || (suffix.n == 3 && suffix.p[1] == 'i' && suffix.p[2] == 'B'))
			return binary;
		return suffix.n == 2 && suffix.p[1] == 'B' ? decimal : 0;
	}
	return 0;
}

bool moe_parse_bytes(struct moe_str text, uint64_t *out)
{
	size_t n_whole = skip_digits(text, 0), n_number = n_whole;
	uint64_t unit, whole = 0, part = 0, scale = 1;

	if (n_whole == 0)
		return false;
	if (n_number < text.n && text.p[n_number] == '.') {
		n_number = skip_digits(text, n_whole + 1);
		if (n_number == n_whole + 1 || n_number - n_whole > 7)
			return false;
	}
	unit = byte_unit((struct moe_str){text.p + n_number, text.n - n_number});
	if (unit == 0 || (unit == 1 && n_number > n_whole))
		return false;
	for (size_t i = 0; i < n_whole; i++)
		if (__builtin_mul_overflow(whole, 10, &whole) ||
		    __builtin_add_overflow(whole, (uint64_t)(text.p[i] - '0'), &whole))
			return false;
	for (size_t i = n_whole + 1; i < n_number; i++) {
		part = part * 10 + (uint64_t)(text.p[i] - '0');
		scale *= 10;
	}
	/* part < 10^6 and unit <= 2^40, so the product below stays under 2^60. */
	if (__builtin_mul_overflow(whole, unit, &whole) || __builtin_add_overflow(whole, part * unit / scale, &whole))
		return false;
	*out = whole;
	return true;
}

char *moe_format_bytes(char *buf, double n_bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	size_t i = 0;

	while (n_bytes >= 1023.95 && i + 1 < sizeof units / sizeof *units) {
		n_bytes /= 1024;
		i++;
	}
	snprintf(buf, 24, i == 0 ? "%.0f %s" : "%.1f %s", n_bytes, units[i]);
	return buf;
}

void moe_buf_add_f64(struct moe_buf *buf, double value)
{
	locale_t c_locale, old;
	char text[40];

	if (isnan(value) || isinf(value)) {
		moe_buf_adds(buf, isnan(value) ? "nan" : value < 0 ? "-inf" : "inf");
		return;
	}
	c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	if (!c_locale) {
		buf->failed = true;
		return;
	}
	old = uselocale(c_locale);
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	uselocale(old);
	freelocale(c_locale);
	moe_buf_adds(buf, text);
}
