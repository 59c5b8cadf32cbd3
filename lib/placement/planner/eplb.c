/* DeepSeek's published expert-parallel load balancer, step by step, in the single precision it computes in.
 *
 * Packing: items by falling weight, each onto the least loaded pack that has room (ties: the first), every pack
 * the same number. Replicating: again and again one more copy for the expert with the most load per copy (ties:
 * the first). Hierarchical: groups are packed onto nodes, then each node replicates its experts and packs the
 * copies onto its ranks; without groups, or where they do not spread over the nodes, the machine is one node. The
 * published rule may put two copies of an expert onto one rank; here no expert has more copies than there are
 * ranks, and one of two that meet changes places afterwards. */
#include <stdlib.h>

#include "placement/planner.h"
#include "placement/spread.h"

struct item {
	float weight;
	int32_t index;
};

static int heavier(const void *pa, const void *pb)
{
	const struct item *a = pa, *b = pb;

	if (a->weight != b->weight)
		return a->weight > b->weight ? -1 : 1;
	return (a->index > b->index) - (a->index < b->index);
}

/* Arrays for the largest of the packings of a layer. */
struct scratch {
	struct item *items;     /* [n_slots] */
	float *pack_weight;     /* [n_slots] */
	int32_t *pack_items;    /* [n_slots] */
	int32_t *pack, *place;  /* [n_slots] result: pack of an item, and its place there */
	float *weight;          /* [n_slots] of what is packed */
	int32_t *order;         /* [n_experts] experts, node by node */
	int32_t *copy_of;       /* [n_slots] which of the node's experts a copy is of */
	int32_t *n_copies;      /* [n_experts] */
	int32_t *ranks;         /* [n_ranks] those of the node at hand */
	double *copy_load;      /* [n_experts] */
};

static void scratch_free(struct scratch *s)
{
	free(s->items);
	free(s->pack_weight);
	free(s->pack_items);
	free(s->pack);
	free(s->place);
	free(s->weight);
	free(s->order);
	free(s->copy_of);
	free(s->n_copies);
	free(s->ranks);
	free(s->copy_load);
}

static enum moe_status scratch_new(struct scratch *s, const struct moe_planner_opts *opts, int32_t n_experts,
                                   struct moe_err *err)
{
	const size_t n = (size_t)opts->n_slots, e = (size_t)n_experts;

	*s = (struct scratch){ .items = calloc(n, sizeof *s->items),
		               .pack_weight = calloc(n, sizeof *s->pack_weight),
		               .pack_items = calloc(n, sizeof *s->pack_items),
		               .pack = calloc(n, sizeof *s->pack),
		               .place = calloc(n, sizeof *s->place),
		               .weight = calloc(n, sizeof *s->weight),
		               .order = calloc(e, sizeof *s->order),
		               .copy_of = calloc(n, sizeof *s->copy_of),
		               .n_copies = calloc(e, sizeof *s->n_copies),
		               .ranks = calloc((size_t)opts->topology->n_ranks, sizeof *s->ranks),
		               .copy_load = calloc(e, sizeof *s->copy_load) };
	if (s->items && s->pack_weight && s->pack_items && s->pack && s->place && s->weight && s->order && s->copy_of &&
	    s->n_copies && s->ranks && s->copy_load)
		return MOE_OK;
	scratch_free(s);
	return moe_err_nomem(err, n * sizeof *s->items, "a plan");
}

/* weight [n] of the scratch -> pack and place of each item; n is a multiple of n_packs. */
static void pack_evenly(struct scratch *s, int32_t n, int32_t n_packs)
{
	const int32_t room = n / n_packs;

	for (int32_t i = 0; i < n; i++)
		s->items[i] = (struct item){ s->weight[i], i };
	if (room > 1)
		qsort(s->items, (size_t)n, sizeof *s->items, heavier);
	for (int32_t p = 0; p < n_packs; p++) {
		s->pack_weight[p] = 0;
		s->pack_items[p] = 0;
	}
	for (int32_t i = 0; i < n; i++) {
		const struct item *item = &s->items[i];
		int32_t best = room > 1 ? -1 : i;

		for (int32_t p = 0; p < n_packs && room > 1; p++)
			if (s->pack_items[p] < room && (best < 0 || s->pack_weight[p] < s->pack_weight[best]))
				best = p;
		s->pack[item->index] = best;
		s->place[item->index] = s->pack_items[best]++;
		s->pack_weight[best] += item->weight;
	}
}

/* Copies of the node's experts until there are n_slots; of none more than n_ranks. */
static void replicate(struct scratch *s, const double *counts, const int32_t *experts, int32_t n_experts,
                      int32_t n_slots, int32_t n_ranks)
{
	for (int32_t i = 0; i < n_experts; i++) {
		s->n_copies[i] = 1;
		s->copy_of[i] = i;
	}
	for (int32_t c = n_experts; c < n_slots; c++) {
		int32_t best = 0;
		float most = -1;

		for (int32_t i = 0; i < n_experts; i++) {
			const float load = (float)counts[experts[i]] / (float)s->n_copies[i];

			if (s->n_copies[i] < n_ranks && load > most) {
				most = load;
				best = i;
			}
		}
		s->copy_of[c] = best;
		s->n_copies[best]++;
	}
}

static enum moe_status plan_node(struct scratch *s, const double *counts, const int32_t *experts,
                                 int32_t n_node_experts, int32_t n_node_ranks, int32_t capacity,
                                 int32_t n_experts, int32_t layer, struct moe_plan_entry *entries,
                                 struct moe_err *err)
{
	const int32_t n = n_node_ranks * capacity;

	replicate(s, counts, experts, n_node_experts, n, n_node_ranks);
	for (int32_t c = 0; c < n; c++) {
		const int32_t e = s->copy_of[c];

		s->weight[c] = (float)counts[experts[e]] / (float)s->n_copies[e];
		s->copy_load[experts[e]] = counts[experts[e]] / s->n_copies[e];
	}
	pack_evenly(s, n, n_node_ranks);
	for (int32_t c = 0; c < n; c++)
		entries[(int64_t)s->ranks[s->pack[c]] * capacity + s->place[c]] =
			(struct moe_plan_entry){ .layer = layer, .expert = experts[s->copy_of[c]] };
	return moe_spread_copies(entries, s->ranks, n_node_ranks, capacity, s->copy_load, n_experts, err);
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
	scratch_free(&s);
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
