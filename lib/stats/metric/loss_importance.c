/* The importance loss: how unevenly the gates fall on experts. */
#include <math.h>

#include "stats/stats.h"

static double loss_importance(const struct moe_counts *counts)
{
	double sum = 0, squares = 0, mean;

	for (int32_t e = 0; e < counts->n_experts; e++)
		sum += moe_gate_sum_value(&counts->gates[e]);
	mean = sum / counts->n_experts;
	for (int32_t e = 0; e < counts->n_experts; e++) {
		double d = moe_gate_sum_value(&counts->gates[e]) - mean;

		squares += d * d;
	}
	return mean > 0 ? squares / counts->n_experts / (mean * mean) : (double)NAN;
}

const struct moe_metric moe_metric_loss_importance = {
	.name = "loss_importance", .unit = "1", .all = MOE_ALL_MEAN, .layer = loss_importance,
	.needs = MOE_NEEDS_GATES,
	.help = "squared coefficient of variation of the sums of gates: 0 is even",
	.formula = "var_e(g_e) / mean_e(g_e)^2, g_e the sum of gates of expert e",
	.source = "Shazeer et al. 2017, Outrageously Large Neural Networks, equations 6 and 7",
};
