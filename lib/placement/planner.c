/* The planners there are, and running one over all layers of a load. */
#include "placement/planner.h"

#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "placement/pin.h"

#define X(name) extern const struct moe_planner moe_planner_##name;
#include "gen/placement_planner.h"
#undef X

static const struct moe_planner *const planners[] = {
#define X(name) &moe_planner_##name,
#include "gen/placement_planner.h"
#undef X
};

const struct moe_planner *moe_planner_at(size_t i)
{
	return i < sizeof planners / sizeof *planners ? planners[i] : NULL;
}

const struct moe_planner *moe_planner_by_name(const char *name)
{
	for (size_t i = 0; moe_planner_at(i); i++)
		if (!strcmp(planners[i]->name, name))
			return planners[i];
	return NULL;
}

const struct moe_planner *moe_planner_preferred(void)
{
	for (size_t i = 0; moe_planner_at(i); i++)
		if (planners[i]->preferred)
			return planners[i];
	return planners[0];
}

/* Every node must have as many ranks as the others where groups are dealt out evenly. */
static enum moe_status check_groups(const struct moe_planner_opts *opts, int32_t n_experts, struct moe_err *err)
{
	const struct moe_topology *t = opts->topology;
	int64_t per_node = t->n_ranks / t->n_nodes, n_slots = opts->n_slots / t->n_nodes;
	int32_t *n_of;
	enum moe_status status = MOE_OK;

	if (opts->n_groups < 1 || n_experts % opts->n_groups)
		return moe_err_set(err, MOE_EUSAGE, "%d experts do not form %d equal groups", n_experts,
		                   opts->n_groups);
	if (opts->n_groups == 1)
		return MOE_OK;
	if (opts->n_groups % t->n_nodes)
		return moe_err_set(err, MOE_EUSAGE,
		                   "%d groups do not spread evenly over %d nodes (--groups 1 plans without "
		                   "groups)",
		                   opts->n_groups, t->n_nodes);
	n_of = calloc((size_t)t->n_nodes, sizeof *n_of);
	if (!n_of)
		return moe_err_nomem(err, (size_t)t->n_nodes * sizeof *n_of, "nodes");
	for (int32_t r = 0; r < t->n_ranks; r++)
		n_of[t->node[r]]++;
	for (int32_t i = 0; i < t->n_nodes && !status; i++)
		if (n_of[i] != per_node || t->n_ranks % t->n_nodes)
			status = moe_err_set(err, MOE_EUSAGE,
			                     "groups need nodes of equal size: node 0 has %d ranks, node %d has %d",
			                     n_of[0], i, n_of[i]);
	free(n_of);
	if (!status && n_slots > n_experts / t->n_nodes * per_node)
		status = moe_err_set(err, MOE_EUSAGE,
		                     "%lld slots a node are more than %d experts can fill with one copy on each "
		                     "of %lld ranks",
		                     (long long)n_slots, n_experts / t->n_nodes, (long long)per_node);
	return status;
}

static enum moe_status check_opts(const struct moe_planner_opts *opts, int32_t n_experts, struct moe_err *err)
{
	int32_t n_ranks = opts->topology->n_ranks;

	if (opts->n_slots < n_experts)
		return moe_err_set(err, MOE_EUSAGE, "%d slots are too few for %d experts", opts->n_slots, n_experts);
	if (opts->n_slots % n_ranks)
		return moe_err_set(err, MOE_EUSAGE, "%d slots do not spread evenly over %d ranks; %lld would",
		                   opts->n_slots, n_ranks,
		                   ((long long)opts->n_slots + n_ranks - 1) / n_ranks * n_ranks);
	if (opts->n_slots > (int64_t)n_experts * n_ranks)
		return moe_err_set(err, MOE_EUSAGE,
		                   "%d slots are more than %d experts can fill with one copy on each of %d ranks",
		                   opts->n_slots, n_experts, n_ranks);
	return check_groups(opts, n_experts, err);
}

/* All layers, planned in any order, each into its own place. */
struct job {
	const struct moe_planner *planner;
	const struct moe_planner_opts *opts;
	const struct moe_load *load;
	struct moe_plan_entry *entries;   /* [n_layers][n_slots] */
	struct moe_err *errs;             /* [n_layers] */
};

static enum moe_status plan_one(const struct moe_planner *planner, const struct moe_planner_opts *opts,
                                const double *counts, int32_t n_experts, int32_t layer,
                                struct moe_plan_entry *entries, struct moe_err *err)
{
	enum moe_status status = planner->layer(opts, counts, n_experts, layer, entries, err);

	if (!status && opts->pins)
		status = moe_pins_apply(opts->pins, opts->topology, opts->n_groups > 1, counts, n_experts, layer,
		                        opts->n_slots / opts->topology->n_ranks, entries, err);
	return status;
}

static void plan_layers(void *arg, int64_t begin, int64_t end, int thread)
{
	const struct job *job = arg;
	int32_t n = job->load->n_experts;

	(void)thread;
	for (int64_t l = begin; l < end; l++) {
		double *counts = calloc((size_t)n, sizeof *counts);

		if (!counts) {
			job->errs[l].status = moe_err_nomem(&job->errs[l], (size_t)n * sizeof *counts, "a plan");
			continue;
		}
		for (int32_t e = 0; e < n; e++)
			counts[e] = (double)job->load->counts[l * n + e];
		struct moe_planner_opts opts = *job->opts;

		opts.together = opts.together ? opts.together + l : NULL;
		opts.max_moves = opts.moves ? opts.moves[l] : opts.max_moves;
		job->errs[l].status = plan_one(job->planner, &opts, counts, n, job->load->layers[l],
		                               job->entries + l * job->opts->n_slots, &job->errs[l]);
		free(counts);
	}
}

/* Does every group stay on one node? A planner that does not look at groups may still be refused here. */
static enum moe_status check_kept(const struct moe_plan *plan, const struct moe_planner_opts *opts, int32_t n_experts,
                                  const char *planner, struct moe_err *err)
{
	int32_t size = n_experts / opts->n_groups, *node;
	enum moe_status status = MOE_OK;

	if (opts->n_groups == 1)
		return MOE_OK;
	node = malloc((size_t)opts->n_groups * sizeof *node);
	if (!node)
		return moe_err_nomem(err, (size_t)opts->n_groups * sizeof *node, "groups");
	for (int64_t i = 0; i < plan->n_entries && !status; i++) {
		const struct moe_plan_entry *e = &plan->entries[i];
		int32_t g = e->expert / size, here = opts->topology->node[e->rank];

		if (!i || e->layer != e[-1].layer)
			memset(node, 0xff, (size_t)opts->n_groups * sizeof *node);
		if (node[g] >= 0 && node[g] != here)
			status = moe_err_set(err, MOE_EUSAGE,
			                     "planner %s puts group %d of layer %d on nodes %d and %d: it does not "
			                     "keep groups together with these slots",
			                     planner, g, e->layer, node[g], here);
		node[g] = here;
	}
	free(node);
	return status;
}

enum moe_status moe_planner_run(struct moe_plan *out, const struct moe_planner *planner,
                                const struct moe_planner_opts *opts, const struct moe_load *load, struct moe_pool *pool,
                                struct moe_err *err)
{
	struct moe_planner_opts layer_opts = *opts;
	struct job job = { .planner = planner, .opts = &layer_opts, .load = load };
	const int n_threads = moe_pool_threads(pool);
	const int n_at_once = n_threads < load->n_layers ? n_threads : load->n_layers;
	size_t n = (size_t)load->n_layers * (size_t)opts->n_slots;
	enum moe_status status;

	memset(out, 0, sizeof *out);
	status = check_opts(opts, load->n_experts, err);
	if (!status && planner->from && (!opts->from || opts->from->n_ranks != opts->topology->n_ranks))
		status = moe_err_set(err, MOE_EUSAGE, "planner %s starts from a plan for as many ranks", planner->name);
	if (!status && planner->together && !opts->together)
		status = moe_err_set(err, MOE_EUSAGE, "planner %s needs to know which experts are chosen together",
		                     planner->name);
	if (!status && planner->max_slots && opts->n_slots > planner->max_slots)
		status = moe_err_set(err, MOE_EUSAGE, "planner %s takes at most %d slots a layer, found %d",
		                     planner->name, planner->max_slots, opts->n_slots);
	if (status)
		return status;
	job.entries = calloc(n ? n : 1, sizeof *job.entries);
	job.errs = calloc((size_t)load->n_layers + 1, sizeof *job.errs);
	*out = (struct moe_plan){ .n_ranks = opts->topology->n_ranks,
	                             .n_nodes = opts->topology->even ? opts->topology->n_nodes : 0,
	                          .n_entries = (int64_t)n, .entries = job.entries, .planner = strdup(planner->name),
	                          .model = strdup(load->model ? load->model : "") };
	if (!job.entries || !job.errs || !out->planner || !out->model) {
		status = moe_err_nomem(err, n * sizeof *job.entries, "a plan");
		goto out;
	}
	if (load->n_layers)
		layer_opts.seconds = opts->seconds * n_at_once / load->n_layers;
	moe_pool_for(pool, load->n_layers, 1, plan_layers, &job);
	for (int32_t l = 0; l < load->n_layers && !status; l++)
		if (job.errs[l].status)
			status = moe_err_set(err, job.errs[l].status, "%s", job.errs[l].text);
	if (status)
		goto out;
	moe_plan_sort(out);
	status = moe_plan_check(out, load->layers, load->n_layers, load->n_experts, planner->name, err);
	if (!status)
		status = check_kept(out, opts, load->n_experts, planner->name, err);
out:
	free(job.errs);
	if (status)
		moe_plan_free(out);
	return status;
}
