/* Groups of experts on nodes: the first of the two steps of plans that keep groups together.
 *
 * Without groups the machine counts as one node. With groups every node has as many ranks and takes as many groups as
 * every other. */
#ifndef MOE_PLACEMENT_NODES_H
#define MOE_PLACEMENT_NODES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "placement/planner.h"

struct moe_nodes {
	int32_t n;           /* nodes */
	int32_t n_ranks;     /* of one node */
	int32_t n_experts;   /* of one node */
	int32_t n_groups;    /* of one node */
	int32_t capacity;    /* slots of a rank */
	int32_t *ranks;      /* [n][n_ranks] ascending */
	int32_t *groups;     /* [n][n_groups] */
	int32_t *experts;    /* [n][n_experts] */
	double *load;        /* [n][n_experts] */
};

/* Groups lie in order. */
MOE_MUST_USE enum moe_status moe_nodes_new(struct moe_nodes *nodes, const struct moe_planner_opts *opts,
                                           const double *counts, int32_t n_experts, struct moe_err *err);
void moe_nodes_free(struct moe_nodes *nodes);
/* The groups of every node -> experts and load. */
void moe_nodes_fill(struct moe_nodes *nodes, const double *counts);

/* What the fullest rank of a node would hold that has these experts. */
struct moe_node_cost {
	void *arg;
	MOE_MUST_USE enum moe_status (*of)(void *arg, const struct moe_nodes *nodes, const double *load, double *cost,
	                                   struct moe_err *err);
};
/* moe_bound_bins. */
extern const struct moe_node_cost moe_node_bound;

/* Places groups so that the largest cost of a node is as small as it can be: every way is tried where there are at most
 * MOE_NODES_WAYS, and *exact says so. Else groups go heaviest first onto the lightest node, and then two change places
 * as long as that lowers the costliest node. *cost: the largest. */
#define MOE_NODES_WAYS 20000
MOE_MUST_USE enum moe_status moe_nodes_place(struct moe_nodes *nodes, const double *counts,
                                             const struct moe_node_cost *by, double *cost, bool *exact,
                                             struct moe_err *err);
/* Takes the groups from where a plan has them; false if it does not keep them. entries: of one layer, rank-major. */
bool moe_nodes_of_plan(struct moe_nodes *nodes, const struct moe_plan_entry *entries);

/* Bins of one node, [n_ranks][capacity] indices into its experts, to entries of one layer; moe_spread_number does the
 * rest. And back: from a plan that keeps the groups as `nodes` has them. index: [experts of the layer] scratch. */
void moe_nodes_put(const struct moe_nodes *nodes, int32_t node, const int32_t *bins, int32_t layer,
                   struct moe_plan_entry *entries);
void moe_nodes_get(const struct moe_nodes *nodes, int32_t node, const struct moe_plan_entry *entries, int32_t *index,
                   int32_t *bins);

#endif
