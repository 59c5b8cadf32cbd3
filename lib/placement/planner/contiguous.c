/* Experts in order: slot s of a layer, counted over all ranks, holds expert s mod E. Loads are not looked at. */
#include "placement/planner.h"

static enum moe_status plan_layer(const struct moe_planner_opts *opts, const double *counts, int32_t n_experts,
                                  int32_t layer, struct moe_plan_entry *entries, struct moe_err *err)
{
	int32_t capacity = opts->n_slots / opts->topology->n_ranks;

	(void)counts;
	(void)err;
	for (int32_t s = 0; s < opts->n_slots; s++)
		entries[s] = (struct moe_plan_entry){ layer, s % n_experts, s / n_experts, s / capacity, s % capacity };
	return MOE_OK;
}

const struct moe_planner moe_planner_contiguous = {
	.name = "contiguous",
	.help = "experts in order; slots beyond the experts start again at expert 0",
	.source = "the usual default of expert parallelism",
	.start = true,
	.layer = plan_layer,
};
