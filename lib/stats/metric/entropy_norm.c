/* Entropy as a part of what it could be at most. */
#include "stats/entropy.h"

static double entropy_norm(const struct moe_counts *counts)
{
	if (counts->n_experts < 2)
		return (double)NAN;
	return moe_counts_entropy(counts) / log2(counts->n_experts);
}

const struct moe_metric moe_metric_entropy_norm = {
	.name = "entropy_norm", .unit = "1", .all = MOE_ALL_MEAN, .layer = entropy_norm,
	.help = "entropy over its maximum: 1 where all are alike",
	.formula = "H / log2 E",
	.brief = "H/Hmax", .position = 4, .decimals = 3,
	.source = "Pielou 1966, The measurement of diversity in different types of biological collections",
};
