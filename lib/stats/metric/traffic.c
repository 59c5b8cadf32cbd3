/* What every rank sends to every other under a plan. */
#include <math.h>

#include "stats/fan.h"
#include "stats/rows.h"
#include "stats/stats.h"

static enum moe_status put_rows(const struct moe_counts *counts, struct moe_rows *rows, struct moe_err *err)
{
	const struct moe_metric_params *p = counts->setup->params;
	const size_t n = (size_t)p->plan->n_ranks;
	const uint64_t *dispatch = counts->state, *combine = dispatch + n * n;

	(void)err;
	for (size_t from = 0; from < n; from++)
		for (size_t to = 0; to < n; to++) {
			double out = (double)dispatch[from * n + to] * (double)p->hidden_size * p->element_bytes;
			double back = (double)combine[from * n + to] * (double)p->hidden_size * sizeof(float);

			if (from == to)
				continue;
			moe_rows_u64(rows, from);
			moe_rows_u64(rows, to);
			moe_rows_f64(rows, out);
			moe_rows_f64(rows, back);
			moe_rows_f64(rows, out + back);
		}
	return MOE_OK;
}

static const char *const columns[] = {"from", "to", "dispatch", "combine", "bytes", NULL};

const struct moe_metric moe_metric_traffic = {
	.name = "traffic", .unit = "bytes", .all = MOE_ALL_POOL,
	.needs = MOE_NEEDS_PLAN | MOE_NEEDS_BYTES, .stream = &moe_stream_traffic,
	.columns = columns, .n_keys = 2, .rows = put_rows,
	.help = "bytes from every rank to every other: tokens to their experts, and what comes back",
	.formula = "H B for each (token, rank), 4 H for each choice, by sender and receiver",
	.source = "definition",
};
