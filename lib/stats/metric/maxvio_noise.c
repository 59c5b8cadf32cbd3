/* The MaxVio that chance alone shows on so few choices. */
#include "stats/noise.h"
#include "stats/stats.h"

static double noise(const struct moe_counts *counts) { return moe_noise_mean(counts->total, counts->n_experts); }

const struct moe_metric moe_metric_maxvio_noise = {
	.name = "maxvio_noise", .unit = "1", .all = MOE_ALL_MEAN, .layer = noise,
	.help = "the MaxVio that a router without any preference shows on as many choices, on average",
	.formula = "E max_e X_e / (C/E) - 1, X_e independent and binomial with C trials of 1/E",
	.source = "definition",
};
