/* Copies of one expert apart: what planners that deal slots out by a fixed rule do afterwards. */
#ifndef MOE_PLACEMENT_SPREAD_H
#define MOE_PLACEMENT_SPREAD_H

#include <stdint.h>

#include "base/err.h"
#include "plan/plan.h"

/* Where a rank holds an expert twice, one copy changes places with an entry of another of these ranks, so that in the
 * end none does. entries: of one layer, rank-major, `capacity` a rank; ranks [n_ranks]: those among which copies may
 * move. weight [n_experts]: load of one copy; of the exchanges there are the one that moves least load is taken. Needs
 * at most n_ranks copies of each expert on these ranks. */
MOE_MUST_USE enum moe_status moe_spread_copies(struct moe_plan_entry *entries, const int32_t *ranks, int32_t n_ranks,
                                               int32_t capacity, const double *weight, int32_t n_experts,
                                               struct moe_err *err);

/* Numbers the copies of each expert by rank, and the slots within each rank. */
MOE_MUST_USE enum moe_status moe_spread_number(struct moe_plan_entry *entries, int32_t n_ranks, int32_t capacity,
                                               int32_t n_experts, struct moe_err *err);

#endif
