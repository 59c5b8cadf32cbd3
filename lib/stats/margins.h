/* What metrics of margins are made of. */
#ifndef MOE_STATS_MARGINS_H
#define MOE_STATS_MARGINS_H

#include <stdint.h>

#include "stats/fixed.h"
#include "stats/stream.h"

/* Limits 1e-7, 1e-6, ... 10. */
enum { MOE_MARGIN_LIMITS = 9 };
static inline double moe_margin_limit(int i)
{
	static const double limits[MOE_MARGIN_LIMITS] = {1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 10};

	return limits[i];
}

/* Choices that left something out: those with a finite margin. */
struct moe_margins {
	uint64_t n_tokens, n_below;   /* n_below: margin < setup->flip_below */
	uint64_t below[MOE_MARGIN_LIMITS];   /* margin < moe_margin_limit(i) */
	struct moe_fixed sum;
};

/* Its state is a struct moe_margins. */
extern const struct moe_stream moe_stream_margins;

#endif
