/* DeepSeek's published expert-parallel load balancer, step by step, in the single precision it computes in.
 *
 * Packing: items by falling weight, each onto the least loaded pack that has room (ties: the first), every pack
 * the same number. Replicating: again and again one more copy for the expert with the most load per copy (ties:
 * the first). Hierarchical: groups are packed onto nodes, then each node replicates its experts and packs the
 * copies onto its ranks; without groups, or where they do not spread over the nodes, the machine is one node. The
 * published rule may put two copies of an expert onto one rank; here no expert has more copies than there are
 * ranks, and where two meet, copies change places until no rank is fuller than by that rule. */
#include <stdlib.h>

#include "base/arena.h"
#include "placement/level.h"
#include "placement/planner.h"
#include "placement/spread.h"
#include "placement/tree.h"

/* Arrays for the largest of the packings of a layer. */
struct scratch {
	struct moe_arena arena;
	uint64_t *keys, *spare; /* [n_slots] of items */
	uint64_t *node;         /* of trees of ranks, experts or nodes */
	float *pack_weight;     /* [n_slots] */
	int32_t *pack_items;    /* [n_slots] */
	int32_t *pack, *place;  /* [n_slots] result: pack of an item, and its place there */
	float *weight;          /* [n_slots] of what is packed */
	int32_t *order;         /* [n_experts] experts, node by node */
	int32_t *copy_of;       /* [n_slots] which of the node's experts a copy is of */
	int32_t *n_copies;      /* [n_experts] */
	int32_t *last;          /* [n_experts] */
	int32_t *ranks;         /* [n_ranks] those of the node at hand */
	double *copy_load;      /* [n_experts] */
};

static enum moe_status scratch_new(struct scratch *s, const struct moe_planner_opts *opts, int32_t n_experts,
                                   struct moe_err *err)
{
	const size_t n = (size_t)opts->n_slots, e = (size_t)n_experts;
	struct moe_arena *a = &s->arena;

	*s = (struct scratch){0};
	s->keys = MOE_NEW(a, uint64_t, n);
	s->spare = MOE_NEW(a, uint64_t, n);
	s->node = MOE_NEW(a, uint64_t, 2 * (size_t)moe_tree_leaves(opts->n_slots));
	s->pack_weight = MOE_NEW(a, float, n);
	s->pack_items = MOE_NEW(a, int32_t, n);
	s->pack = MOE_NEW(a, int32_t, n);
	s->place = MOE_NEW(a, int32_t, n);
	s->weight = MOE_NEW(a, float, n);
	s->order = MOE_NEW(a, int32_t, e);
	s->copy_of = MOE_NEW(a, int32_t, n);
	s->n_copies = MOE_NEW(a, int32_t, e);
	s->last = MOE_NEW(a, int32_t, e);
	s->ranks = MOE_NEW(a, int32_t, (size_t)opts->topology->n_ranks);
	s->copy_load = MOE_NEW(a, double, e);
	if (s->keys && s->spare && s->node && s->pack_weight && s->pack_items && s->pack && s->place && s->weight &&
	    s->order && s->copy_of && s->n_copies && s->last && s->ranks && s->copy_load)
		return MOE_OK;
	moe_arena_free(a);
	return moe_err_nomem(err, n * sizeof *s->keys, "a plan");
}

/* Keys by their upper halves, a byte at a time, so that equal ones keep their order. */
static void sort_keys(struct scratch *s, int32_t n)
{
	uint64_t *from = s->keys, *to = s->spare, *swap;

	for (int shift = 32; shift < 64; shift += 8) {
		int32_t begin[257] = {0};

		for (int32_t i = 0; i < n; i++)
			begin[(from[i] >> shift & 255) + 1]++;
		if (begin[(from[0] >> shift & 255) + 1] == n)
			continue;
		for (int b = 1; b < 256; b++)
			begin[b] += begin[b - 1];
		for (int32_t i = 0; i < n; i++)
			to[begin[from[i] >> shift & 255]++] = from[i];
		swap = from;
		from = to;
		to = swap;
	}
	s->keys = from;
	s->spare = to;
}

/* weight [n] of the scratch -> pack and place of each item; n is a multiple of n_packs. */
static void pack_evenly(struct scratch *s, int32_t n, int32_t n_packs)
{
	struct moe_tree tree = { s->node, moe_tree_leaves(n_packs) };
	const int32_t room = n / n_packs;

	for (int32_t i = 0; i < n && room == 1; i++) {
		s->pack[i] = i;
		s->place[i] = 0;
	}
	if (room == 1)
		return;
	for (int32_t i = 0; i < n; i++)
		s->keys[i] = moe_key_falling(s->weight[i], i);
	sort_keys(s, n);
	for (int32_t p = 0; p < n_packs; p++) {
		s->pack_weight[p] = 0;
		s->pack_items[p] = 0;
		tree.node[tree.n_leaves + p] = moe_key_rising(0, p);
	}
	moe_tree_start(&tree, n_packs);
	for (int32_t i = 0; i < n; i++) {
		const int32_t item = (int32_t)(uint32_t)s->keys[i], best = moe_tree_least(&tree);

		s->pack[item] = best;
		s->place[item] = s->pack_items[best]++;
		s->pack_weight[best] += s->weight[item];
		moe_tree_set(&tree, best,
		             s->pack_items[best] < room ? moe_key_rising(s->pack_weight[best], best) : MOE_TREE_OUT);
	}
}

/* Copies of the node's experts until there are n_slots; of none more than n_ranks. */
static void replicate(struct scratch *s, const double *counts, const int32_t *experts, int32_t n_experts,
                      int32_t n_slots, int32_t n_ranks)
{
	struct moe_tree tree = { s->node, moe_tree_leaves(n_experts) };

	for (int32_t i = 0; i < n_experts; i++) {
		s->n_copies[i] = 1;
		s->copy_of[i] = i;
		tree.node[tree.n_leaves + i] =
			n_ranks > 1 ? moe_key_falling((float)counts[experts[i]], i) : MOE_TREE_OUT;
	}
	moe_tree_start(&tree, n_experts);
	for (int32_t c = n_experts; c < n_slots; c++) {
		const int32_t best = moe_tree_least(&tree), n = ++s->n_copies[best];

		s->copy_of[c] = best;
		moe_tree_set(&tree, best,
		             n < n_ranks ? moe_key_falling((float)counts[experts[best]] / (float)n, best)
		                         : MOE_TREE_OUT);
	}
}

static enum moe_status plan_node(struct scratch *s, const double *counts, const int32_t *experts,
                                 int32_t n_node_experts, int32_t n_node_ranks, int32_t capacity, int32_t n_experts,
                                 int32_t layer, struct moe_plan_entry *entries, struct moe_err *err)
{
	const int32_t n = n_node_ranks * capacity;
	float most = 0;

	replicate(s, counts, experts, n_node_experts, n, n_node_ranks);
	for (int32_t i = 0; i < n_node_experts; i++)
		s->copy_load[experts[i]] = counts[experts[i]] / s->n_copies[i];
	for (int32_t c = 0; c < n; c++) {
		const int32_t e = s->copy_of[c];

		s->weight[c] = (float)counts[experts[e]] / (float)s->n_copies[e];
	}
	pack_evenly(s, n, n_node_ranks);
	for (int32_t c = 0; c < n; c++)
		entries[(int64_t)s->ranks[s->pack[c]] * capacity + s->place[c]] =
			(struct moe_plan_entry){ .layer = layer, .expert = experts[s->copy_of[c]] };
	if (!moe_level_meets(entries, s->ranks, n_node_ranks, capacity, s->last, n_experts))
		return MOE_OK;
	for (int32_t p = 0; p < n_node_ranks; p++)
		most = s->pack_weight[p] > most ? s->pack_weight[p] : most;
	return moe_level_copies(entries, s->ranks, n_node_ranks, capacity, s->copy_load, (double)most, err);
}

/* Experts node by node: those of the groups that are packed onto it, in the order of their places. */
static void order_groups(struct scratch *s, const double *counts, int32_t n_experts, int32_t n_groups, int32_t n_nodes)
{
	const int32_t size = n_experts / n_groups, per_node = n_groups / n_nodes;

	for (int32_t g = 0; g < n_groups; g++) {
		s->weight[g] = 0;
		for (int32_t e = g * size; e < (g + 1) * size; e++)
			s->weight[g] += (float)counts[e];
	}
	pack_evenly(s, n_groups, n_nodes);
	for (int32_t g = 0; g < n_groups; g++)
		for (int32_t e = 0; e < size; e++)
			s->order[(s->pack[g] * per_node + s->place[g]) * size + e] = g * size + e;
}

static enum moe_status plan_layer(const struct moe_planner_opts *opts, const double *counts, int32_t n_experts,
                                  int32_t layer, struct moe_plan_entry *entries, struct moe_err *err)
{
	const struct moe_topology *t = opts->topology;
	const int32_t n_nodes = opts->n_groups > 1 ? t->n_nodes : 1, capacity = opts->n_slots / t->n_ranks;
	const int32_t n_node_experts = n_experts / n_nodes;
	struct scratch s;
	enum moe_status status = scratch_new(&s, opts, n_experts, err);

	if (status)
		return status;
	for (int32_t e = 0; e < n_experts; e++)
		s.order[e] = e;
	if (n_nodes > 1)
		order_groups(&s, counts, n_experts, opts->n_groups, n_nodes);
	for (int32_t i = 0; i < n_nodes && !status; i++) {
		int32_t n_node_ranks = 0;

		for (int32_t r = 0; r < t->n_ranks; r++)
			if (n_nodes == 1 || t->node[r] == i)
				s.ranks[n_node_ranks++] = r;
		status = plan_node(&s, counts, s.order + i * n_node_experts, n_node_experts, n_node_ranks, capacity,
		                   n_experts, layer, entries, err);
	}
	if (!status)
		status = moe_spread_number(entries, t->n_ranks, capacity, n_experts, err);
	moe_arena_free(&s.arena);
	return status;
}

const struct moe_planner moe_planner_eplb = {
	.name = "eplb",
	.help = "DeepSeek's published balancer, hierarchical where there are groups",
	.source = "DeepSeek EPLB, 2025",
	.start = true,
	.groups = true,
	.layer = plan_layer,
};
