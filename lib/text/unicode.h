/* What patterns and matching need to know of characters: general categories and a few derived classes, as tables,
 * so that ids do not depend on which Unicode an installed library knows. */
#ifndef MOE_TEXT_UNICODE_H
#define MOE_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOE_CODE_MAX 0x10FFFFu

struct moe_range {
	uint32_t first, last;
};

/* In the order that make_unicode.py numbers them. */
enum moe_category {
	MOE_CN, MOE_LU, MOE_LL, MOE_LT, MOE_LM, MOE_LO, MOE_MN, MOE_MC, MOE_ME, MOE_ND, MOE_NL, MOE_NO, MOE_PC, MOE_PD,
	MOE_PS, MOE_PE, MOE_PI, MOE_PF, MOE_PO, MOE_SM, MOE_SC, MOE_SK, MOE_SO, MOE_ZS, MOE_ZL, MOE_ZP, MOE_CC, MOE_CF,
	MOE_CS, MOE_CO,
	MOE_N_CATEGORIES
};

extern const uint32_t moe_unicode_categories[];   /* see unicode_data.c */
extern const size_t moe_unicode_n_categories;
extern const struct moe_range moe_unicode_word[], moe_unicode_adjacent[], moe_unicode_numeric[],
	moe_unicode_uncombined[], moe_unicode_han[];
extern const size_t moe_unicode_n_word, moe_unicode_n_adjacent, moe_unicode_n_numeric, moe_unicode_n_uncombined,
	moe_unicode_n_han;

/* What only single stages ask; see unicode_more.c. */
extern const struct moe_range moe_unicode_accent[], moe_unicode_punctuation[], moe_unicode_undecomposed[];
extern const size_t moe_unicode_n_accent, moe_unicode_n_punctuation, moe_unicode_n_undecomposed;

/* The code points first, first + step, ... last become lower case by adding `change`. */
struct moe_lower {
	uint32_t first, last, step;
	int32_t change;
};

extern const struct moe_lower moe_unicode_lower[];
extern const size_t moe_unicode_n_lower;

/* How a code point divides a text into graphemes; in the order that make_unicode_more.py numbers them. LINKER and
 * OUTSIDER extend like EXTEND, but the one joins consonants and the other keeps them apart. Regional indicators are
 * OTHER: see graphemes.h. */
enum moe_grapheme {
	MOE_GRAPHEME_OTHER, MOE_GRAPHEME_CR, MOE_GRAPHEME_LF, MOE_GRAPHEME_CONTROL, MOE_GRAPHEME_EXTEND,
	MOE_GRAPHEME_LINKER, MOE_GRAPHEME_OUTSIDER, MOE_GRAPHEME_ZWJ, MOE_GRAPHEME_PREPEND, MOE_GRAPHEME_SPACING,
	MOE_GRAPHEME_JAMO_L, MOE_GRAPHEME_JAMO_V, MOE_GRAPHEME_JAMO_T, MOE_GRAPHEME_HANGUL, MOE_GRAPHEME_PICTURE,
	MOE_GRAPHEME_CONSONANT,
};

extern const uint32_t moe_unicode_graphemes[];    /* see unicode_more.c */
extern const size_t moe_unicode_n_graphemes;

/* White_Space: \s. */
extern const struct moe_range moe_unicode_space[];
extern const size_t moe_unicode_n_space;

bool moe_unicode_in(const struct moe_range *ranges, size_t n, uint32_t code);
bool moe_unicode_is_space(uint32_t code);
/* Whether a neighbour of this kind keeps an added token with single_word from matching. */
bool moe_unicode_is_adjacent(uint32_t code);
bool moe_unicode_is_numeric(uint32_t code);
bool moe_unicode_is_punctuation(uint32_t code);

/* A bit per moe_category for a name as in \p{..}, "L" or "Lu" or a long name as "Letter"; 0: unknown. */
uint32_t moe_unicode_category_mask(const char *name, size_t n);

/* Lower case, but for U+0130, which becomes two code points. */
uint32_t moe_unicode_to_lower(uint32_t code);

/* Simple case folding; what does not fold is itself. */
uint32_t moe_unicode_fold(uint32_t code);

#endif
