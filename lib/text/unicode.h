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

/* White_Space: \s. */
extern const struct moe_range moe_unicode_space[];
extern const size_t moe_unicode_n_space;

bool moe_unicode_in(const struct moe_range *ranges, size_t n, uint32_t code);
bool moe_unicode_is_space(uint32_t code);
/* Whether a neighbour of this kind keeps an added token with single_word from matching. */
bool moe_unicode_is_adjacent(uint32_t code);
bool moe_unicode_is_numeric(uint32_t code);

/* A bit per moe_category for a name as in \p{..}, "L" or "Lu" or a long name as "Letter"; 0: unknown. */
uint32_t moe_unicode_category_mask(const char *name, size_t n);

/* Simple case folding; what does not fold is itself. */
uint32_t moe_unicode_fold(uint32_t code);

#endif
