/* The part of a layer's choices that each expert took. */
#include <math.h>

#include "stats/stats.h"

static double share(const struct moe_counts *counts, int32_t expert)
{
	return counts->total > 0 ? (double)counts->counts[expert] / counts->total : (double)NAN;
}

const struct moe_metric moe_metric_share = {
	.name = "share", .unit = "1", .all = MOE_ALL_MEAN, .expert = share,
	.help = "the part of its layer's choices that each expert took",
	.formula = "p_e = c_e / C",
	.source = "definition",
};
