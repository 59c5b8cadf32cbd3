/* Shannon entropy of the shares of a layer: what several metrics are made of. */
#ifndef MOE_STATS_ENTROPY_H
#define MOE_STATS_ENTROPY_H

#include <math.h>

#include "stats/stats.h"

/* -sum_e p_e log2 p_e in bits, 0 log 0 = 0; NaN for a total of 0. Summed from the smallest, so equal loads in another
 * order give equal bits. */
static inline double moe_counts_entropy(const struct moe_counts *counts)
{
	double sum = 0;

	if (!(counts->total > 0))
		return (double)NAN;
	for (int32_t i = 0; i < counts->n_experts; i++) {
		double p = (double)counts->ascending[i] / counts->total;

		if (p > 0)
			sum -= p * log2(p);
	}
	return sum;
}

#endif
