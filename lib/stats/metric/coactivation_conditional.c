/* How sure is one expert, given another: both directions of a pair. */
#include <math.h>
#include <stdlib.h>

#include "stats/pairs.h"

static enum moe_status put_rows(const struct moe_counts *counts, struct moe_rows *rows, struct moe_err *err)
{
	const struct moe_together *s = counts->state;
	const int32_t n = counts->n_experts;
	double *keys = calloc((size_t)n, sizeof *keys);
	enum moe_status status = keys ? MOE_OK : moe_err_nomem(err, (size_t)n * sizeof *keys, "pairs of experts");

	for (int32_t i = 0; i < n && !status; i++) {
		const double n_i = (double)s->counts[moe_pair_at(i, i, n)];
		size_t *order, n_order;

		for (int32_t j = 0; j < n; j++)
			keys[j] = i == j ? -1 : (double)s->counts[moe_pair_at(i, j, n)];
		status = moe_pick_top(keys, (size_t)n, counts->setup->params->top_n, &order, &n_order, err);
		for (size_t o = 0; o < n_order && !status; o++) {
			if (order[o] == (size_t)i)
				continue;
			moe_rows_u64(rows, (uint64_t)i);
			moe_rows_u64(rows, (uint64_t)order[o]);
			moe_rows_f64(rows, n_i > 0 ? keys[order[o]] / n_i : (double)NAN);
			moe_rows_f64(rows, s->n_tokens ? (double)s->counts[moe_pair_at((int32_t)order[o],
			                                                              (int32_t)order[o], n)] /
			                                         (double)s->n_tokens
			                               : (double)NAN);
		}
		free(order);
	}
	free(keys);
	return status;
}

static const char *const columns[] = {"expert", "other", "given", "alone", NULL};

const struct moe_metric moe_metric_coactivation_conditional = {
	.name = "coactivation_conditional", .unit = "1", .all = MOE_ALL_NONE, .stream = &moe_stream_together,
	.columns = columns, .n_keys = 2, .rows = put_rows,
	.help = "the part of the tokens of an expert that chose the other too, and of all tokens; both directions",
	.formula = "n_ij / n_i, n_j / T; --top: the others of each expert by n_ij",
	.source = "definition",
};
