/* Copies into bins: the balancing step that planners share. */
#ifndef MOE_PLACEMENT_PACK_H
#define MOE_PLACEMENT_PACK_H

#include <stdint.h>

#include "base/err.h"

/* How many copies each of n items should have when n_copies are to be made: one each, then again and again one more for
 * the item with the largest load per copy (ties: fewer copies, then the lower index), never more than max_copies.
 * Needs n <= n_copies <= n * max_copies. This makes the largest load per copy as small as it can be. */
MOE_MUST_USE enum moe_status moe_pack_replicate(const double *load, int32_t n, int32_t n_copies, int32_t max_copies,
                                                int32_t *copies, struct moe_err *err);

/* Fills n_bins bins of `capacity` places each, exactly: copies[i] copies of weight[i] for each of n items, never two of
 * one item in a bin. Needs sum of copies == n_bins * capacity and copies[i] <= n_bins; then it always succeeds.
 * Heaviest first onto the least loaded bin with room, then exchanges of pairs that lower the fullest bin.
 * bins [n_bins][capacity]: item indices, ascending within a bin. */
MOE_MUST_USE enum moe_status moe_pack_fill(const double *weight, const int32_t *copies, int32_t n, int32_t n_bins,
                                           int32_t capacity, int32_t *bins, struct moe_err *err);

#endif
