/* Layers onto the stages of a pipeline, and what its schedules leave idle. */
#ifndef MOE_PLACEMENT_STAGES_H
#define MOE_PLACEMENT_STAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* What layers cost, in any unit, in the order of the model. */
struct moe_costs {
	int32_t n;
	int32_t *layers;   /* [n] ascending */
	double *costs;     /* [n] at least 0 */
};

/* Columns `layer` and `column`; rows whose layer is "all" are passed over. A layer twice, a cost that is no number or
 * below 0 are refused with the line. */
MOE_MUST_USE enum moe_status moe_costs_read(struct moe_costs *costs, const char *path, const char *column,
                                            struct moe_err *err);
void moe_costs_free(struct moe_costs *costs);   /* leaves it zero */

/* Cuts the layers into n_stages runs, none empty, so that the costliest costs as little as it can: begin
 * [n_stages + 1], begin[s] the first layer of stage s, begin[n_stages] == n. Needs 1 <= n_stages <= n. */
MOE_MUST_USE enum moe_status moe_stages_cut(const struct moe_costs *costs, int32_t n_stages, int32_t *begin,
                                            struct moe_err *err);

/* How a schedule fills a pipeline of P stages, of which each takes F forwards, B backwards (inputs and weights) and W
 * of it for weights alone. */
struct moe_schedule {
	const char *name, *formula;
	bool even;   /* P must be */
	double (*bubble)(double p, double f, double b, double w);   /* idle time of a stage in a step */
};
const struct moe_schedule *moe_schedule_at(size_t i);   /* NULL past the end */

#endif
