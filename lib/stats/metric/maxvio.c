/* Maximal violation of balance: how far the busiest expert lies above the mean. */
#include <math.h>

#include "stats/stats.h"

static double maxvio(const struct moe_counts *counts)
{
	double mean = counts->total / counts->n_experts;

	return mean > 0 ? ((double)counts->ascending[counts->n_experts - 1] - mean) / mean : (double)NAN;
}

const struct moe_metric moe_metric_maxvio = {
	.name = "maxvio", .unit = "1", .all = MOE_ALL_MEAN, .layer = maxvio,
	.help = "load of the busiest expert above the mean, in means (global MaxVio)",
	.formula = "(max_e c_e - C/E) / (C/E)",
	.source = "Wang et al. 2024, Auxiliary-Loss-Free Load Balancing Strategy for Mixture-of-Experts",
};
