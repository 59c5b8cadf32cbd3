/* Coefficient of variation of the load over experts. */
#include <math.h>

#include "stats/stats.h"

static double cv(const struct moe_counts *counts)
{
	double mean = counts->total / counts->n_experts, squares = 0;

	if (!(mean > 0))
		return (double)NAN;
	for (int32_t i = 0; i < counts->n_experts; i++) {
		double d = (double)counts->ascending[i] - mean;

		squares += d * d;
	}
	return sqrt(squares / counts->n_experts) / mean;
}

const struct moe_metric moe_metric_cv = {
	.name = "cv", .unit = "1", .all = MOE_ALL_MEAN, .layer = cv,
	.help = "coefficient of variation: population standard deviation over mean",
	.formula = "sqrt(sum_e (c_e - C/E)^2 / E) / (C/E)",
	.brief = "cv", .position = 2, .decimals = 2,
	.source = "Shazeer et al. 2017, Outrageously Large Neural Networks, section 4 (its square is the loss there)",
};
