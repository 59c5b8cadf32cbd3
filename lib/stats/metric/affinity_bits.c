/* How much a choice tells of the same token's choice in the next layer. A choice of a token in either layer is drawn at
 * random; the pair's probability is n_ij over the sum of all. */
#include <math.h>

#include "stats/pairs.h"

static double bits(const struct moe_counts *counts)
{
	const struct moe_transitions *s = counts->state;
	const size_t n = (size_t)counts->n_experts;
	const uint64_t *pairs = s->counts + 2 * n;
	double total = 0, sum = 0;

	for (size_t i = 0; i < n * n; i++)
		total += (double)pairs[i];
	if (!(total > 0))
		return (double)NAN;
	for (size_t i = 0; i < n; i++) {
		double n_i = 0;

		for (size_t j = 0; j < n; j++)
			n_i += (double)pairs[i * n + j];
		for (size_t j = 0; j < n; j++)
			if (pairs[i * n + j] > 0) {
				double p = (double)pairs[i * n + j] / total;

				sum += p * log2(p * total / n_i);
			}
	}
	/* sum is -H(j | i); the entropy of j is added. */
	for (size_t j = 0; j < n; j++) {
		double n_j = 0;

		for (size_t i = 0; i < n; i++)
			n_j += (double)pairs[i * n + j];
		if (n_j > 0)
			sum -= n_j / total * log2(n_j / total);
	}
	return sum;
}

const struct moe_metric moe_metric_affinity_bits = {
	.name = "affinity_bits", .unit = "bits", .all = MOE_ALL_MEAN, .layer = bits, .stream = &moe_stream_transitions,
	.help = "mutual information of a choice and one of the same token in the next layer",
	.formula = "sum_ij p_ij log2(p_ij / (p_i p_j)), p_ij = n_ij / sum n, i of a layer, j of the next",
	.source = "Shannon 1948, A Mathematical Theory of Communication",
};
