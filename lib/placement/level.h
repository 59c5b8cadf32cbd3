/* Copies of one expert apart, without the fullest rank getting fuller: for planners whose own rule let them meet. */
#ifndef MOE_PLACEMENT_LEVEL_H
#define MOE_PLACEMENT_LEVEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "plan/plan.h"

/* Does one of these ranks hold an expert twice? last [n_experts]: scratch. */
bool moe_level_meets(const struct moe_plan_entry *entries, const int32_t *ranks, int32_t n_ranks, int32_t capacity,
                     int32_t *last, int32_t n_experts);

/* Takes the copies of an expert that share a rank apart by exchanges that leave the fuller of both ranks lightest;
 * then, while the fullest of these ranks holds more than `limit`, exchanges its entries for others, as long as one
 * helps. entries: of one layer, rank-major, `capacity` a rank; ranks [n_ranks]: those among which copies may move.
 * weight: load of one copy of each expert. Needs at most n_ranks copies of each expert on these ranks. */
MOE_MUST_USE enum moe_status moe_level_copies(struct moe_plan_entry *entries, const int32_t *ranks, int32_t n_ranks,
                                              int32_t capacity, const double *weight, double limit,
                                              struct moe_err *err);

#endif
