/* Groups onto nodes in the best way there is, then within each node as greedy does.
 *
 * A placement of groups is judged by what no packing inside the nodes could beat: the mean load of a node's ranks, and
 * its most loaded copy. */
#include <stdlib.h>

#include "placement/nodes.h"
#include "placement/pack.h"
#include "placement/planner.h"
#include "placement/spread.h"

static enum moe_status plan_layer(const struct moe_planner_opts *opts, const double *counts, int32_t n_experts,
                                  int32_t layer, struct moe_plan_entry *entries, struct moe_err *err)
{
	const int32_t n_slots = opts->n_slots;
	int32_t *copies = calloc((size_t)n_experts, sizeof *copies), *bins = calloc((size_t)n_slots, sizeof *bins);
	struct moe_nodes nodes = {0};
	double unused;
	bool exact;
	enum moe_status status;

	if (!copies || !bins)
		status = moe_err_nomem(err, (size_t)n_slots * sizeof *bins, "a plan");
	else
		status = moe_nodes_new(&nodes, opts, counts, n_experts, err);
	if (!status)
		status = moe_nodes_place(&nodes, counts, &moe_node_bound, &unused, &exact, err);
	for (int32_t i = 0; i < nodes.n && !status; i++) {
		double *load = nodes.load + (size_t)i * (size_t)nodes.n_experts;

		status = moe_pack_replicate(load, nodes.n_experts, nodes.n_ranks * nodes.capacity, nodes.n_ranks,
		                            copies, err);
		for (int32_t e = 0; e < nodes.n_experts && !status; e++)
			load[e] /= copies[e];
		if (!status)
			status = moe_pack_fill(load, copies, nodes.n_experts, nodes.n_ranks, nodes.capacity, bins,
			                       err);
		if (!status)
			moe_nodes_put(&nodes, i, bins, layer, entries);
	}
	if (!status)
		status = moe_spread_number(entries, opts->topology->n_ranks, nodes.capacity, n_experts, err);
	moe_nodes_free(&nodes);
	free(bins);
	free(copies);
	return status;
}

const struct moe_planner moe_planner_hierarchical = {
	.name = "hierarchical",
	.help = "groups onto nodes in the best of all ways, then as greedy within each node",
	.source = "exhaustive search over partitions of the groups",
	.start = true,
	.groups = true,
	.layer = plan_layer,
};
