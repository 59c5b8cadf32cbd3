/* The visible characters that stand for bytes in byte-level vocabularies: 33-126, 161-172 and 174-255 stand for
 * themselves, the other 68 bytes in ascending order are U+0100, U+0101, ... */
#ifndef MOE_TEXT_BYTECHAR_H
#define MOE_TEXT_BYTECHAR_H

#include <stdint.h>

static inline uint32_t moe_bytechar(uint8_t byte)
{
	if (byte <= 32)
		return 256u + byte;
	if (byte >= 127 && byte <= 160)
		return 256u + 33 + (byte - 127u);
	return byte == 173 ? 256u + 33 + 34 : byte;
}

/* The byte that a character stands for, or -1. */
static inline int moe_bytechar_byte(uint32_t code)
{
	if (code < 256)
		return moe_bytechar((uint8_t)code) == code ? (int)code : -1;
	code -= 256;
	if (code < 33)
		return (int)code;
	if (code < 67)
		return (int)code - 33 + 127;
	return code == 67 ? 173 : -1;
}

#endif
