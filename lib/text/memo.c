/* Ids of short pieces, remembered. */
#include "text/memo.h"

#include <stdlib.h>

enum { MAX_SLOTS = 1 << 14 };   /* for a long text; a short one gets fewer */

bool moe_memo_new(struct moe_memo *memo, size_t n_bytes)
{
	size_t n = 16;

	while (n < MAX_SLOTS && n < n_bytes / 8)
		n *= 2;
	memo->slots = calloc(n, sizeof *memo->slots);
	memo->mask = n - 1;
	return memo->slots != NULL;
}

void moe_memo_free(struct moe_memo *memo)
{
	free(memo->slots);
	*memo = (struct moe_memo){0};
}

struct moe_memo_slot *moe_memo_slot(const struct moe_memo *memo, struct moe_str piece)
{
	if (piece.n == 0 || piece.n > MOE_MEMO_BYTES)
		return NULL;
	return &memo->slots[moe_memo_hash(piece.p, piece.n) & memo->mask];
}

bool moe_memo_holds(const struct moe_memo_slot *slot, struct moe_str piece)
{
	return slot && slot->n_bytes == piece.n && memcmp(slot->text, piece.p, piece.n) == 0;
}

void moe_memo_put(struct moe_memo_slot *slot, struct moe_str piece, const int32_t *ids, size_t n)
{
	if (!slot || n > MOE_MEMO_IDS)
		return;
	slot->n_bytes = (uint8_t)piece.n;
	slot->n_ids = (uint8_t)n;
	memcpy(slot->text, piece.p, piece.n);
	memcpy(slot->ids, ids, n * sizeof *ids);
}
