/* The best plan of the others, then made better: numbers of copies and places together, until no plan can be better or
 * the work is spent.
 *
 * With groups, the plan to start from is made better inside each node; groups change nodes only by starting from
 * another plan. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "placement/nodes.h"
#include "placement/planner.h"
#include "placement/refine.h"
#include "placement/spread.h"

#define STEPS_PER_SLOT 800    /* work for every slot of a layer without --time */
#define LEAST_STEPS 50000     /* and of a node, however small */

struct scratch {
	struct moe_plan_entry *plan;   /* [n_slots] the one at hand */
	double *rank_load;             /* [n_ranks] */
	double *floor;                 /* [n_ranks] what no packing of a node can beat; n nodes of them */
	int32_t *copies, *index;       /* [n_experts] */
	int32_t *bins;                 /* [n_slots] */
};

static void scratch_free(struct scratch *s)
{
	free(s->plan);
	free(s->rank_load);
	free(s->floor);
	free(s->copies);
	free(s->index);
	free(s->bins);
}

static enum moe_status scratch_new(struct scratch *s, const struct moe_planner_opts *opts, int32_t n_experts,
                                   struct moe_err *err)
{
	const size_t n = (size_t)opts->n_slots, n_ranks = (size_t)opts->topology->n_ranks;

	*s = (struct scratch){ .plan = calloc(n, sizeof *s->plan),
		               .rank_load = calloc(n_ranks, sizeof *s->rank_load),
		               .floor = calloc(n_ranks, sizeof *s->floor),
		               .copies = calloc((size_t)n_experts, sizeof *s->copies),
		               .index = calloc((size_t)n_experts, sizeof *s->index),
		               .bins = calloc(n, sizeof *s->bins) };
	if (s->plan && s->rank_load && s->floor && s->copies && s->index && s->bins)
		return MOE_OK;
	scratch_free(s);
	return moe_err_nomem(err, n * sizeof *s->plan, "a plan");
}

/* Load of the fullest rank. */
static double peak_of(struct scratch *s, const double *counts, int32_t n_experts, int32_t n_ranks, int32_t capacity)
{
	double peak = 0;

	memset(s->copies, 0, (size_t)n_experts * sizeof *s->copies);
	for (int64_t i = 0; i < (int64_t)n_ranks * capacity; i++)
		s->copies[s->plan[i].expert]++;
	for (int32_t r = 0; r < n_ranks; r++) {
		double sum = 0;

		for (int32_t k = 0; k < capacity; k++) {
			const int32_t e = s->plan[(int64_t)r * capacity + k].expert;

			sum += counts[e] / s->copies[e];
		}
		peak = fmax(peak, sum);
	}
	return peak;
}

/* The best plan of those that search may start from, into entries; nodes as it has them. */
static enum moe_status find_start(struct scratch *s, const struct moe_planner_opts *opts, const double *counts,
                                  int32_t n_experts, int32_t layer, struct moe_nodes *nodes,
                                  struct moe_plan_entry *entries, struct moe_err *err)
{
	const struct moe_planner *p;
	double best = INFINITY;

	for (size_t i = 0; (p = moe_planner_at(i)); i++) {
		enum moe_status status;
		double peak;

		if (!p->start)
			continue;
		status = p->layer(opts, counts, n_experts, layer, s->plan, err);
		if (status)
			return status;
		peak = peak_of(s, counts, n_experts, opts->topology->n_ranks, nodes->capacity);
		if (peak >= best || !moe_nodes_of_plan(nodes, s->plan))
			continue;
		best = peak;
		memcpy(entries, s->plan, (size_t)opts->n_slots * sizeof *entries);
	}
	/* Some planner keeps the groups, whatever they are. */
	if (moe_nodes_of_plan(nodes, entries))
		moe_nodes_fill(nodes, counts);
	return MOE_OK;
}

/* Every node, to what none can beat or what the worst cannot. */
static enum moe_status refine_nodes(struct scratch *s, const struct moe_planner_opts *opts,
                                    const struct moe_nodes *nodes, int32_t layer, struct moe_plan_entry *entries,
                                    struct moe_err *err)
{
	double floor = 0;
	enum moe_status status = MOE_OK;

	for (int32_t i = 0; i < nodes->n && !status; i++) {
		status = moe_bound_bins(nodes->load + (size_t)i * (size_t)nodes->n_experts, nodes->n_experts,
		                        nodes->n_ranks, nodes->capacity, &s->floor[i], err);
		floor = fmax(floor, s->floor[i]);
	}
	for (int32_t i = 0; i < nodes->n && !status; i++) {
		const int64_t n_steps = (int64_t)nodes->n_ranks * nodes->capacity * STEPS_PER_SLOT;
		const int64_t n_most = n_steps > LEAST_STEPS ? n_steps : LEAST_STEPS;
		struct moe_work work = moe_work_start(n_most, opts->seconds / nodes->n);
		double peak;

		moe_nodes_get(nodes, i, entries, s->index, s->bins);
		status = moe_refine_bins(nodes->load + (size_t)i * (size_t)nodes->n_experts, nodes->n_experts,
		                         nodes->n_ranks, nodes->capacity, floor,
		                         moe_rng_mix(opts->seed ^ (uint64_t)layer << 20 ^ (uint64_t)i), &work, s->bins,
		                         &peak, err);
		if (!status)
			moe_nodes_put(nodes, i, s->bins, layer, entries);
	}
	return status;
}

static enum moe_status plan_layer(const struct moe_planner_opts *opts, const double *counts, int32_t n_experts,
                                  int32_t layer, struct moe_plan_entry *entries, struct moe_err *err)
{
	struct moe_nodes nodes;
	struct scratch s;
	enum moe_status status = scratch_new(&s, opts, n_experts, err);

	if (status)
		return status;
	status = moe_nodes_new(&nodes, opts, counts, n_experts, err);
	if (!status)
		status = find_start(&s, opts, counts, n_experts, layer, &nodes, entries, err);
	if (!status)
		status = refine_nodes(&s, opts, &nodes, layer, entries, err);
	if (!status)
		status = moe_spread_number(entries, opts->topology->n_ranks, nodes.capacity, n_experts, err);
	moe_nodes_free(&nodes);
	scratch_free(&s);
	return status;
}

const struct moe_planner moe_planner_search = {
	.name = "search",
	.help = "the best of the others, then exchanges and other numbers of copies until the bound or --time",
	.source = "iterated local search (Lourenco, Martin, Stuetzle 2003)",
	.groups = true,
	.layer = plan_layer,
};
