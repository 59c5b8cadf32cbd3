/* Experts that were never chosen. */
#include "stats/stats.h"

static double dead(const struct moe_counts *counts)
{
	int32_t n = 0;

	while (n < counts->n_experts && counts->ascending[n] == 0)
		n++;
	return n;
}

const struct moe_metric moe_metric_dead = {
	.name = "dead", .unit = "experts", .all = MOE_ALL_SUM, .layer = dead,
	.help = "experts that were never chosen",
	.formula = "number of e with c_e = 0",
	.brief = "dead", .position = 5,
	.source = "definition",
};
