/* The best plan there is, for machines small enough: what the others are judged by. */
#include <stdlib.h>

#include "placement/exact.h"
#include "placement/nodes.h"
#include "placement/planner.h"
#include "placement/spread.h"

#define MAX_SLOTS 16   /* of a layer: seconds at worst */

/* The fullest rank of a node at best; arg: bins [n_slots]. */
static enum moe_status cost_of(void *arg, const struct moe_nodes *nodes, const double *load, double *cost,
                               struct moe_err *err)
{
	return moe_exact_bins(load, nodes->n_experts, nodes->n_ranks, nodes->capacity, arg, cost, err);
}

static enum moe_status plan_layer(const struct moe_planner_opts *opts, const double *counts, int32_t n_experts,
                                  int32_t layer, struct moe_plan_entry *entries, struct moe_err *err)
{
	int32_t *bins = calloc((size_t)opts->n_slots, sizeof *bins);
	const struct moe_node_cost by = { bins, cost_of };
	struct moe_nodes nodes = {0};
	double cost;
	bool exact;
	enum moe_status status;

	if (!bins)
		status = moe_err_nomem(err, (size_t)opts->n_slots * sizeof *bins, "a plan");
	else
		status = moe_nodes_new(&nodes, opts, counts, n_experts, err);
	/* Every way is tried: with so few slots there are few groups. */
	if (!status)
		status = moe_nodes_place(&nodes, counts, &by, &cost, &exact, err);
	for (int32_t i = 0; i < nodes.n && !status; i++) {
		status = moe_exact_bins(nodes.load + (size_t)i * (size_t)nodes.n_experts, nodes.n_experts,
		                        nodes.n_ranks, nodes.capacity, bins, &cost, err);
		if (!status)
			moe_nodes_put(&nodes, i, bins, layer, entries);
	}
	if (!status)
		status = moe_spread_number(entries, opts->topology->n_ranks, nodes.capacity, n_experts, err);
	moe_nodes_free(&nodes);
	free(bins);
	return status;
}

const struct moe_planner moe_planner_optimal = {
	.name = "optimal",
	.help = "the best plan there is, by branch and bound; for at most 16 slots a layer",
	.source = "branch and bound over copies and places",
	.max_slots = MAX_SLOTS,
	.groups = true,
	.layer = plan_layer,
};
