/* How much longer the busiest expert works than the average one. */
#include <math.h>

#include "stats/stats.h"

static double peak_to_average(const struct moe_counts *counts)
{
	double mean = counts->total / counts->n_experts;

	return mean > 0 ? (double)counts->ascending[counts->n_experts - 1] / mean : (double)NAN;
}

const struct moe_metric moe_metric_peak_to_average = {
	.name = "peak_to_average", .unit = "1", .all = MOE_ALL_MEAN, .layer = peak_to_average,
	.help = "load of the busiest expert over the mean load",
	.formula = "max_e c_e / (C/E)",
	.brief = "peak/avg", .position = 1, .decimals = 2, .is_imbalance = true,
	.source = "definition; maxvio + 1",
};
