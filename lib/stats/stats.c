/* The table of metrics, and their values over a load. */
#include "stats/stats.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats/feed.h"
#include "stats/rows.h"

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

unsigned moe_metrics_need(const struct moe_metric *const *metrics, int n_metrics)
{
	unsigned needs = 0;

	for (int i = 0; i < n_metrics; i++)
		needs |= metrics[i]->needs;
	return needs;
}

unsigned moe_metrics_read(const struct moe_metric *const *metrics, int n_metrics)
{
	unsigned fields = 0;

	for (int i = 0; i < n_metrics; i++)
		fields |= metrics[i]->reads | (metrics[i]->needs & (MOE_NEEDS_GATES | MOE_NEEDS_LOGITS |
		                                                    MOE_NEEDS_MARGINS));
	return fields;
}

const char *moe_metrics_stream(const struct moe_metric *const *metrics, int n_metrics)
{
	for (int i = 0; i < n_metrics; i++)
		if (metrics[i]->stream)
			return metrics[i]->name;
	return NULL;
}

enum moe_status moe_metrics_check(const struct moe_metric *const *metrics, int n_metrics,
                                  const struct moe_trace_header *header, struct moe_err *err)
{
	for (int i = 0; i < n_metrics; i++) {
		const struct moe_metric *m = metrics[i];

		if ((m->needs & MOE_NEEDS_LOGITS) && !header->logits)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s reads the router's outputs, which this trace does not keep: moe-route "
			                   "--logits writes one that does", m->name);
		if ((m->needs & MOE_NEEDS_MARGINS) && !header->margins)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s reads margins, which this trace does not keep: moe-route --margin "
			                   "writes one that does", m->name);
		if ((m->needs & MOE_NEEDS_GATES) && header->gates == MOE_GATES_NONE)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s reads gates, and this trace was written without them (--gates none)",
			                   m->name);
	}
	return MOE_OK;
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

/* What metrics see of layer after layer. */
struct viewer {
	const struct moe_metric *metric;
	const struct moe_load *load;
	const struct moe_feed *feed;
	struct moe_counts counts;
	uint64_t *ascending, *pooled;     /* [n_experts] */
	struct moe_gate_sum *gates;       /* [n_experts] pooled */
	void *state;                      /* pooled, ours */
};

static void viewer_free(struct viewer *v)
{
	free(v->ascending);
	free(v->pooled);
	free(v->gates);
	if (v->state)
		moe_feed_pool_free(v->feed, v->metric->stream, v->state);
}

static enum moe_status viewer_init(struct viewer *v, const struct moe_metric *metric, const struct moe_load *load,
                                   const struct moe_feed *feed, struct moe_err *err)
{
	size_t n = (size_t)load->n_experts;

	*v = (struct viewer){.metric = metric, .load = load, .feed = feed};
	v->counts.n_experts = load->n_experts;
	v->counts.setup = metric->stream ? moe_feed_setup(feed) : NULL;
	v->ascending = calloc(n, sizeof *v->ascending);
	v->pooled = calloc(n, sizeof *v->pooled);
	v->gates = calloc(n, sizeof *v->gates);
	if (!v->ascending || !v->pooled || !v->gates)
		return moe_err_nomem(err, 4 * n * sizeof *v->pooled, "the values of a metric");
	return MOE_OK;
}

static void sort_counts(struct viewer *v)
{
	size_t n = (size_t)v->load->n_experts;

	memcpy(v->ascending, v->counts.counts, n * sizeof *v->ascending);
	qsort(v->ascending, n, sizeof *v->ascending, by_count);
	v->counts.ascending = v->ascending;
	v->counts.total = 0;
	for (size_t e = 0; e < n; e++)
		v->counts.total += (double)v->ascending[e];
}

/* Turns to a row of the load. */
static void view_layer(struct viewer *v, int32_t row)
{
	size_t at = (size_t)row * (size_t)v->load->n_experts;

	v->counts.layer = v->load->layers ? v->load->layers[row] : row;
	v->counts.counts = v->load->counts + at;
	v->counts.gates = v->load->weights ? v->load->weights + at : v->gates;
	if (v->metric->stream)
		v->counts.state = moe_feed_state(v->feed, v->metric->stream, v->counts.layer);
	sort_counts(v);
}

/* Turns to all layers together; after the layers. */
static enum moe_status view_all(struct viewer *v, struct moe_err *err)
{
	const struct moe_load *load = v->load;
	size_t n = (size_t)load->n_experts;

	for (size_t i = 0; i < (size_t)load->n_layers * n; i++) {
		v->pooled[i % n] += load->counts[i];
		if (load->weights)
			moe_gate_sum_merge(&v->gates[i % n], &load->weights[i]);
	}
	v->counts.layer = -1;
	v->counts.counts = v->pooled;
	v->counts.gates = v->gates;
	sort_counts(v);
	if (!v->metric->stream)
		return MOE_OK;
	enum moe_status status =
		moe_feed_pool(v->feed, v->metric->stream, load->layers, load->n_layers, &v->state, err);

	v->counts.state = v->state;
	return status;
}

static void put_values(const struct viewer *v, double *out)
{
	if (v->metric->layer)
		out[0] = v->metric->layer(&v->counts);
	else
		for (int32_t e = 0; e < v->load->n_experts; e++)
			out[e] = v->metric->expert(&v->counts, e);
}

enum moe_status moe_metric_values(const struct moe_metric *metric, const struct moe_load *load,
                                  const struct moe_feed *feed, double **values, struct moe_err *err)
{
	size_t n_layers = (size_t)load->n_layers, width = metric->expert ? (size_t)load->n_experts : 1;
	double *out = calloc((n_layers + 1) * width, sizeof *out);
	struct viewer v;
	enum moe_status status = viewer_init(&v, metric, load, feed, err);

	*values = NULL;
	if (!out && !status)
		status = moe_err_nomem(err, (n_layers + 1) * width * sizeof *out, "the values of a metric");
	for (int32_t l = 0; l < load->n_layers && !status; l++) {
		view_layer(&v, l);
		put_values(&v, out + (size_t)l * width);
	}
	if (!status && metric->all == MOE_ALL_POOL) {
		status = view_all(&v, err);
		if (!status)
			put_values(&v, out + n_layers * width);
	} else if (!status) {
		sum_up(out, load->n_layers, width, metric->all);
	}
	viewer_free(&v);
	if (status)
		free(out);
	else
		*values = out;
	return status;
}

enum moe_status moe_metric_rows(const struct moe_metric *metric, const struct moe_load *load,
                                const struct moe_feed *feed, struct moe_rows *rows, struct moe_err *err)
{
	struct viewer v;
	enum moe_status status = viewer_init(&v, metric, load, feed, err);

	for (int32_t l = 0; l < load->n_layers && !status; l++) {
		view_layer(&v, l);
		rows->layer = v.counts.layer;
		status = metric->rows(&v.counts, rows, err);
	}
	if (!status && metric->all == MOE_ALL_POOL) {
		status = view_all(&v, err);
		rows->layer = -1;
		if (!status)
			status = metric->rows(&v.counts, rows, err);
	}
	viewer_free(&v);
	return status;
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
