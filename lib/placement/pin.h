/* Experts that must be on certain ranks, whatever a planner would do. */
#ifndef MOE_PLACEMENT_PIN_H
#define MOE_PLACEMENT_PIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "plan/plan.h"
#include "plan/topology.h"
#include "stats/load.h"

struct moe_pin {
	int32_t layer;    /* the model's index; -1: every layer */
	int32_t expert, rank;
	int64_t line;     /* of its table */
};

struct moe_pins {
	int64_t n;
	struct moe_pin *pins;   /* [n] */
	char *path;
};

/* Columns layer expert rank; layer may be "*". What the load and the machine do not have, and a pin given twice, are
 * refused with the line. */
MOE_MUST_USE enum moe_status moe_pins_read(struct moe_pins *pins, const char *path, const struct moe_load *load,
                                           int32_t n_ranks, struct moe_err *err);
void moe_pins_free(struct moe_pins *pins);   /* leaves it zero */

/* Moves copies of one layer's plan so that every pin of the layer holds: an expert changes places with another of its
 * rank, and gets one copy more only where it is pinned to more ranks than it has copies. Then what is not pinned
 * changes places as long as that lowers the busiest rank. entries: rank-major, as planners fill them. nodes_apart:
 * nothing crosses between nodes. MOE_EUSAGE, with the line, where a pin cannot hold. */
MOE_MUST_USE enum moe_status moe_pins_apply(const struct moe_pins *pins, const struct moe_topology *topology,
                                            bool nodes_apart, const double *counts, int32_t n_experts, int32_t layer,
                                            int32_t capacity, struct moe_plan_entry *entries, struct moe_err *err);

#endif
