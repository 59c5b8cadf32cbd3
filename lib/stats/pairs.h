/* Pairs of experts: of one token in one layer, and of one token in two layers that follow each other. */
#ifndef MOE_STATS_PAIRS_H
#define MOE_STATS_PAIRS_H

#include <stdint.h>

#include "stats/rows.h"
#include "stats/stats.h"
#include "stats/stream.h"

/* Tokens of a layer by the experts that they choose. counts of a pair is at moe_pair_at(i, j, n). */
struct moe_together {
	uint64_t n_tokens;   /* with any choice */
	uint64_t counts[];   /* [n (n + 1) / 2] pairs i <= j; of i and i: the tokens that choose i */
};

static inline size_t moe_pair_at(int32_t i, int32_t j, int32_t n_experts)
{
	size_t a = (size_t)(i < j ? i : j), b = (size_t)(i < j ? j : i);

	return a * (2 * (size_t)n_experts - a + 1) / 2 + (b - a);
}

/* Tokens by an expert of a layer and one of the next, which chose at all in both. */
struct moe_transitions {
	uint64_t n_tokens;
	uint64_t counts[];   /* [n_experts] tokens by expert, then [n_experts] by expert of the next layer, then
	                      * [n_experts][n_experts] by both */
};

extern const struct moe_stream moe_stream_together, moe_stream_transitions;

/* The layer behind this one in the model; -1: it is the last. */
int32_t moe_next_layer(const struct moe_stream_setup *setup, int32_t layer);

/* Picks the n largest of keys (ties to the lower index) in falling order: *order is [*n_order] indices, malloc'd; n 0:
 * all indices in rising order. */
MOE_MUST_USE enum moe_status moe_pick_top(const double *keys, size_t n_keys, int64_t n, size_t **order,
                                          size_t *n_order, struct moe_err *err);

#endif
