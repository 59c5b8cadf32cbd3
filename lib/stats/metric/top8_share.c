/* What the eight busiest experts take together. */
#include <math.h>

#include "stats/stats.h"

enum { TOP = 8 };

static double top8_share(const struct moe_counts *counts)
{
	double sum = 0;

	for (int32_t i = 0; i < TOP && i < counts->n_experts; i++)
		sum += (double)counts->ascending[counts->n_experts - 1 - i];
	return counts->total > 0 ? sum / counts->total : (double)NAN;
}

const struct moe_metric moe_metric_top8_share = {
	.name = "top8_share", .unit = "1", .all = MOE_ALL_MEAN, .layer = top8_share,
	.help = "the part of the choices that the eight busiest experts take together",
	.formula = "(c_(E) + c_(E-1) + ... + c_(E-7)) / C, c_(i) ascending",
	.source = "definition",
};
