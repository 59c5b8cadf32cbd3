/* A set of pairs of characters. */
#include "text/seams.h"

#include <stdlib.h>

#include "text/utf8.h"

void moe_seam_ends(struct moe_str text, uint32_t *first, uint32_t *last)
{
	size_t at = text.n, used;

	*first = *last = 0;
	if (text.n == 0)
		return;
	while (at > 0 && ((uint8_t)text.p[--at] & 0xC0) == 0x80)
		continue;
	*first = moe_utf8_take((const uint8_t *)text.p, text.n, &used);
	*last = moe_utf8_take((const uint8_t *)text.p + at, text.n - at, &used);
}

static void put(uint64_t *slots, size_t mask, uint64_t key)
{
	size_t i = moe_seam_hash(key) & mask;

	while (slots[i])
		i = (i + 1) & mask;
	slots[i] = key;
}

enum moe_status moe_seams_add(struct moe_seams *seams, struct moe_str left, struct moe_str right, struct moe_err *err)
{
	uint32_t a, b, outer;

	moe_seam_ends(left, &outer, &a);
	moe_seam_ends(right, &b, &outer);
	if ((a | b) < 128) {
		seams->ascii[a][b / 64] |= UINT64_C(1) << b % 64;
		return MOE_OK;
	}
	if (moe_seams_has(seams, a, b))
		return MOE_OK;
	if (!seams->slots || 2 * seams->n > seams->mask) {
		size_t mask = seams->slots ? 2 * seams->mask + 1 : 255;
		uint64_t *slots = calloc(mask + 1, sizeof *slots);
		if (!slots)
			return moe_err_nomem(err, (mask + 1) * sizeof *slots, "merges");
		for (size_t i = 0; seams->slots && i <= seams->mask; i++) {
			if (seams->slots[i])
				put(slots, mask, seams->slots[i]);
		}
		free(seams->slots);
		seams->slots = slots;
		seams->mask = mask;
	}
	put(seams->slots, seams->mask, moe_seam_key(a, b));
	seams->n++;
	return MOE_OK;
}

void moe_seams_free(struct moe_seams *seams)
{
	free(seams->slots);
	*seams = (struct moe_seams){0};
}
