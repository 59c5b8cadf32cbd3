/* Which characters can be next to each other where two symbols merge. Between any other two a piece of text falls
 * apart into pieces that merge by themselves, so that a text that nothing else divides is still one of words. Indoors
 * of the text folder. */
#ifndef MOE_TEXT_SEAMS_H
#define MOE_TEXT_SEAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/* Zero-initialise; read-only once filled. */
struct moe_seams {
	uint64_t *slots;         /* [mask + 1] the pair of an odd number; 0: empty */
	size_t mask, n;
	uint64_t ascii[128][2];  /* a bit per second character */
};

/* The characters that a text of UTF-8 begins and ends with; 0 where it is empty. */
void moe_seam_ends(struct moe_str text, uint32_t *first, uint32_t *last);
/* Merges join left and right, both of UTF-8. */
MOE_MUST_USE enum moe_status moe_seams_add(struct moe_seams *seams, struct moe_str left, struct moe_str right,
                                           struct moe_err *err);
void moe_seams_free(struct moe_seams *seams);

static inline uint64_t moe_seam_key(uint32_t left, uint32_t right)
{
	return ((uint64_t)left << 22 | (uint64_t)right << 1) | 1;
}

static inline size_t moe_seam_hash(uint64_t key)
{
	key *= UINT64_C(0x9E3779B97F4A7C15);
	return (size_t)(key ^ key >> 32);
}

/* Whether any merge joins a symbol that ends with `left` and one that begins with `right`. */
static inline bool moe_seams_has(const struct moe_seams *seams, uint32_t left, uint32_t right)
{
	const uint64_t key = moe_seam_key(left, right);

	if ((left | right) < 128)
		return seams->ascii[left][right / 64] >> right % 64 & 1;
	if (!seams->slots)
		return false;
	for (size_t i = moe_seam_hash(key) & seams->mask; seams->slots[i]; i = (i + 1) & seams->mask) {
		if (seams->slots[i] == key)
			return true;
	}
	return false;
}

#endif
