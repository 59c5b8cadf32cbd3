/* The load loss, of the choices that were made. */
#include <math.h>

#include "stats/stats.h"

static double loss_load(const struct moe_counts *counts)
{
	double mean = counts->total / counts->n_experts, squares = 0;

	for (int32_t e = 0; e < counts->n_experts; e++) {
		double d = (double)counts->ascending[e] - mean;

		squares += d * d;
	}
	return mean > 0 ? squares / counts->n_experts / (mean * mean) : (double)NAN;
}

const struct moe_metric moe_metric_loss_load = {
	.name = "loss_load", .unit = "1", .all = MOE_ALL_MEAN, .layer = loss_load,
	.help = "squared coefficient of variation of the counts: 0 is even",
	.formula = "var_e(c_e) / mean_e(c_e)^2",
	.source = "Shazeer et al. 2017, Outrageously Large Neural Networks, appendix A, of counts as they are",
};
