/* A set of sequences: those that were closed to make room, and must not go on. Indoors of stats/. */
#ifndef MOE_STATS_GONE_H
#define MOE_STATS_GONE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Zero-initialise. */
struct moe_gone {
	uint64_t *seqs;   /* [cap] a hash table of 1 + seq, 0 where free */
	size_t n, cap;
};

MOE_MUST_USE enum moe_status moe_gone_add(struct moe_gone *gone, int64_t seq, struct moe_err *err);
bool moe_gone_has(const struct moe_gone *gone, int64_t seq);
void moe_gone_clear(struct moe_gone *gone);   /* keeps its memory */
void moe_gone_free(struct moe_gone *gone);

#endif
