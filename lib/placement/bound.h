/* What no plan can beat, and how much work looking for a good one may be. */
#ifndef MOE_PLACEMENT_BOUND_H
#define MOE_PLACEMENT_BOUND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* A peak within this factor of its bound counts as the bound. */
#define MOE_AT_BOUND (1 + 1e-6)

/* A lower bound of the fullest bin's load when items of these loads, each split evenly over any number >= 1 of copies
 * in different bins, fill n_bins * capacity places. It is the largest of
 *  - the mean of the bins;
 *  - the largest load per copy when copies are dealt out best, and the lightest capacity - 1 there can be beside it;
 *  - without spare places, for every k up to n_bins: either two of the k heaviest meet in a bin, or k bins hold one
 *    each and at least the lightest besides. */
MOE_MUST_USE enum moe_status moe_bound_bins(const double *load, int32_t n, int32_t n_bins, int32_t capacity,
                                            double *bound, struct moe_err *err);

/* Work that is left: a number of steps, or, where seconds are given, time. */
struct moe_work {
	int64_t left;     /* steps; with a deadline: until the clock is looked at again */
	double deadline;  /* of the monotonic clock, in seconds; 0: none */
};
/* seconds 0: n_steps of work, the same on every machine. */
struct moe_work moe_work_start(int64_t n_steps, double seconds);
/* Takes n steps off; false once nothing is left. */
bool moe_work_spend(struct moe_work *work, int64_t n);

#endif
