/* How much the experts of a layer tell of the source. */
#include <math.h>

#include "stats/sources.h"

static double bits(const struct moe_counts *counts)
{
	const double total = moe_sources_total(counts);
	double sum = 0;

	if (!(total > 0))
		return (double)NAN;
	for (int32_t e = 0; e < counts->n_experts; e++) {
		double of_expert = moe_sources_of_expert(counts, e);

		if (of_expert > 0)
			sum += of_expert / total * moe_sources_gain(counts, e);
	}
	return sum;
}

const struct moe_metric moe_metric_specialisation_bits = {
	.name = "specialisation_bits", .unit = "bits", .all = MOE_ALL_MEAN, .layer = bits,
	.stream = &moe_stream_sources,
	.help = "mutual information of a choice's expert and its source: 0 where experts do not tell sources apart",
	.formula = "sum_e (c_e / C) specialisation_gain_e",
	.source = "Shannon 1948, A Mathematical Theory of Communication",
};
