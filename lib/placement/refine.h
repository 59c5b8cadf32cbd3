/* Making a packing better, numbers of copies and places together. */
#ifndef MOE_PLACEMENT_REFINE_H
#define MOE_PLACEMENT_REFINE_H

#include <stdint.h>

#include "base/err.h"
#include "placement/bound.h"

/* Lowers the fullest bin until it is at `floor`, or work is spent. bins [n_bins][capacity]: in and out, never worse;
 * as of moe_pack_fill. The same seed and steps of work give the same bins. *peak: load of the fullest bin. */
MOE_MUST_USE enum moe_status moe_refine_bins(const double *load, int32_t n, int32_t n_bins, int32_t capacity,
                                             double floor, uint64_t seed, struct moe_work *work, int32_t *bins,
                                             double *peak, struct moe_err *err);

#endif
