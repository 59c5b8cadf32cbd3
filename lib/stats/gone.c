/* Sequences that are over, as a hash table. */
#include "stats/gone.h"

#include <stdlib.h>
#include <string.h>

/* The place of a sequence, or the free one where it would be. */
static size_t find(const struct moe_gone *gone, uint64_t key)
{
	size_t at = (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (gone->cap - 1);

	while (gone->seqs[at] != 0 && gone->seqs[at] != key)
		at = (at + 1) & (gone->cap - 1);
	return at;
}

enum moe_status moe_gone_add(struct moe_gone *gone, int64_t seq, struct moe_err *err)
{
	size_t at;

	if (2 * (gone->n + 1) > gone->cap) {
		struct moe_gone grown = {.cap = gone->cap ? 2 * gone->cap : 256};

		grown.seqs = calloc(grown.cap, sizeof *grown.seqs);
		if (!grown.seqs)
			return moe_err_nomem(err, grown.cap * sizeof *grown.seqs, "the sequences of a trace");
		for (size_t i = 0; i < gone->cap; i++)
			if (gone->seqs[i])
				grown.seqs[find(&grown, gone->seqs[i])] = gone->seqs[i];
		free(gone->seqs);
		gone->seqs = grown.seqs;
		gone->cap = grown.cap;
	}
	at = find(gone, (uint64_t)seq + 1);
	gone->n += gone->seqs[at] == 0;
	gone->seqs[at] = (uint64_t)seq + 1;
	return MOE_OK;
}

bool moe_gone_has(const struct moe_gone *gone, int64_t seq)
{
	return gone->n > 0 && gone->seqs[find(gone, (uint64_t)seq + 1)];
}

void moe_gone_clear(struct moe_gone *gone)
{
	if (gone->n > 0)
		memset(gone->seqs, 0, gone->cap * sizeof *gone->seqs);
	gone->n = 0;
}

void moe_gone_free(struct moe_gone *gone)
{
	free(gone->seqs);
	*gone = (struct moe_gone){0};
}
