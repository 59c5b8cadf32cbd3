/* How differently two sources use the experts of a layer. */
#include <math.h>

#include "stats/rows.h"
#include "stats/sources.h"

/* H(m) - (H(a) + H(b)) / 2 with m the mean of both, in bits: 0 alike, 1 no expert in common. */
static double divergence(const uint64_t *a, double of_a, const uint64_t *b, double of_b, int32_t n)
{
	double sum = 0;

	if (!(of_a > 0 && of_b > 0))
		return (double)NAN;
	for (int32_t e = 0; e < n; e++) {
		double p = (double)a[e] / of_a, q = (double)b[e] / of_b, m = (p + q) / 2;

		sum += p > 0 ? p / 2 * log2(p / m) : 0;
		sum += q > 0 ? q / 2 * log2(q / m) : 0;
	}
	return fmax(sum, 0);
}

static enum moe_status put_rows(const struct moe_counts *counts, struct moe_rows *rows, struct moe_err *err)
{
	const struct moe_sources *s = counts->state;
	const size_t n = (size_t)counts->n_experts;

	(void)err;
	for (size_t i = 0; i < s->n; i++)
		for (size_t j = i + 1; j < s->n; j++) {
			double d = divergence(s->counts + i * n, moe_sources_of_source(counts, i), s->counts + j * n,
			                      moe_sources_of_source(counts, j), counts->n_experts);

			moe_rows_str(rows, s->names[i]);
			moe_rows_str(rows, s->names[j]);
			moe_rows_f64(rows, d);
			moe_rows_f64(rows, sqrt(d));
		}
	return MOE_OK;
}

static const char *const columns[] = {"source", "other", "divergence", "distance", NULL};

const struct moe_metric moe_metric_source_distance = {
	.name = "source_distance", .unit = "bits, 1", .all = MOE_ALL_NONE, .stream = &moe_stream_sources,
	.columns = columns, .n_keys = 2, .rows = put_rows,
	.help = "how differently two sources use the experts: their Jensen-Shannon divergence, and its root",
	.formula = "D = H((p+q)/2) - (H(p) + H(q))/2, sqrt D; p, q: shares of experts in the two sources",
	.source = "Lin 1991, Divergence measures based on the Shannon entropy",
};
