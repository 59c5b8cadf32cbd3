/* What plans cost batch by batch: a machine waits for its busiest rank in every batch, not once for all traffic. */
#ifndef MOE_PLACEMENT_BATCHES_H
#define MOE_PLACEMENT_BATCHES_H

#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "base/pool.h"
#include "plan/plan.h"

/* Of one plan in one layer. */
struct moe_batch_cost {
	double mean, worst;   /* peak-to-average of a batch; 1 where there is none */
};

/* Batches are n_tokens tokens that follow each other in a part of a trace; what is left at the end of a part is one too
 * if it is at least half as long, or the part's only one. Batches without choices in a layer do not count there.
 * plans: every layer and expert of the traces placed. out [n_plans][n_layers] of the traces; n_layers is checked.
 * *n_batches: how many there are. Every file is read once more; none may be stdin or a load table. */
MOE_MUST_USE enum moe_status moe_batches_judge(char *const *paths, int n_paths, const struct moe_plan *plans,
                                               int n_plans, int64_t n_tokens, int32_t n_layers,
                                               struct moe_batch_cost *out, int64_t *n_batches, struct moe_pool *pool,
                                               struct moe_watch *watch, struct moe_err *err);

#endif
