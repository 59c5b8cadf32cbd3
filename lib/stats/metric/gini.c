/* Gini coefficient of the load over experts. With the counts ascending, c_(1) .. c_(E), the double sum of the
 * definition is 2 sum_i (2 i - E - 1) c_(i). */
#include <math.h>

#include "stats/stats.h"

static double gini(const struct moe_counts *counts)
{
	double n = counts->n_experts, sum = 0;

	if (!(counts->total > 0))
		return (double)NAN;
	for (int32_t i = 0; i < counts->n_experts; i++)
		sum += (2.0 * i + 1 - n) * (double)counts->ascending[i];
	return sum / (n * counts->total);
}

const struct moe_metric moe_metric_gini = {
	.name = "gini", .unit = "1", .all = MOE_ALL_MEAN, .layer = gini,
	.help = "Gini coefficient: 0 all alike, near 1 one expert takes all",
	.formula = "sum_i sum_j |c_i - c_j| / (2 E C)",
	.brief = "gini", .position = 3, .decimals = 2,
	.source = "Gini 1912, Variabilita e mutabilita",
};
