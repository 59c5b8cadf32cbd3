/* The MaxVio that chance alone hardly exceeds on so few choices. */
#include "stats/noise.h"
#include "stats/stats.h"

static double bound(const struct moe_counts *counts)
{
	return moe_noise_quantile(counts->total, counts->n_experts, 0.95);
}

const struct moe_metric moe_metric_maxvio_bound = {
	.name = "maxvio_bound", .unit = "1", .all = MOE_ALL_MEAN, .layer = bound,
	.help = "the MaxVio that a router without any preference stays within in 95 of 100 samples of as many choices",
	.formula = "the least m with P(max_e X_e <= m) >= 0.95, as MaxVio; X_e as in maxvio_noise",
	.source = "definition",
};
