/* How often each expert was chosen. */
#include "stats/stats.h"

static double count(const struct moe_counts *counts, int32_t expert) { return (double)counts->counts[expert]; }

const struct moe_metric moe_metric_count = {
	.name = "count", .unit = "choices", .all = MOE_ALL_SUM, .expert = count,
	.help = "how often each expert was chosen",
	.formula = "c_e",
	.source = "definition",
};
