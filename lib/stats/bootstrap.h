/* Loads of resampled sequences: how far a number of loads would move with other text of the same kind.
 *
 * The block is a sequence, as tokens of one text are not independent. In each of MOE_RESAMPLES resamples a sequence
 * counts as often as a Poisson variable of mean 1 says, which is what drawing as many sequences with replacement comes
 * to when there are many (Hanley and MacGibbon 2006, Creating non-parametric bootstrap samples using Poisson
 * frequencies); it needs no second pass. The variable follows from seed, resample, part and sequence alone. */
#ifndef MOE_STATS_BOOTSTRAP_H
#define MOE_STATS_BOOTSTRAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "trace/trace.h"

enum { MOE_RESAMPLES = 200 };

struct moe_bootstrap {
	uint64_t seed;
	size_t n_pairs;     /* layers x experts */
	int32_t n_layers, n_experts;
	uint64_t *counts;   /* [MOE_RESAMPLES][n_pairs] */
	uint64_t *run;      /* [n_pairs] of the run at hand */
};

MOE_MUST_USE enum moe_status moe_bootstrap_new(struct moe_bootstrap **out, int32_t n_layers, int32_t n_experts,
                                               uint64_t seed, struct moe_err *err);
/* Ids were checked before. part: of all files. */
void moe_bootstrap_add(struct moe_bootstrap *bootstrap, int64_t part, const struct moe_trace_run *run);
/* Leaves only some rows of the layers: marks [n_layers]. */
void moe_bootstrap_keep(struct moe_bootstrap *bootstrap, const bool *marks);
void moe_bootstrap_free(struct moe_bootstrap *bootstrap);   /* NULL is fine */

/* Sorts n values, NaN left out, and takes those that 2.5 % lie below and above (interpolated); NaN for none. */
void moe_bootstrap_interval(double *values, int n, double *low, double *high);

#endif
