/* Which experts of a layer are chosen by the same tokens: all pairs, in whatever places of the choice they stand. */
#include <math.h>
#include <stdlib.h>

#include "stats/pairs.h"

static enum moe_status put_rows(const struct moe_counts *counts, struct moe_rows *rows, struct moe_err *err)
{
	const struct moe_together *s = counts->state;
	const int32_t n = counts->n_experts;
	const size_t n_pairs = (size_t)n * ((size_t)n - 1) / 2;
	double *keys = calloc(n_pairs + 1, sizeof *keys);
	int32_t *pairs = calloc(2 * n_pairs + 1, sizeof *pairs);
	size_t *order = NULL, n_order = 0, at = 0;
	enum moe_status status = MOE_OK;

	if (!keys || !pairs)
		status = moe_err_nomem(err, n_pairs * sizeof *keys, "pairs of experts");
	for (int32_t i = 0; i < n && !status; i++)
		for (int32_t j = i + 1; j < n; j++, at++) {
			keys[at] = (double)s->counts[moe_pair_at(i, j, n)];
			pairs[2 * at] = i;
			pairs[2 * at + 1] = j;
		}
	if (!status)
		status = moe_pick_top(keys, n_pairs, counts->setup->params->top_n, &order, &n_order, err);
	for (size_t o = 0; o < n_order; o++) {
		int32_t i = pairs[2 * order[o]], j = pairs[2 * order[o] + 1];
		double both = (double)s->counts[moe_pair_at(i, j, n)];
		double alone = (double)s->counts[moe_pair_at(i, i, n)] * (double)s->counts[moe_pair_at(j, j, n)];

		moe_rows_u64(rows, (uint64_t)i);
		moe_rows_u64(rows, (uint64_t)j);
		moe_rows_f64(rows, both);
		moe_rows_f64(rows, alone > 0 ? both * (double)s->n_tokens / alone : (double)NAN);
	}
	free(keys);
	free(pairs);
	free(order);
	return status;
}

static const char *const columns[] = {"expert", "other", "count", "lift", NULL};

const struct moe_metric moe_metric_coactivation = {
	.name = "coactivation", .unit = "tokens, 1", .all = MOE_ALL_NONE, .stream = &moe_stream_together,
	.columns = columns, .n_keys = 2, .rows = put_rows,
	.help = "tokens that chose both experts of a pair, and how many times as many as if choices were independent",
	.formula = "n_ij, T n_ij / (n_i n_j); n: tokens that choose i, j, both; --top: by count",
	.source = "definition; lift: Brin et al. 1997, Dynamic itemset counting",
};
