/* Where graphemes end (extended grapheme clusters). Indoors of the text folder.
 *
 * Pairs of regional indicators are two graphemes here, not one: who asks treats graphemes of up to 5 bytes alone in a
 * way of their own, and a regional indicator has 4, with whatever joins it more than 5. */
#ifndef MOE_TEXT_GRAPHEMES_H
#define MOE_TEXT_GRAPHEMES_H

#include <stddef.h>
#include <stdint.h>

#include "text/unicode.h"

/* enum moe_grapheme of a code point. */
uint8_t moe_grapheme_class(uint32_t code);

/* The same, faster, for texts; read-only once filled. */
struct moe_graphemes {
	uint8_t classes[0x10000];
};

void moe_graphemes_fill(struct moe_graphemes *graphemes);
/* The end of the grapheme that begins at codes[at], at < n. */
size_t moe_grapheme_end(const struct moe_graphemes *graphemes, const uint32_t *codes, size_t n, size_t at);

#endif
