/* Which sources an expert works for. */
#include <math.h>
#include <stdlib.h>

#include "stats/pairs.h"
#include "stats/sources.h"

static enum moe_status put_rows(const struct moe_counts *counts, struct moe_rows *rows, struct moe_err *err)
{
	const struct moe_sources *s = counts->state;
	const double total = moe_sources_total(counts);
	const size_t n = (size_t)counts->n_experts;
	double *keys = calloc(2 * s->n + 1, sizeof *keys), *of_source = keys ? keys + s->n : NULL;
	enum moe_status status = keys ? MOE_OK : moe_err_nomem(err, 2 * s->n * sizeof *keys, "sources");

	for (size_t i = 0; i < s->n && !status; i++)
		of_source[i] = moe_sources_of_source(counts, i);
	for (size_t e = 0; e < n && !status; e++) {
		const double of_expert = moe_sources_of_expert(counts, (int32_t)e);
		size_t *order, n_order;

		for (size_t i = 0; i < s->n; i++)
			keys[i] = (double)s->counts[i * n + e];
		status = moe_pick_top(keys, s->n, counts->setup->params->top_n, &order, &n_order, err);
		for (size_t o = 0; o < n_order && !status; o++) {
			const double count = keys[order[o]], share = of_expert > 0 ? count / of_expert : (double)NAN;

			moe_rows_u64(rows, e);
			moe_rows_str(rows, s->names[order[o]]);
			moe_rows_f64(rows, count);
			moe_rows_f64(rows, share);
			moe_rows_f64(rows, of_source[order[o]] > 0 ? share * total / of_source[order[o]] : (double)NAN);
		}
		free(order);
	}
	free(keys);
	return status;
}

static const char *const columns[] = {"expert", "source", "count", "share", "lift", NULL};

const struct moe_metric moe_metric_specialisation = {
	.name = "specialisation", .unit = "choices, 1, 1", .all = MOE_ALL_NONE, .stream = &moe_stream_sources,
	.columns = columns, .n_keys = 2, .rows = put_rows,
	.help = "an expert's choices by source, their part of the expert's, and that over the source's part of all",
	.formula = "c_es, c_es / c_e, (c_es / c_e) / (C_s / C); --top: the sources of each expert by count",
	.source = "Muennighoff et al. 2024, OLMoE, section 5.3: domain specialization",
};
