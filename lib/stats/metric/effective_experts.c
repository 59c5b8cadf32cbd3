/* How many equally loaded experts would have the same entropy. */
#include "stats/entropy.h"

static double effective_experts(const struct moe_counts *counts) { return exp2(moe_counts_entropy(counts)); }

const struct moe_metric moe_metric_effective_experts = {
	.name = "effective_experts", .unit = "experts", .all = MOE_ALL_MEAN, .layer = effective_experts,
	.help = "number of equally loaded experts with the same entropy",
	.formula = "2^H",
	.source = "Hill 1973, Diversity and Evenness, order 1",
};
