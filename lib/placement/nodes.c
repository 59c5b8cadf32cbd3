/* Placing groups of experts on nodes. */
#include "placement/nodes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "placement/bound.h"
#include "placement/pack.h"

#define MASK_GROUPS 16   /* costs of sets of groups are kept by bit mask */

enum moe_status moe_nodes_new(struct moe_nodes *nodes, const struct moe_planner_opts *opts, const double *counts,
                              int32_t n_experts, struct moe_err *err)
{
	const struct moe_topology *t = opts->topology;
	const int32_t n = opts->n_groups > 1 ? t->n_nodes : 1;
	int32_t *next;

	*nodes = (struct moe_nodes){ .n = n,
		                     .n_ranks = t->n_ranks / n,
		                     .n_experts = n_experts / n,
		                     .n_groups = opts->n_groups / n,
		                     .capacity = opts->n_slots / t->n_ranks };
	nodes->ranks = calloc((size_t)t->n_ranks, sizeof *nodes->ranks);
	nodes->groups = calloc((size_t)opts->n_groups, sizeof *nodes->groups);
	nodes->experts = calloc((size_t)n_experts, sizeof *nodes->experts);
	nodes->load = calloc((size_t)n_experts, sizeof *nodes->load);
	next = calloc((size_t)n, sizeof *next);
	if (!nodes->ranks || !nodes->groups || !nodes->experts || !nodes->load || !next) {
		free(next);
		moe_nodes_free(nodes);
		return moe_err_nomem(err, (size_t)n_experts * sizeof *nodes->load, "nodes");
	}
	for (int32_t r = 0; r < t->n_ranks; r++) {
		const int32_t i = n > 1 ? t->node[r] : 0;

		nodes->ranks[i * nodes->n_ranks + next[i]++] = r;
	}
	free(next);
	for (int32_t g = 0; g < opts->n_groups; g++)
		nodes->groups[g] = g;
	moe_nodes_fill(nodes, counts);
	return MOE_OK;
}

void moe_nodes_free(struct moe_nodes *nodes)
{
	free(nodes->ranks);
	free(nodes->groups);
	free(nodes->experts);
	free(nodes->load);
	*nodes = (struct moe_nodes){0};
}

void moe_nodes_fill(struct moe_nodes *nodes, const double *counts)
{
	const int32_t size = nodes->n_experts / nodes->n_groups;
	int32_t n = 0;

	for (int32_t k = 0; k < nodes->n * nodes->n_groups; k++)
		for (int32_t e = 0; e < size; e++) {
			nodes->experts[n] = nodes->groups[k] * size + e;
			nodes->load[n] = counts[nodes->experts[n]];
			n++;
		}
}

static enum moe_status bound_of(void *arg, const struct moe_nodes *nodes, const double *load, double *cost,
                                struct moe_err *err)
{
	(void)arg;
	return moe_bound_bins(load, nodes->n_experts, nodes->n_ranks, nodes->capacity, cost, err);
}

const struct moe_node_cost moe_node_bound = { NULL, bound_of };

/* Placing under way. */
struct placing {
	struct moe_nodes *nodes;
	const double *counts;
	const struct moe_node_cost *by;
	struct moe_err *err;
	double *load;     /* [n_experts] of the set at hand */
	double *known;    /* [1 << groups] cost of a set; negative: not known; NULL: not kept */
	double best;
	int32_t *best_groups, *groups;   /* [n][n_groups] */
};

/* Cost of n_groups groups. */
static enum moe_status cost_of(const struct placing *p, const int32_t *groups, double *cost)
{
	const struct moe_nodes *nodes = p->nodes;
	const int32_t size = nodes->n_experts / nodes->n_groups;
	uint32_t mask = 0;
	enum moe_status status;

	if (p->known) {
		for (int32_t k = 0; k < nodes->n_groups; k++)
			mask |= 1u << groups[k];
		*cost = p->known[mask];
		if (*cost >= 0)
			return MOE_OK;
	}
	for (int32_t k = 0; k < nodes->n_groups; k++)
		memcpy(p->load + k * size, p->counts + (size_t)groups[k] * (size_t)size,
		       (size_t)size * sizeof *p->load);
	status = p->by->of(p->by->arg, nodes, p->load, cost, p->err);
	if (!status && p->known)
		p->known[mask] = *cost;
	return status;
}

/* In how many ways groups can lie on nodes that are all alike; more than MOE_NODES_WAYS: some number beyond. */
static int64_t count_ways(const struct moe_nodes *nodes)
{
	int64_t ways = 1;

	for (int32_t left = nodes->n * nodes->n_groups; left > 0; left -= nodes->n_groups)
		for (int32_t k = 1; k < nodes->n_groups; k++) {
			/* Binomials of (left - 1, k), one factor after another, are whole at every step. */
			ways = ways * (left - k);
			if (ways > (int64_t)MOE_NODES_WAYS * 1000000)
				return ways;
			if (k == nodes->n_groups - 1)
				for (int32_t d = 2; d <= k; d++)
					ways /= d;
		}
	return ways;
}

/* The node at hand takes the first group that is free and `left` more from `from` on. used: bit mask. */
static enum moe_status place_rest(struct placing *p, int32_t node, int32_t at, int32_t from, uint32_t used, double peak)
{
	const int32_t n_groups = p->nodes->n_groups, n = p->nodes->n * n_groups;
	int32_t *groups = p->groups + node * n_groups;
	enum moe_status status = MOE_OK;

	if (node == p->nodes->n) {
		p->best = peak;
		memcpy(p->best_groups, p->groups, (size_t)n * sizeof *p->groups);
		return MOE_OK;
	}
	if (at == n_groups) {
		double cost;

		status = cost_of(p, groups, &cost);
		cost = fmax(cost, peak);
		return status || cost >= p->best ? status : place_rest(p, node + 1, 0, 0, used, cost);
	}
	for (int32_t g = from; g < n && !status; g++) {
		if (used & 1u << g)
			continue;
		groups[at] = g;
		status = place_rest(p, node, at + 1, g + 1, used | 1u << g, peak);
		if (!at)
			break;
	}
	return status;
}

/* One exchange of groups that lowers the costliest node, if there is any. cost [n]. */
static enum moe_status exchange_groups(const struct placing *p, double *cost, bool *found)
{
	const int32_t n_groups = p->nodes->n_groups;
	int32_t worst = 0, best_a = -1, best_b = -1;
	double best, best_here = 0, best_there = 0;
	enum moe_status status = MOE_OK;

	for (int32_t i = 1; i < p->nodes->n; i++)
		worst = cost[i] > cost[worst] ? i : worst;
	best = cost[worst] * (1 - 1e-9);
	for (int32_t a = worst * n_groups; a < (worst + 1) * n_groups; a++)
		for (int32_t b = 0; b < p->nodes->n * n_groups; b++) {
			const int32_t other = b / n_groups, x = p->groups[a];
			double here, there;

			if (other == worst)
				continue;
			p->groups[a] = p->groups[b];
			p->groups[b] = x;
			status = cost_of(p, p->groups + worst * n_groups, &here);
			if (!status)
				status = cost_of(p, p->groups + other * n_groups, &there);
			p->groups[b] = p->groups[a];
			p->groups[a] = x;
			if (status)
				return status;
			if (fmax(here, there) < best) {
				best = fmax(here, there);
				best_a = a;
				best_b = b;
				best_here = here;
				best_there = there;
			}
		}
	*found = best_a >= 0;
	if (*found) {
		const int32_t x = p->groups[best_a];

		p->groups[best_a] = p->groups[best_b];
		p->groups[best_b] = x;
		cost[worst] = best_here;
		cost[best_b / n_groups] = best_there;
	}
	return MOE_OK;
}

/* Heaviest first, then exchanges: into p->groups, their cost into p->best. */
static enum moe_status place_greedily(struct placing *p, bool exchanges)
{
	const struct moe_nodes *nodes = p->nodes;
	const int32_t n = nodes->n * nodes->n_groups, size = nodes->n_experts / nodes->n_groups;
	double *load = calloc((size_t)n, sizeof *load), *cost = calloc((size_t)nodes->n, sizeof *cost);
	int32_t *ones = calloc((size_t)n, sizeof *ones);
	bool found = exchanges;
	enum moe_status status;

	if (!load || !cost || !ones) {
		status = moe_err_nomem(p->err, (size_t)n * sizeof *load, "groups");
		goto out;
	}
	for (int32_t g = 0; g < n; g++) {
		ones[g] = 1;
		for (int32_t e = 0; e < size; e++)
			load[g] += p->counts[g * size + e];
	}
	status = moe_pack_fill(load, ones, n, nodes->n, nodes->n_groups, p->groups, p->err);
	for (int32_t i = 0; i < nodes->n && !status; i++)
		status = cost_of(p, p->groups + i * nodes->n_groups, &cost[i]);
	for (int32_t step = 0; step < n && found && !status; step++)
		status = exchange_groups(p, cost, &found);
	p->best = 0;
	for (int32_t i = 0; i < nodes->n; i++)
		p->best = fmax(p->best, cost[i]);
	memcpy(p->best_groups, p->groups, (size_t)n * sizeof *p->groups);
out:
	free(ones);
	free(cost);
	free(load);
	return status;
}

enum moe_status moe_nodes_place(struct moe_nodes *nodes, const double *counts, const struct moe_node_cost *by,
                                double *cost, bool *exact, struct moe_err *err)
{
	const int32_t n = nodes->n * nodes->n_groups;
	const size_t n_masks = n <= MASK_GROUPS ? (size_t)1 << n : 0;
	struct placing p = { .nodes = nodes, .counts = counts, .by = by, .err = err };
	enum moe_status status;

	*exact = nodes->n == 1 || (n <= MASK_GROUPS && count_ways(nodes) <= MOE_NODES_WAYS);
	if (nodes->n == 1)
		return by->of(by->arg, nodes, nodes->load, cost, err);
	p.load = calloc((size_t)nodes->n_experts, sizeof *p.load);
	p.known = n_masks ? malloc(n_masks * sizeof *p.known) : NULL;
	p.groups = calloc((size_t)n, sizeof *p.groups);
	p.best_groups = calloc((size_t)n, sizeof *p.best_groups);
	if (!p.load || (n_masks && !p.known) || !p.groups || !p.best_groups) {
		status = moe_err_nomem(err, (size_t)nodes->n_experts * sizeof *p.load, "groups");
		goto out;
	}
	for (size_t i = 0; i < n_masks; i++)
		p.known[i] = -1;
	status = place_greedily(&p, !*exact);
	if (!status && *exact)
		status = place_rest(&p, 0, 0, 0, 0, 0);
	if (!status) {
		memcpy(nodes->groups, p.best_groups, (size_t)n * sizeof *nodes->groups);
		moe_nodes_fill(nodes, counts);
		*cost = p.best;
	}
out:
	free(p.best_groups);
	free(p.groups);
	free(p.known);
	free(p.load);
	return status;
}

bool moe_nodes_of_plan(struct moe_nodes *nodes, const struct moe_plan_entry *entries)
{
	const int32_t n = nodes->n * nodes->n_groups, size = nodes->n_experts / nodes->n_groups;

	if (nodes->n == 1)
		return true;
	for (int32_t i = 0; i < nodes->n; i++) {
		int32_t *groups = nodes->groups + i * nodes->n_groups, n_found = 0;

		for (int32_t r = 0; r < nodes->n_ranks; r++)
			for (int32_t k = 0; k < nodes->capacity; k++) {
				const int64_t rank = nodes->ranks[i * nodes->n_ranks + r];
				const int32_t g = entries[rank * nodes->capacity + k].expert / size;
				bool seen = false;

				for (int32_t j = 0; j < n_found && !seen; j++)
					seen = groups[j] == g;
				if (seen)
					continue;
				if (n_found == nodes->n_groups || g >= n)
					return false;
				groups[n_found++] = g;
			}
		/* All experts are placed somewhere: as many groups on each node, no more, is every group once. */
		if (n_found < nodes->n_groups)
			return false;
	}
	return true;
}

void moe_nodes_put(const struct moe_nodes *nodes, int32_t node, const int32_t *bins, int32_t layer,
                   struct moe_plan_entry *entries)
{
	const int32_t capacity = nodes->capacity;

	for (int32_t b = 0; b < nodes->n_ranks; b++)
		for (int32_t k = 0; k < capacity; k++) {
			const int64_t rank = nodes->ranks[node * nodes->n_ranks + b];

			entries[rank * capacity + k] = (struct moe_plan_entry){
				.layer = layer,
				.expert = nodes->experts[node * nodes->n_experts + bins[(int64_t)b * capacity + k]]
			};
		}
}

void moe_nodes_get(const struct moe_nodes *nodes, int32_t node, const struct moe_plan_entry *entries, int32_t *index,
                   int32_t *bins)
{
	const int32_t capacity = nodes->capacity, *experts = nodes->experts + node * nodes->n_experts;

	for (int32_t i = 0; i < nodes->n_experts; i++)
		index[experts[i]] = i;
	for (int32_t b = 0; b < nodes->n_ranks; b++)
		for (int32_t k = 0; k < capacity; k++) {
			const int64_t rank = nodes->ranks[node * nodes->n_ranks + b];

			bins[(int64_t)b * capacity + k] = index[entries[rank * capacity + k].expert];
		}
}

/* Peak-to-average of one layer that no plan is below. */
static enum moe_status bound_layer(const struct moe_planner_opts *opts, const double *counts, int32_t n_experts,
                                   double *bound, struct moe_err *err)
{
	const int32_t n_ranks = opts->topology->n_ranks, capacity = opts->n_slots / n_ranks;
	struct moe_nodes nodes;
	double total = 0, cost;
	bool exact;
	enum moe_status status = moe_nodes_new(&nodes, opts, counts, n_experts, err);

	if (status)
		return status;
	status = moe_nodes_place(&nodes, counts, &moe_node_bound, &cost, &exact, err);
	if (!status && !exact)
		status = moe_bound_bins(counts, n_experts, n_ranks, capacity, &cost, err);
	for (int32_t e = 0; e < n_experts; e++)
		total += counts[e];
	*bound = total > 0 ? cost / (total / n_ranks) : 1;
	moe_nodes_free(&nodes);
	return status;
}

enum moe_status moe_planner_bound(const struct moe_planner_opts *opts, const struct moe_load *load, double *bound,
                                  struct moe_err *err)
{
	const int32_t n = load->n_experts;
	double *counts = calloc((size_t)n, sizeof *counts);
	enum moe_status status = MOE_OK;

	if (!counts)
		return moe_err_nomem(err, (size_t)n * sizeof *counts, "a bound");
	*bound = load->n_layers ? 0 : 1;
	for (int64_t l = 0; l < load->n_layers && !status; l++) {
		double of_layer;

		for (int32_t e = 0; e < n; e++)
			counts[e] = (double)load->counts[l * n + e];
		status = bound_layer(opts, counts, n, &of_layer, err);
		if (!status)
			*bound += of_layer / load->n_layers;
	}
	free(counts);
	return status;
}
