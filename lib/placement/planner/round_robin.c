/* Experts dealt out like cards, one to each rank in turn; slots beyond the experts start again at expert 0. Loads are
 * not looked at. */
#include <stdlib.h>

#include "placement/planner.h"
#include "placement/spread.h"

static enum moe_status plan_layer(const struct moe_planner_opts *opts, const double *counts, int32_t n_experts,
                                  int32_t layer, struct moe_plan_entry *entries, struct moe_err *err)
{
	const int32_t n_ranks = opts->topology->n_ranks, capacity = opts->n_slots / n_ranks;
	int32_t *ranks = calloc((size_t)n_ranks, sizeof *ranks);
	enum moe_status status;

	if (!ranks)
		return moe_err_nomem(err, (size_t)n_ranks * sizeof *ranks, "a plan");
	for (int32_t r = 0; r < n_ranks; r++) {
		ranks[r] = r;
		for (int32_t k = 0; k < capacity; k++)
			entries[(int64_t)r * capacity + k] =
				(struct moe_plan_entry){ .layer = layer,
			                                 .expert = (int32_t)(((int64_t)k * n_ranks + r) % n_experts) };
	}
	status = moe_spread_copies(entries, ranks, n_ranks, capacity, counts, n_experts, err);
	if (!status)
		status = moe_spread_number(entries, n_ranks, capacity, n_experts, err);
	free(ranks);
	return status;
}

const struct moe_planner moe_planner_round_robin = {
	.name = "round_robin",
	.help = "experts one to each rank in turn; loads are not looked at",
	.source = "expert parallelism as in Megatron-LM and others",
	.start = true,
	.layer = plan_layer,
};
