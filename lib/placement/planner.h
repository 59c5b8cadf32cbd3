/* Planners: a load and a machine -> a plan. Members: placement/planner/. */
#ifndef MOE_PLACEMENT_PLANNER_H
#define MOE_PLACEMENT_PLANNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "plan/plan.h"
#include "plan/topology.h"
#include "stats/load.h"

struct moe_together;
struct moe_pins;

struct moe_planner_opts {
	const struct moe_topology *topology;
	int32_t n_slots;    /* per layer over all ranks; a multiple of the ranks, >= n_experts */
	int32_t n_groups;   /* expert groups that stay inside a node; 1: no such wish */
	uint64_t seed;
	const struct moe_plan *from;   /* the plan to start from, borrowed; for planners that need one */
	int32_t max_moves;  /* copies that such a planner may bring to other ranks, in each layer */
	const int32_t *moves;          /* [layers] in place of max_moves; NULL: max_moves in each */
	const struct moe_together *const *together;   /* [layers] experts chosen together; NULL: not known */
	const struct moe_pins *pins;   /* hold whatever the planner does; NULL: none */
	double slack;       /* how far above the mean the busiest rank may be where that saves traffic: 0.05 */
	double seconds;      /* for planners that search: wall time for all layers; 0: a fixed amount of work */
};

struct moe_planner {
	const char *name;
	const char *help;
	const char *source;
	bool preferred;     /* taken where none is named; of one member */
	bool from;          /* needs a plan to start from */
	bool together;      /* needs opts->together; in layer() it is that layer's alone */
	int32_t max_slots;  /* of a layer; more are refused; 0: any number */
	bool groups;        /* puts as many groups onto every node as onto the others */
	bool start;         /* quick, and never refuses: search may start from its plans */
	/* Fills entries of one layer: n_slots of them, rank-major. counts [n_experts]. opts->seconds is this layer's
	 * share. */
	MOE_MUST_USE enum moe_status (*layer)(const struct moe_planner_opts *opts, const double *counts,
	                                      int32_t n_experts, int32_t layer, struct moe_plan_entry *entries,
	                                      struct moe_err *err);
};
const struct moe_planner *moe_planner_at(size_t i);   /* NULL past the end */
const struct moe_planner *moe_planner_by_name(const char *name);
const struct moe_planner *moe_planner_preferred(void);

/* Checks the options, plans every layer of the load (in parallel when a pool is given), validates the result. */
struct moe_pool;
MOE_MUST_USE enum moe_status moe_planner_run(struct moe_plan *out, const struct moe_planner *planner,
                                             const struct moe_planner_opts *opts, const struct moe_load *load,
                                             struct moe_pool *pool, struct moe_err *err);
/* A peak-to-average that no plan is below, the mean over layers: bound.h within every node, groups as they lie best;
 * where they can lie in too many ways to try, as if they could be anywhere. Options as of moe_planner_run. */
MOE_MUST_USE enum moe_status moe_planner_bound(const struct moe_planner_opts *opts, const struct moe_load *load,
                                               double *bound, struct moe_err *err);

#endif
