/* What a plan costs under a load. An expert's load is shared evenly by its replicas. */
#ifndef MOE_PLACEMENT_COST_H
#define MOE_PLACEMENT_COST_H

#include "base/err.h"
#include "plan/plan.h"
#include "stats/load.h"

struct moe_cost {
	double max_rank_load;     /* choices on the busiest rank */
	double mean_rank_load;
	double peak_to_average;   /* their ratio; 1 is perfect */
	double bound; /* max(1, ranks * max_i(load_i / copies_i) / total): no plan with these copies does better */
};
/* One layer of the load under the plan's entries of that layer. */
MOE_MUST_USE enum moe_status moe_cost_layer(const struct moe_plan *plan, const struct moe_load *load,
                                            int32_t layer_index, struct moe_cost *out, struct moe_err *err);

/* All layers of a load. */
struct moe_cost_sum {
	double mean, worst;     /* peak-to-average: mean over the layers, and the largest */
	double bound;           /* mean over the layers */
	int32_t worst_layer;    /* the model's index */
};
/* peaks [load->n_layers]: peak-to-average of every layer; may be NULL. */
MOE_MUST_USE enum moe_status moe_cost_plan(const struct moe_plan *plan, const struct moe_load *load,
                                           struct moe_cost_sum *out, double *peaks, struct moe_err *err);

#endif
