/* What metrics of margins are made of. */
#ifndef MOE_STATS_MARGINS_H
#define MOE_STATS_MARGINS_H

#include <stdint.h>

#include "stats/fixed.h"
#include "stats/stream.h"

/* Choices that left something out: those with a finite margin. */
struct moe_margins {
	uint64_t n_tokens, n_below;   /* n_below: margin < setup->flip_below */
	struct moe_fixed sum;
};

/* Its state is a struct moe_margins. */
extern const struct moe_stream moe_stream_margins;

#endif
