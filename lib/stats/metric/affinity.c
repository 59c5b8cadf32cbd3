/* Where the tokens of an expert go in the next layer: the rows of the transition matrix. */
#include <math.h>
#include <stdlib.h>

#include "stats/pairs.h"

static enum moe_status put_rows(const struct moe_counts *counts, struct moe_rows *rows, struct moe_err *err)
{
	const struct moe_transitions *s = counts->state;
	const size_t n = (size_t)counts->n_experts;
	const int32_t next = moe_next_layer(counts->setup, counts->layer);
	double *keys = calloc(n, sizeof *keys);
	enum moe_status status = keys ? MOE_OK : moe_err_nomem(err, n * sizeof *keys, "transitions");

	for (size_t i = 0; i < n && next >= 0 && !status; i++) {
		const double n_i = (double)s->counts[i];
		size_t *order, n_order;

		for (size_t j = 0; j < n; j++)
			keys[j] = (double)s->counts[2 * n + i * n + j];
		status = moe_pick_top(keys, n, counts->setup->params->top_n, &order, &n_order, err);
		for (size_t o = 0; o < n_order && !status; o++) {
			const double n_j = (double)s->counts[n + order[o]], both = keys[order[o]];

			moe_rows_u64(rows, i);
			moe_rows_u64(rows, (uint64_t)next);
			moe_rows_u64(rows, order[o]);
			moe_rows_f64(rows, both);
			moe_rows_f64(rows, n_i > 0 ? both / n_i : (double)NAN);
			moe_rows_f64(rows, n_i * n_j > 0 ? both * (double)s->n_tokens / (n_i * n_j) : (double)NAN);
		}
		free(order);
	}
	free(keys);
	return status;
}

static const char *const columns[] = {"expert", "next", "other", "count", "given", "lift", NULL};

const struct moe_metric moe_metric_affinity = {
	.name = "affinity", .unit = "tokens, 1, 1", .all = MOE_ALL_NONE, .stream = &moe_stream_transitions,
	.columns = columns, .n_keys = 3, .rows = put_rows,
	.help = "tokens of an expert that choose another of the next layer, their part of the expert's, and the lift",
	.formula = "n_ij, n_ij / n_i, T n_ij / (n_i n_j), i of a layer, j of the next; --top: of each i, by n_ij",
	.source = "Yao et al. 2024, Exploiting Inter-Layer Expert Affinity for Accelerating MoE Model Inference",
};
