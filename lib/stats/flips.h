/* Tokens that chose otherwise in another trace. */
#ifndef MOE_STATS_FLIPS_H
#define MOE_STATS_FLIPS_H

#include <stdint.h>

#include "stats/fixed.h"
#include "stats/stream.h"

enum { MOE_FLIPS_LISTED = 10 };   /* flips of a layer that are kept, unless asked for others */

/* One token whose experts are not the same set. */
struct moe_flip {
	int64_t part, seq, pos;
	double margin;   /* of this trace; NaN: not kept. Infinite: nothing was left out */
};

struct moe_flips {
	uint64_t n_tokens, n_flips, n_other;   /* tokens, flips, choices of theirs that the other trace has not */
	uint64_t n_margins;                    /* flips with a finite margin */
	struct moe_fixed margins;
	uint64_t n_listed, unused;   /* the list is aligned as the fixed sum is */
	/* Those with the largest margins, then the first ones, each with the ids of both traces behind it. */
	char list[];
};

extern const struct moe_stream moe_stream_flips;

/* The i-th of the list, ids: [2][top_k]. */
const struct moe_flip *moe_flip_at(const struct moe_stream_setup *setup, const struct moe_flips *flips, uint64_t i,
                                   const int32_t **ids);

#endif
