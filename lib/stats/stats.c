/* The table of metrics, and their values over a load. */
#include "stats/stats.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define X(name) extern const struct moe_metric moe_metric_##name;
#include "gen/stats_metric.h"
#undef X

static const struct moe_metric *const metrics[] = {
#define X(name) &moe_metric_##name,
#include "gen/stats_metric.h"
#undef X
};

const struct moe_metric *moe_metric_at(size_t i) { return i < sizeof metrics / sizeof *metrics ? metrics[i] : NULL; }

const struct moe_metric *moe_metric_by_name(const char *name)
{
	for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
		if (strcmp(metrics[i]->name, name) == 0)
			return metrics[i];
	return NULL;
}

const struct moe_metric *moe_metric_brief(const struct moe_metric *before)
{
	const struct moe_metric *next = NULL;

	for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
		const struct moe_metric *m = metrics[i];

		if (m->brief && (!before || m->position > before->position) &&
		    (!next || m->position < next->position))
			next = m;
	}
	return next;
}

const struct moe_metric *moe_metric_imbalance(void)
{
	for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
		if (metrics[i]->is_imbalance)
			return metrics[i];
	assert(!"no metric is the imbalance");
	return NULL;
}

static int by_count(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* values [n_layers + 1][width]: fills the last row from the others. */
static void sum_up(double *values, int32_t n_layers, size_t width, enum moe_all all)
{
	for (size_t i = 0; i < width; i++) {
		double sum = 0;
		int32_t n = 0;

		for (int32_t l = 0; l < n_layers; l++) {
			double value = values[(size_t)l * width + i];

			if (isnan(value))
				continue;
			sum += value;
			n++;
		}
		if (n == 0)
			sum = (double)NAN;
		else if (all == MOE_ALL_MEAN)
			sum /= n;
		values[(size_t)n_layers * width + i] = sum;
	}
}

enum moe_status moe_metric_values(const struct moe_metric *metric, const struct moe_load *load, double **values,
                                  struct moe_err *err)
{
	size_t n_experts = (size_t)load->n_experts, width = metric->expert ? n_experts : 1;
	uint64_t *ascending = calloc(n_experts, sizeof *ascending);
	double *out = calloc(((size_t)load->n_layers + 1) * width, sizeof *out);

	if (!ascending || !out) {
		free(ascending);
		free(out);
		return moe_err_nomem(err, ((size_t)load->n_layers + 1) * width * sizeof *out,
		                     "the values of a metric");
	}
	for (int32_t l = 0; l < load->n_layers; l++) {
		struct moe_counts counts = {.n_experts = load->n_experts, .ascending = ascending};

		counts.counts = load->counts + (size_t)l * n_experts;
		memcpy(ascending, counts.counts, n_experts * sizeof *ascending);
		qsort(ascending, n_experts, sizeof *ascending, by_count);
		for (size_t e = 0; e < n_experts; e++)
			counts.total += (double)ascending[e];
		if (!metric->expert) {
			out[l] = metric->layer(&counts);
			continue;
		}
		for (int32_t e = 0; e < load->n_experts; e++)
			out[(size_t)l * n_experts + (size_t)e] = metric->expert(&counts, e);
	}
	sum_up(out, load->n_layers, width, metric->all);
	free(ascending);
	*values = out;
	return MOE_OK;
}

void moe_stats_number(double value, struct moe_buf *out)
{
	if (isnan(value))
		moe_buf_adds(out, "nan");
	else if (value == floor(value) && fabs(value) <= 0x1p53)
		moe_buf_addf(out, "%.0f", value + 0.0);
	else
		moe_buf_add_f64(out, value);
}
