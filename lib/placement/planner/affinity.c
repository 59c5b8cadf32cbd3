/* Experts that are chosen together on one rank, and if not there, on one node: a token's row is then sent to fewer
 * ranks, and crosses between nodes less often.
 *
 * Starts as greedy places, and exchanges copies as long as that brings more pairs together and leaves no rank beyond
 * the limit: the mean times 1 + slack, or the fullest of the start where that is more. Partners are worth the tokens
 * that choose both; copies of x and y on one rank meet for one in copies(x) copies(y) of them. A pair on a rank saves
 * a row there, on a node one between nodes. Copies of one expert belong onto different nodes: a choice that finds one
 * on its own node saves a row between nodes there and, in f32, back. In between, what is worse is taken by chance, ever
 * more rarely (Kirkpatrick, Gelatt, Vecchi 1983: simulated annealing), and the best is kept. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/rng.h"
#include "placement/planner.h"
#include "placement/spread.h"
#include "stats/pairs.h"

#define NODE 1.0             /* what meeting on a node is worth beside meeting on a rank, 1 */
#define COVER 3.0            /* what a choice that stays on its node is worth: a row of 2 bytes, and one of 4 back */
#define TRIES_PER_SLOT 1000  /* exchanges tried for every slot of a layer */
#define ROUNDS 40            /* temperatures */
#define COOL 0.85            /* from one to the next */

struct affinity {
	struct moe_arena arena;
	int32_t n_experts, n_ranks, n_nodes, capacity;
	const int32_t *node;       /* [n_ranks] */
	int32_t *at, *best;        /* [n_ranks][capacity] experts */
	int32_t *held;             /* [n_ranks][n_experts] */
	int32_t *copies;           /* [n_experts] */
	int32_t *on;               /* [n_nodes][n_experts] copies there */
	double *cover;             /* [n_experts] worth of a copy on one node more */
	double *weight;            /* [n_experts] load of one copy */
	double *load;              /* [n_ranks] */
	double *pair;              /* [n_experts][n_experts] worth of two copies that meet */
	double *on_rank, *on_node; /* [n_ranks], [n_nodes][n_experts] worth of an expert's partners there */
	double limit, worth, most; /* of a rank's load; of the placement now, and of the best, beyond the start's */
	double least;              /* a gain that is more than rounding */
	uint64_t seed, n_draws;
};

static double draw(struct affinity *a) { return moe_rng_f64(a->seed, 1, a->n_draws++); }

static enum moe_status affinity_new(struct affinity *a, const struct moe_planner_opts *opts, int32_t n_experts,
                                    struct moe_err *err)
{
	const struct moe_topology *t = opts->topology;
	const size_t n = (size_t)n_experts, n_slots = (size_t)opts->n_slots, n_ranks = (size_t)t->n_ranks;
	struct moe_arena *m = &a->arena;

	*a = (struct affinity){ .n_experts = n_experts, .n_ranks = t->n_ranks, .n_nodes = t->n_nodes,
		                .capacity = opts->n_slots / t->n_ranks, .node = t->node };
	a->at = MOE_NEW(m, int32_t, n_slots);
	a->best = MOE_NEW(m, int32_t, n_slots);
	a->held = MOE_NEW(m, int32_t, n_ranks * n);
	a->copies = MOE_NEW(m, int32_t, n);
	a->on = MOE_NEW(m, int32_t, (size_t)t->n_nodes * n);
	a->cover = MOE_NEW(m, double, n);
	a->weight = MOE_NEW(m, double, n);
	a->load = MOE_NEW(m, double, n_ranks);
	a->pair = MOE_NEW(m, double, n * n);
	a->on_rank = MOE_NEW(m, double, n_ranks * n);
	a->on_node = MOE_NEW(m, double, (size_t)t->n_nodes * n);
	if (!a->at || !a->best || !a->held || !a->copies || !a->on || !a->cover || !a->weight || !a->load || !a->pair ||
	    !a->on_rank || !a->on_node)
		return moe_err_nomem(err, n * n * sizeof *a->pair, "pairs of experts");
	return MOE_OK;
}

/* A copy comes to a rank (sign 1) or leaves it (-1). */
static void move(struct affinity *a, int32_t rank, int32_t expert, int sign)
{
	const double *pair = a->pair + (int64_t)expert * a->n_experts;
	double *on_rank = a->on_rank + (int64_t)rank * a->n_experts;
	double *on_node = a->on_node + (int64_t)a->node[rank] * a->n_experts;

	for (int32_t e = 0; e < a->n_experts; e++) {
		on_rank[e] += sign * pair[e];
		on_node[e] += sign * pair[e];
	}
	a->load[rank] += sign * a->weight[expert];
	a->held[(int64_t)rank * a->n_experts + expert] += sign;
	a->on[(int64_t)a->node[rank] * a->n_experts + expert] += sign;
}

static double worth_at(const struct affinity *a, int32_t rank, int32_t expert)
{
	return a->on_rank[(int64_t)rank * a->n_experts + expert] +
	       NODE * a->on_node[(int64_t)a->node[rank] * a->n_experts + expert];
}

/* The start, and what pairs are worth with its numbers of copies. */
static void start(struct affinity *a, const struct moe_planner_opts *opts, const double *counts,
                  const struct moe_plan_entry *entries)
{
	const struct moe_together *together = *opts->together;
	const int32_t n = a->n_experts;
	double total = 0, fullest = 0;

	for (int32_t s = 0; s < opts->n_slots; s++) {
		a->at[s] = entries[s].expert;
		a->copies[a->at[s]]++;
	}
	for (int32_t e = 0; e < n; e++) {
		a->weight[e] = counts[e] / a->copies[e];
		a->cover[e] = COVER * counts[e] / a->n_nodes;
		total += counts[e];
		for (int32_t f = 0; f < n; f++)
			if (f != e)
				a->pair[(int64_t)e * n + f] = (double)together->counts[moe_pair_at(e, f, n)] /
				                              ((double)a->copies[e] * a->copies[f]);
	}
	for (int32_t s = 0; s < opts->n_slots; s++)
		move(a, s / a->capacity, a->at[s], 1);
	for (int32_t r = 0; r < a->n_ranks; r++)
		fullest = fmax(fullest, a->load[r]);
	a->least = total * 1e-9;
	a->limit = fmax(fullest, total / a->n_ranks * (1 + opts->slack));
	memcpy(a->best, a->at, (size_t)opts->n_slots * sizeof *a->best);
}

/* What bringing a copy of x from one node to another adds for those who find one on their own. */
static double cover_of(const struct affinity *a, int32_t from, int32_t to, int32_t x)
{
	const bool leaves = a->on[(int64_t)from * a->n_experts + x] == 1;
	const bool comes = !a->on[(int64_t)to * a->n_experts + x];

	return ((int)comes - (int)leaves) * a->cover[x];
}

/* What exchanging places i and k, of different ranks, adds; -INFINITY where it must not be. */
static double gain_of(const struct affinity *a, int32_t i, int32_t k, bool grouped)
{
	const int32_t p = i / a->capacity, q = k / a->capacity, x = a->at[i], y = a->at[k], n = a->n_experts;
	const double d = a->weight[x] - a->weight[y], meet = a->pair[(int64_t)x * n + y];
	const bool near = a->node[p] == a->node[q];

	if (x == y || a->held[(int64_t)q * n + x] || a->held[(int64_t)p * n + y] ||
	    fmax(a->load[p] - d, a->load[q] + d) > a->limit * (1 + 1e-12))
		return -INFINITY;
	if (grouped && !near)
		return -INFINITY;
	/* On a rank, and between nodes on a node, each is counted as the other's partner where it is to go. */
	return worth_at(a, q, x) - worth_at(a, p, x) + worth_at(a, p, y) - worth_at(a, q, y) - 2 * meet -
	       (near ? 0 : 2 * NODE * meet - cover_of(a, a->node[p], a->node[q], x) -
	                           cover_of(a, a->node[q], a->node[p], y));
}

static void exchange(struct affinity *a, int32_t i, int32_t k)
{
	const int32_t p = i / a->capacity, q = k / a->capacity, x = a->at[i], y = a->at[k];

	move(a, p, x, -1);
	move(a, q, y, -1);
	move(a, q, x, 1);
	move(a, p, y, 1);
	a->at[i] = y;
	a->at[k] = x;
}

static void keep(struct affinity *a, double gain)
{
	a->worth += gain;
	if (a->worth > a->most + a->least) {
		a->most = a->worth;
		memcpy(a->best, a->at, (size_t)a->n_ranks * (size_t)a->capacity * sizeof *a->best);
	}
}

/* Tries at falling temperature; the first is the mean of what a first few exchanges would lose. */
static void anneal(struct affinity *a, bool grouped)
{
	const int32_t n = a->n_ranks * a->capacity;
	double heat = 0;
	int n_lost = 0;

	for (int t = 0; t < 200; t++) {
		const int32_t i = (int32_t)(draw(a) * n), k = (int32_t)(draw(a) * n);
		const double gain = i / a->capacity != k / a->capacity ? gain_of(a, i, k, grouped) : 0;

		if (gain < 0 && gain > -INFINITY) {
			heat -= gain;
			n_lost++;
		}
	}
	heat = n_lost ? heat / n_lost / 4 : 0;
	for (int round = 0; round < ROUNDS && heat > 0; round++, heat *= COOL)
		for (int64_t t = 0; t < (int64_t)n * TRIES_PER_SLOT / ROUNDS; t++) {
			const int32_t i = (int32_t)(draw(a) * n), k = (int32_t)(draw(a) * n);
			double gain;

			if (i / a->capacity == k / a->capacity)
				continue;
			gain = gain_of(a, i, k, grouped);
			if (gain <= 0 && (gain < -16 * heat || draw(a) >= exp(gain / heat)))
				continue;
			exchange(a, i, k);
			keep(a, gain);
		}
}

/* What is best so far, and every exchange that still helps. */
static void finish(struct affinity *a, bool grouped)
{
	const int32_t n = a->n_ranks * a->capacity;
	bool again = true;

	for (int32_t s = 0; s < n; s++)
		move(a, s / a->capacity, a->at[s], -1);
	memcpy(a->at, a->best, (size_t)n * sizeof *a->at);
	for (int32_t s = 0; s < n; s++)
		move(a, s / a->capacity, a->at[s], 1);
	for (int round = 0; again && round < 100; round++) {
		again = false;
		for (int32_t i = 0; i < n; i++)
			for (int32_t k = (i / a->capacity + 1) * a->capacity; k < n; k++)
				if (gain_of(a, i, k, grouped) > a->least) {
					exchange(a, i, k);
					again = true;
				}
	}
}

static enum moe_status plan_layer(const struct moe_planner_opts *opts, const double *counts, int32_t n_experts,
                                  int32_t layer, struct moe_plan_entry *entries, struct moe_err *err)
{
	const struct moe_planner *first = moe_planner_preferred();
	const bool grouped = opts->n_groups > 1;
	struct affinity a;
	enum moe_status status = first->layer(opts, counts, n_experts, layer, entries, err);

	if (status)
		return status;
	status = affinity_new(&a, opts, n_experts, err);
	if (!status) {
		a.seed = moe_rng_mix(opts->seed ^ (uint64_t)layer << 20);
		start(&a, opts, counts, entries);
		anneal(&a, grouped);
		finish(&a, grouped);
		for (int32_t s = 0; s < opts->n_slots; s++)
			entries[s] = (struct moe_plan_entry){ .layer = layer, .expert = a.at[s] };
		status = moe_spread_number(entries, a.n_ranks, a.capacity, n_experts, err);
	}
	moe_arena_free(&a.arena);
	return status;
}

const struct moe_planner moe_planner_affinity = {
	.name = "affinity",
	.help = "experts chosen together on one rank or node, the busiest rank within --slack of the mean",
	.source = "simulated annealing (Kirkpatrick, Gelatt, Vecchi 1983) over co-activation",
	.together = true,
	.groups = true,
	.layer = plan_layer,
};
