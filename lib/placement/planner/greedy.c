/* Replicate what is loaded most, then pack the copies evenly.
 *
 * With groups, whole groups are first packed onto nodes, the same number onto each, and the rest happens inside each
 * node; without, the machine counts as one node. */
#include <stdlib.h>
#include <string.h>

#include "placement/pack.h"
#include "placement/planner.h"

/* One node's share: which experts (indices), which ranks. */
struct node {
	int32_t n_experts, n_ranks;
	const int32_t *experts, *ranks;
};

/* Scratch for one layer. */
struct scratch {
	double *load;        /* [n_experts] of the node's experts, then per copy */
	int32_t *copies;     /* [n_experts] */
	int32_t *bins;       /* [n_slots] */
	int32_t *experts;    /* [n_experts] those of the node at hand */
	int32_t *ranks;      /* [n_ranks] those of the node at hand */
	int32_t *replica;    /* [n_experts] next number */
	double *group_load;  /* [n_groups] */
	int32_t *ones;       /* [n_groups] */
	int32_t *group_bins; /* [n_groups] rows of a node's groups */
};

static enum moe_status scratch_new(struct scratch *s, const struct moe_planner_opts *opts, int32_t n_experts,
                                   struct moe_err *err)
{
	size_t n = (size_t)n_experts, n_groups = (size_t)opts->n_groups;

	s->load = calloc(n, sizeof *s->load);
	s->copies = calloc(n, sizeof *s->copies);
	s->bins = calloc((size_t)opts->n_slots, sizeof *s->bins);
	s->experts = calloc(n, sizeof *s->experts);
	s->ranks = calloc((size_t)opts->topology->n_ranks, sizeof *s->ranks);
	s->replica = calloc(n, sizeof *s->replica);
	s->group_load = calloc(n_groups, sizeof *s->group_load);
	s->ones = calloc(n_groups, sizeof *s->ones);
	s->group_bins = calloc(n_groups, sizeof *s->group_bins);
	if (!s->load || !s->copies || !s->bins || !s->experts || !s->ranks || !s->replica || !s->group_load ||
	    !s->ones || !s->group_bins)
		return moe_err_nomem(err, n * sizeof *s->load, "a plan");
	return MOE_OK;
}

static void scratch_free(struct scratch *s)
{
	free(s->load);
	free(s->copies);
	free(s->bins);
	free(s->experts);
	free(s->ranks);
	free(s->replica);
	free(s->group_load);
	free(s->ones);
	free(s->group_bins);
}

/* Replicates and packs one node's experts onto its ranks; entries of rank r go to entries[r * capacity]. */
static enum moe_status plan_node(struct scratch *s, const struct node *node, const double *counts, int32_t capacity,
                                 int32_t layer, struct moe_plan_entry *entries, struct moe_err *err)
{
	int32_t n_slots = capacity * node->n_ranks;

	for (int32_t i = 0; i < node->n_experts; i++)
		s->load[i] = counts[node->experts[i]];
	if (moe_pack_replicate(s->load, node->n_experts, n_slots, node->n_ranks, s->copies, err))
		return MOE_EIO;
	for (int32_t i = 0; i < node->n_experts; i++)
		s->load[i] /= s->copies[i];
	if (moe_pack_fill(s->load, s->copies, node->n_experts, node->n_ranks, capacity, s->bins, err))
		return MOE_EIO;
	for (int32_t b = 0; b < node->n_ranks; b++)
		for (int32_t k = 0; k < capacity; k++) {
			int32_t expert = node->experts[s->bins[b * capacity + k]], rank = node->ranks[b];

			entries[rank * capacity + k] =
				(struct moe_plan_entry){ layer, expert, s->replica[expert]++, rank, k };
		}
	return MOE_OK;
}

/* Groups onto nodes: bins [n_nodes][groups per node]. */
static enum moe_status place_groups(struct scratch *s, const struct moe_planner_opts *opts, const double *counts,
                                    int32_t n_experts, struct moe_err *err)
{
	int32_t size = n_experts / opts->n_groups, n_nodes = opts->topology->n_nodes;

	for (int32_t g = 0; g < opts->n_groups; g++) {
		s->ones[g] = 1;
		for (int32_t e = g * size; e < (g + 1) * size; e++)
			s->group_load[g] += counts[e];
	}
	return moe_pack_fill(s->group_load, s->ones, opts->n_groups, n_nodes, opts->n_groups / n_nodes, s->group_bins,
	                     err);
}

static enum moe_status plan_layer(const struct moe_planner_opts *opts, const double *counts, int32_t n_experts,
                                  int32_t layer, struct moe_plan_entry *entries, struct moe_err *err)
{
	const struct moe_topology *topology = opts->topology;
	int32_t n_nodes = opts->n_groups > 1 ? topology->n_nodes : 1, capacity = opts->n_slots / topology->n_ranks;
	int32_t per_node = opts->n_groups / n_nodes, size = n_experts / opts->n_groups;
	struct scratch s = {0};
	enum moe_status status = scratch_new(&s, opts, n_experts, err);

	if (!status && n_nodes > 1)
		status = place_groups(&s, opts, counts, n_experts, err);
	for (int32_t i = 0; i < n_nodes && !status; i++) {
		struct node node = { .experts = s.experts, .ranks = s.ranks };

		for (int32_t k = 0; k < per_node; k++)
			for (int32_t e = 0; e < size; e++)
				s.experts[node.n_experts++] =
					(n_nodes > 1 ? s.group_bins[i * per_node + k] : k) * size + e;
		for (int32_t r = 0; r < topology->n_ranks; r++)
			if (n_nodes == 1 || topology->node[r] == i)
				s.ranks[node.n_ranks++] = r;
		status = plan_node(&s, &node, counts, capacity, layer, entries, err);
	}
	scratch_free(&s);
	return status;
}

const struct moe_planner moe_planner_greedy = {
	.name = "greedy",
	.help = "copies for the most loaded experts, heaviest copy onto the least loaded rank, then exchanges",
	.source = "Graham 1969 (LPT); DeepSeek-V3 report, section 3.4",
	.preferred = true,
	.start = true,
	.groups = true,
	.layer = plan_layer,
};
