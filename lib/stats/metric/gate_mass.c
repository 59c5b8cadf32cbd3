/* The part of a layer's gates that each expert got: what it contributes, where counts say how often it works. */
#include <math.h>

#include "stats/stats.h"

static double gate_mass(const struct moe_counts *counts, int32_t expert)
{
	struct moe_gate_sum all = {0};

	for (int32_t e = 0; e < counts->n_experts; e++)
		moe_gate_sum_merge(&all, &counts->gates[e]);
	return moe_gate_sum_value(&all) > 0 ? moe_gate_sum_value(&counts->gates[expert]) / moe_gate_sum_value(&all)
	                                    : (double)NAN;
}

const struct moe_metric moe_metric_gate_mass = {
	.name = "gate_mass", .unit = "1", .all = MOE_ALL_MEAN, .expert = gate_mass, .needs = MOE_NEEDS_GATES,
	.help = "the part of its layer's gates that each expert got",
	.formula = "g_e / sum_j g_j, g_e the sum of gates of expert e",
	.source = "definition",
};
