/* A plan that is there already, changed in few places: of all steps that take load off the busiest rank the one that
 * takes off most for every copy that has to be brought somewhere, again and again.
 *
 * A step exchanges an expert of the busiest rank with one of another, or turns one copy of an expert into a copy of
 * another one. What counts as moved are copies on a rank that did not hold the expert before. With groups the steps
 * stay inside the nodes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "placement/nodes.h"
#include "placement/planner.h"
#include "placement/spread.h"
#include "placement/state.h"

#define LESS (1 - 1e-9)   /* a step must gain more than rounding does */

/* One node, and what its ranks held before. */
struct node {
	struct moe_state s;
	uint64_t *before;   /* as s.held */
};

struct step {
	double value;       /* load taken off for every copy moved; 0: no step */
	int32_t cost;
	int32_t r;
	int32_t x, y;
	bool replace;       /* y takes the place of x in r; else x of the fullest bin goes to r, and y comes */
};

static bool is_new(const struct node *n, int32_t bin, int32_t item)
{
	return !(n->before[(int64_t)bin * n->s.n_words + (item >> 6)] >> (item & 63) & 1);
}

static void try_step(const struct node *n, int32_t h, double peak, struct step step, int32_t left, struct step *best)
{
	const double gain = n->s.load[h] - peak;

	if (step.cost > left || peak >= n->s.load[h] * LESS)
		return;
	/* What costs nothing, or gives moves back, is worth more than anything that costs. */
	step.value = step.cost > 0 ? gain / step.cost : gain * 4 * (1 - step.cost);
	if (step.value > best->value)
		*best = step;
}

static struct step find_step(const struct node *n, int32_t h, int32_t left)
{
	const struct moe_state *s = &n->s;
	struct step best = {0};

	for (int32_t i = 0; i < s->capacity; i++) {
		const int32_t x = moe_state_at(s, h, i);

		for (int64_t k = 0; k < (int64_t)s->n_bins * s->capacity; k++) {
			const int32_t r = (int32_t)(k / s->capacity), y = s->bins[k];
			const double d = s->weight[x] - s->weight[y];

			if (d > 0 && r != h && !moe_state_holds(s, r, x) && !moe_state_holds(s, h, y))
				try_step(n, h, fmax(s->load[h] - d, s->load[r] + d),
				         (struct step){ .cost = is_new(n, r, x) + is_new(n, h, y) - is_new(n, h, x) -
				                                is_new(n, r, y),
				                        .r = r, .x = x, .y = y },
				         left, &best);
		}
	}
	for (int64_t k = 0; k < (int64_t)s->n_bins * s->capacity; k++) {
		const int32_t r = (int32_t)(k / s->capacity), x = s->bins[k], m = r == h ? s->n : s->capacity;

		for (int32_t i = 0; i < m && s->copies[x] > 1; i++) {
			const int32_t y = r == h ? i : moe_state_at(s, h, i);

			if (!moe_state_holds(s, r, y))
				try_step(n, h, moe_state_peak_of_replace(s, h, r, x, y, s->load[h]),
				         (struct step){ .cost = is_new(n, r, y) - is_new(n, r, x),
				                        .r = r, .x = x, .y = y, .replace = true },
				         left, &best);
		}
	}
	return best;
}

/* Steps in the node with the busiest rank, until there is none or `left` copies have moved. */
static void improve(struct node *nodes, int32_t n, int32_t left)
{
	for (;;) {
		int32_t worst = 0;

		for (int32_t i = 1; i < n; i++)
			if (nodes[i].s.load[moe_state_fullest(&nodes[i].s)] >
			    nodes[worst].s.load[moe_state_fullest(&nodes[worst].s)])
				worst = i;
		struct moe_state *s = &nodes[worst].s;
		const int32_t h = moe_state_fullest(s);
		const struct step step = find_step(&nodes[worst], h, left);

		if (step.value <= 0)
			return;
		left -= step.cost;
		if (step.replace)
			moe_state_replace(s, step.r, step.x, step.y);
		else
			moe_state_exchange(s, h, step.x, step.r, step.y);
	}
}

/* Experts that stay keep their slots; bins [n_bins][capacity] in and out, as the plan had them. */
static void keep_slots(const struct moe_state *s, int32_t *bins)
{
	for (int32_t b = 0; b < s->n_bins; b++) {
		int32_t *old = bins + (int64_t)b * s->capacity;

		for (int32_t k = 0; k < s->capacity; k++)
			if (!moe_state_holds(s, b, old[k]))
				old[k] = -1;
		for (int32_t i = 0; i < s->capacity; i++) {
			const int32_t item = moe_state_at(s, b, i);
			int32_t free_slot = -1;

			for (int32_t k = s->capacity; k-- > 0 && free_slot != -2;)
				free_slot = old[k] == item ? -2 : old[k] < 0 ? k : free_slot;
			if (free_slot >= 0)
				old[free_slot] = item;
		}
	}
}

/* The old plan's entries of the layer, rank-major. */
static enum moe_status take_old(const struct moe_planner_opts *opts, int32_t layer, int32_t n_experts,
                                struct moe_plan_entry *entries, struct moe_err *err)
{
	const int32_t capacity = opts->n_slots / opts->topology->n_ranks;
	const struct moe_plan_entry *old;
	int64_t n;

	old = moe_plan_layer(opts->from, layer, &n);
	if (!old)
		return moe_err_set(err, MOE_EUSAGE, "the old plan does not name layer %d", layer);
	for (int64_t i = 0; i < n; i++)
		if (n != opts->n_slots || old[i].rank != i / capacity || old[i].expert >= n_experts)
			return moe_err_set(err, MOE_EUSAGE,
			                   "the old plan has %lld slots in layer %d, expected %d on each of %d ranks "
			                   "and %d experts",
			                   (long long)n, layer, capacity, opts->topology->n_ranks, n_experts);
	memcpy(entries, old, (size_t)n * sizeof *entries);
	return MOE_OK;
}

static enum moe_status plan_layer(const struct moe_planner_opts *opts, const double *counts, int32_t n_experts,
                                  int32_t layer, struct moe_plan_entry *entries, struct moe_err *err)
{
	int32_t *index = calloc((size_t)n_experts, sizeof *index), *bins = calloc((size_t)opts->n_slots, sizeof *bins);
	struct moe_nodes nodes = {0};
	struct node *node = NULL;
	enum moe_status status = MOE_OK;

	if (!index || !bins)
		status = moe_err_nomem(err, (size_t)opts->n_slots * sizeof *bins, "a plan");
	if (!status)
		status = take_old(opts, layer, n_experts, entries, err);
	if (!status)
		status = moe_nodes_new(&nodes, opts, counts, n_experts, err);
	if (!status && !moe_nodes_of_plan(&nodes, entries))
		status = moe_err_set(err, MOE_EUSAGE, "the old plan does not keep the groups of layer %d on nodes",
		                     layer);
	if (status)
		goto out;
	moe_nodes_fill(&nodes, counts);
	node = calloc((size_t)nodes.n, sizeof *node);
	if (!node)
		status = moe_err_nomem(err, (size_t)nodes.n * sizeof *node, "nodes");
	for (int32_t i = 0; i < nodes.n && !status; i++) {
		struct moe_state *s = &node[i].s;

		moe_nodes_get(&nodes, i, entries, index, bins);
		status = moe_state_new(s, nodes.load + (size_t)i * (size_t)nodes.n_experts, nodes.n_experts,
		                       nodes.n_ranks, nodes.capacity, bins, err);
		if (status)
			break;
		const size_t n_bytes = (size_t)s->n_bins * (size_t)s->n_words * sizeof *s->held;

		node[i].before = malloc(n_bytes);
		if (node[i].before)
			memcpy(node[i].before, s->held, n_bytes);
		else
			status = moe_err_nomem(err, n_bytes, "a plan");
	}
	if (!status)
		improve(node, nodes.n, opts->max_moves);
	for (int32_t i = 0; i < nodes.n && !status; i++) {
		moe_nodes_get(&nodes, i, entries, index, bins);
		keep_slots(&node[i].s, bins);
		moe_nodes_put(&nodes, i, bins, layer, entries);
	}
	if (!status)
		status = moe_spread_number(entries, opts->topology->n_ranks, nodes.capacity, n_experts, err);
out:
	for (int32_t i = 0; node && i < nodes.n; i++) {
		moe_state_free(&node[i].s);
		free(node[i].before);
	}
	free(node);
	moe_nodes_free(&nodes);
	free(bins);
	free(index);
	return status;
}

const struct moe_planner moe_planner_min_moves = {
	.name = "min_moves",
	.help = "the plan of --from with at most --max-moves copies of each layer moved",
	.source = "steepest descent per copy moved",
	.groups = true,
	.from = true,
	.layer = plan_layer,
};
