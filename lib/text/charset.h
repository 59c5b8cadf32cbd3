/* Sets of code points, as sorted disjoint ranges. */
#ifndef MOE_TEXT_CHARSET_H
#define MOE_TEXT_CHARSET_H

#include <stdbool.h>

#include "text/unicode.h"

/* Zero-initialise: empty. A failed growth sets `failed`, to be checked once at the end. */
struct moe_charset {
	struct moe_range *ranges;   /* [n], sorted, with gaps between them after moe_charset_tidy */
	size_t n, cap;
	bool failed;
};

void moe_charset_add(struct moe_charset *set, uint32_t first, uint32_t last);
void moe_charset_add_ranges(struct moe_charset *set, const struct moe_range *ranges, size_t n);
/* Every code point of the categories in the mask. */
void moe_charset_add_categories(struct moe_charset *set, uint32_t mask);
/* Sorts and joins. The calls below do this themselves. */
void moe_charset_tidy(struct moe_charset *set);
void moe_charset_invert(struct moe_charset *set);
/* set becomes what is in both. */
void moe_charset_intersect(struct moe_charset *set, const struct moe_charset *with);
/* Adds what differs from a member by simple case folding only. */
void moe_charset_fold(struct moe_charset *set);
void moe_charset_free(struct moe_charset *set);

#endif
