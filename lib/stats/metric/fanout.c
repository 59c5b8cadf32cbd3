/* How many ranks and nodes a token needs under a plan, and what it sends. */
#include <math.h>

#include "stats/fan.h"
#include "stats/rows.h"
#include "stats/stats.h"

static enum moe_status put_rows(const struct moe_counts *counts, struct moe_rows *rows, struct moe_err *err)
{
	const struct moe_fan *s = counts->state;
	const struct moe_metric_params *p = counts->setup->params;
	const double n = s->n_tokens ? (double)s->n_tokens : (double)NAN;
	const double row = p->hidden_size > 0 && p->element_bytes > 0 ? (double)p->hidden_size * p->element_bytes
	                                                              : (double)NAN;
	const double back = isnan(row) ? row : (double)p->hidden_size * sizeof(float);

	(void)err;
	moe_rows_u64(rows, s->n_tokens);
	moe_rows_f64(rows, (double)s->n_ranks / n);
	moe_rows_f64(rows, (double)s->n_nodes / n);
	for (int far = 0; far < 2; far++) {
		moe_rows_f64(rows, (double)s->dispatch[far] * row);
		moe_rows_f64(rows, (double)s->combine[far] * back);
	}
	return MOE_OK;
}

static const char *const columns[] = {
	"tokens", "ranks", "nodes", "dispatch_intra", "combine_intra", "dispatch_inter", "combine_inter", NULL};

const struct moe_metric moe_metric_fanout = {
	.name = "fanout", .unit = "tokens, ranks, nodes, bytes", .all = MOE_ALL_POOL,
	.needs = MOE_NEEDS_PLAN, .stream = &moe_stream_fan, .columns = columns, .rows = put_rows,
	.help = "ranks and nodes that a token's experts are on, and bytes sent within and between nodes",
	.formula = "mean ranks, mean nodes; H B for each (token, other rank), 4 H for each choice that comes back",
	.source = "definition; DeepSeek-AI 2024, DeepSeek-V3, section 3.2.2: node-limited routing",
};
