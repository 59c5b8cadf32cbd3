/* UTF-8 of hostile origin, one character at a time. */
#ifndef MOE_TEXT_UTF8_H
#define MOE_TEXT_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define MOE_CODE_INVALID 0xFFFDu

/* Takes one character off p[0..n), n > 0: its length goes to *used. A maximal invalid subpart (Unicode 3.9, table 3-7)
 * counts as one U+FFFD. *used is 0 where p[0..n) is the beginning of a character that n cuts off. */
static inline uint32_t moe_utf8_take(const uint8_t *p, size_t n, size_t *used)
{
	uint32_t code, lo = 0x80, hi = 0xBF;
	size_t need;

	*used = 1;
	if (p[0] < 0x80)
		return p[0];
	if (p[0] < 0xC2 || p[0] > 0xF4)
		return MOE_CODE_INVALID;
	need = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
	if (p[0] == 0xE0)
		lo = 0xA0;
	else if (p[0] == 0xED)
		hi = 0x9F;
	else if (p[0] == 0xF0)
		lo = 0x90;
	else if (p[0] == 0xF4)
		hi = 0x8F;
	code = p[0] & (0x7Fu >> need);
	for (size_t i = 1; i < need; i++) {
		if (i == n) {
			*used = 0;
			return MOE_CODE_INVALID;
		}
		if (p[i] < lo || p[i] > hi) {
			*used = i;
			return MOE_CODE_INVALID;
		}
		code = code << 6 | (p[i] & 0x3F);
		lo = 0x80;
		hi = 0xBF;
	}
	*used = need;
	return code;
}

/* The character at *p, of text that is valid UTF-8; *p goes behind it. */
static inline uint32_t moe_utf8_next(const uint8_t **p)
{
	const uint8_t *c = *p;

	if (c[0] < 0x80) {
		*p += 1;
		return c[0];
	}
	if (c[0] < 0xE0) {
		*p += 2;
		return (uint32_t)(c[0] & 0x1F) << 6 | (c[1] & 0x3F);
	}
	if (c[0] < 0xF0) {
		*p += 3;
		return (uint32_t)(c[0] & 0x0F) << 12 | (uint32_t)(c[1] & 0x3F) << 6 | (c[2] & 0x3F);
	}
	*p += 4;
	return (uint32_t)(c[0] & 0x07) << 18 | (uint32_t)(c[1] & 0x3F) << 12 | (uint32_t)(c[2] & 0x3F) << 6 |
	       (c[3] & 0x3F);
}

/* The length of a valid character by its first byte. */
static inline size_t moe_utf8_length(uint8_t first)
{
	return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

/* Writes a code point; returns its length, 1 to 4. */
static inline size_t moe_utf8_put(uint8_t *p, uint32_t code)
{
	if (code < 0x80) {
		p[0] = (uint8_t)code;
		return 1;
	}
	if (code < 0x800) {
		p[0] = (uint8_t)(0xC0 | code >> 6);
		p[1] = (uint8_t)(0x80 | (code & 0x3F));
		return 2;
	}
	if (code < 0x10000) {
		p[0] = (uint8_t)(0xE0 | code >> 12);
		p[1] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
		p[2] = (uint8_t)(0x80 | (code & 0x3F));
		return 3;
	}
	p[0] = (uint8_t)(0xF0 | code >> 18);
	p[1] = (uint8_t)(0x80 | (code >> 12 & 0x3F));
	p[2] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
	p[3] = (uint8_t)(0x80 | (code & 0x3F));
	return 4;
}

#endif
