/* From states to the numbers of pictures. */
#include "stats/picture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats/caches.h"
#include "stats/pairs.h"
#include "stats/sources.h"

void moe_picture_free(struct moe_picture *picture)
{
	free(picture->values);
	free(picture->order);
	*picture = (struct moe_picture){0};
}

static enum moe_status shape(struct moe_picture *out, int32_t n_rows, int32_t n_cols, struct moe_err *err)
{
	size_t n = (size_t)n_rows * (size_t)n_cols;

	*out = (struct moe_picture){.n_rows = n_rows, .n_cols = n_cols, .values = calloc(n + 1, sizeof *out->values)};
	return out->values ? MOE_OK : moe_err_nomem(err, n * sizeof *out->values, "a picture");
}

static const struct moe_metric *metric_of(const struct moe_stream *stream, bool has_rows)
{
	const struct moe_metric *metric = NULL;

	for (size_t i = 0; (metric = moe_metric_at(i)); i++)
		if (metric->stream == stream && !metric->rows == !has_rows)
			return metric;
	return NULL;
}

const struct moe_metric *moe_picture_coactivation_metric(void) { return metric_of(&moe_stream_together, true); }
const struct moe_metric *moe_picture_curve_metric(void) { return metric_of(&moe_stream_caches, true); }
const struct moe_metric *moe_picture_sources_metric(void) { return metric_of(&moe_stream_sources, true); }

/* ---- co-activation ---- */

/* A tree over experts: pairs of clusters with the highest mean lift between them are joined, one after another. The
 * leaves of a cluster follow each other in `next`. */
struct clusters {
	int32_t n;
	double *lift;       /* [n][n] mean lift between the clusters that begin at two experts */
	int32_t *size;      /* 0: it was joined to another */
	int32_t *next, *last;
};

static void join(struct clusters *c, int32_t a, int32_t b)
{
	const size_t n = (size_t)c->n;

	for (int32_t k = 0; k < c->n; k++) {
		double *to = &c->lift[(size_t)a * n + (size_t)k];

		*to = (*to * c->size[a] + c->lift[(size_t)b * n + (size_t)k] * c->size[b]) / (c->size[a] + c->size[b]);
		c->lift[(size_t)k * n + (size_t)a] = *to;
	}
	c->size[a] += c->size[b];
	c->size[b] = 0;
	c->next[c->last[a]] = b;
	c->last[a] = c->last[b];
}

static void cluster(struct clusters *c, int32_t *order)
{
	const size_t n = (size_t)c->n;

	for (int32_t left = c->n; left > 1; left--) {
		int32_t a = -1, b = -1;
		double best = 0;

		for (int32_t i = 0; i < c->n; i++)
			for (int32_t j = i + 1; c->size[i] && j < c->n; j++)
				if (c->size[j] && (a < 0 || c->lift[(size_t)i * n + (size_t)j] > best)) {
					a = i;
					b = j;
					best = c->lift[(size_t)i * n + (size_t)j];
				}
		join(c, a, b);
	}
	for (int32_t at = 0, i = 0; i < c->n; i++, at = c->next[at])
		order[i] = at;
}

static enum moe_status put_in_order(struct moe_picture *out, struct moe_err *err)
{
	const size_t n = (size_t)out->n_rows;
	struct clusters c = {.n = out->n_rows, .lift = calloc(n * n, sizeof *c.lift)};
	int32_t *ints = calloc(3 * n, sizeof *ints);
	enum moe_status status = MOE_OK;

	out->order = calloc(n, sizeof *out->order);
	if (!c.lift || !ints || !out->order) {
		status = moe_err_nomem(err, n * n * sizeof *c.lift, "a tree over experts");
		goto out;
	}
	c.size = ints;
	c.next = ints + n;
	c.last = ints + 2 * n;
	for (size_t i = 0; i < n; i++) {
		c.size[i] = 1;
		c.last[i] = (int32_t)i;
		for (size_t j = 0; j < n; j++)
			c.lift[i * n + j] = isnan(out->values[i * n + j]) ? 0 : out->values[i * n + j];
	}
	cluster(&c, out->order);
	memcpy(c.lift, out->values, n * n * sizeof *c.lift);
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++)
			out->values[i * n + j] = c.lift[(size_t)out->order[i] * n + (size_t)out->order[j]];
out:
	free(c.lift);
	free(ints);
	return status;
}

enum moe_status moe_picture_coactivation(const struct moe_gather *gather, int32_t layer, struct moe_picture *out,
                                         struct moe_err *err)
{
	const struct moe_together *s = moe_feed_state(gather->feeds[0], &moe_stream_together, layer);
	const int32_t n = gather->loads[0].n_experts;
	enum moe_status status = shape(out, n, n, err);

	for (int32_t i = 0; i < n && !status; i++)
		for (int32_t j = 0; j < n; j++) {
			double n_i = (double)s->counts[moe_pair_at(i, i, n)];
			double alone = n_i * (double)s->counts[moe_pair_at(j, j, n)];

			out->values[(size_t)i * (size_t)n + (size_t)j] =
				i == j || !(alone > 0)
					? (double)NAN
					: (double)s->counts[moe_pair_at(i, j, n)] * (double)s->n_tokens / alone;
		}
	return status ? status : put_in_order(out, err);
}

/* ---- caches ---- */

enum moe_status moe_picture_curve(const struct moe_gather *gather, struct moe_picture *out, struct moe_err *err)
{
	static const char *const names[] = {
		[MOE_CACHE_LRU] = "last used (lru)", [MOE_CACHE_LFU] = "most used so far (lfu)",
		[MOE_CACHE_STATIC] = "fixed list (static)", [MOE_CACHE_BELADY] = "best possible (belady)"};
	const struct moe_load *load = &gather->loads[0];
	void *state;
	enum moe_status status = shape(out, MOE_CACHE_RULES, load->n_experts + 1, err);

	if (!status)
		status = moe_feed_pool(gather->feeds[0], &moe_stream_caches, load->layers, load->n_layers, &state, err);
	if (status)
		return status;
	const struct moe_caches *c = state;

	for (int32_t rule = 0; rule < MOE_CACHE_RULES; rule++) {
		uint64_t n = rule == MOE_CACHE_STATIC ? c->n_late : c->n_choices, sum = 0;
		double *row = out->values + (size_t)rule * (size_t)out->n_cols;

		for (int32_t i = 0; i <= load->n_experts; i++) {
			row[i] = n ? (double)sum / (double)n : (double)NAN;
			sum += i < c->n_keys ? c->hits[(size_t)rule * (size_t)c->n_keys + (size_t)i] : 0;
		}
	}
	out->names = names;
	moe_feed_pool_free(gather->feeds[0], &moe_stream_caches, state);
	return MOE_OK;
}

/* ---- sources ---- */

enum moe_status moe_picture_sources(const struct moe_gather *gather, int32_t layer, struct moe_picture *out,
                                    struct moe_err *err)
{
	const struct moe_sources *s = moe_feed_state(gather->feeds[0], &moe_stream_sources, layer);
	const struct moe_counts counts = {.n_experts = gather->loads[0].n_experts, .state = s};
	const double total = moe_sources_total(&counts);
	enum moe_status status = shape(out, (int32_t)s->n, counts.n_experts, err);

	out->names = (const char *const *)s->names;
	for (int32_t e = 0; e < counts.n_experts && !status; e++) {
		const double of_expert = moe_sources_of_expert(&counts, e);

		for (size_t i = 0; i < s->n; i++) {
			double alone = of_expert * moe_sources_of_source(&counts, i);

			out->values[i * (size_t)counts.n_experts + (size_t)e] =
				alone > 0 ? (double)s->counts[i * (size_t)counts.n_experts + (size_t)e] * total / alone
				          : (double)NAN;
		}
	}
	return status;
}

/* ---- loads ---- */

static int by_count(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The last row: the mean of those that are numbers. */
static void put_mean(struct moe_picture *out)
{
	const int32_t last = out->n_rows - 1;

	for (int32_t c = 0; c < out->n_cols; c++) {
		double sum = 0;
		int32_t n = 0;

		for (int32_t r = 0; r < last; r++) {
			double value = out->values[(size_t)r * (size_t)out->n_cols + (size_t)c];

			sum += isnan(value) ? 0 : value;
			n += !isnan(value);
		}
		out->values[(size_t)last * (size_t)out->n_cols + (size_t)c] = n ? sum / n : (double)NAN;
	}
}

enum moe_status moe_picture_lorenz(const struct moe_gather *gather, struct moe_picture *out, struct moe_err *err)
{
	const struct moe_load *load = &gather->loads[0];
	const size_t n = (size_t)load->n_experts;
	uint64_t *sorted = calloc(n, sizeof *sorted);
	enum moe_status status = shape(out, load->n_layers + 1, load->n_experts + 1, err);

	if (!sorted && !status)
		status = moe_err_nomem(err, n * sizeof *sorted, "a picture");
	for (size_t l = 0; l < (size_t)load->n_layers && !status; l++) {
		double *row = out->values + l * (n + 1), total = 0, sum = 0;

		memcpy(sorted, load->counts + l * n, n * sizeof *sorted);
		qsort(sorted, n, sizeof *sorted, by_count);
		for (size_t e = 0; e < n; e++)
			total += (double)sorted[e];
		for (size_t e = 0; e <= n; e++) {
			row[e] = total > 0 ? sum / total : (double)NAN;
			sum += e < n ? (double)sorted[e] : 0;
		}
	}
	if (!status)
		put_mean(out);
	free(sorted);
	return status;
}

enum moe_status moe_picture_maxvio(const struct moe_gather *gather, struct moe_picture *out, struct moe_err *err)
{
	const struct moe_metric *metric = moe_metric_imbalance();
	const int32_t n_layers = gather->n ? gather->loads[0].n_layers : 0;
	enum moe_status status = shape(out, n_layers + 1, (int32_t)gather->n, err);

	for (size_t i = 0; i < gather->n && !status; i++) {
		double *values;

		status = moe_metric_values(metric, &gather->loads[i], NULL, &values, err);
		for (int32_t l = 0; l < n_layers && !status; l++)   /* peak to average, of which 1 is even */
			out->values[(size_t)l * gather->n + i] = values[l] - 1;
		if (!status)
			free(values);
	}
	if (!status)
		put_mean(out);
	out->names = (const char *const *)gather->sources;
	return status;
}
