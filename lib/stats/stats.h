/* Statistics over loads. */
#ifndef MOE_STATS_STATS_H
#define MOE_STATS_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "stats/load.h"
#include "stats/stream.h"

/* How the row `all` follows from the layers: from their values, from a state merged over them, or not at all. */
enum moe_all { MOE_ALL_MEAN, MOE_ALL_SUM, MOE_ALL_POOL, MOE_ALL_NONE };

/* What a metric reads beside how often each expert was chosen. An input that lacks it is refused, with a sentence that
 * says how to get it. */
enum moe_needs {
	MOE_NEEDS_GATES = MOE_TRACE_GATES,       /* as sums: load tables have them too */
	MOE_NEEDS_LOGITS = MOE_TRACE_LOGITS,
	MOE_NEEDS_MARGINS = MOE_TRACE_MARGINS,
	MOE_NEEDS_GROUPS = 8,                    /* a number of groups, which divides the experts: --groups */
	MOE_NEEDS_AGAINST = 16,                  /* another trace of the same tokens: --against */
	MOE_NEEDS_PLAN = 32,                     /* --plan */
	MOE_NEEDS_BYTES = 64,                    /* --hidden-size and --bytes-per-element */
};

/* One layer, as metrics see it; or, in MOE_ALL_POOL, all of them added up. */
struct moe_counts {
	int32_t layer;               /* the model's index; -1: all */
	int32_t n_experts;
	const uint64_t *counts;      /* [n_experts] */
	const uint64_t *ascending;   /* [n_experts] the same numbers, sorted */
	double total;                /* their sum; 0 where the layer was never asked */
	const struct moe_gate_sum *gates;   /* [n_experts] */
	/* Metrics with a stream. */
	const struct moe_stream_setup *setup;
	const void *state;
};

struct moe_rows;   /* stats/rows.h */
struct moe_feed;   /* stats/feed.h */

/* A statistic. Members: stats/metric/. Exactly one of layer(), expert() and rows() is set.
 *
 * A metric without a stream is a function of counts, and works on load tables. One with a stream (stats/stream.h) is a
 * function of the state that the stream leaves. Those with one number per layer, or per expert, can be asked for
 * together; a table of its own is asked for alone. */
struct moe_metric {
	const char *name;
	const char *unit;      /* "1", "bits", "choices", "experts" */
	const char *help;
	const char *formula;   /* one line; c_e: counts, C: their sum, E: number of experts, p_e = c_e / C */
	const char *source;    /* where the definition was published */
	enum moe_all all;
	unsigned needs;        /* enum moe_needs */
	unsigned reads;        /* enum moe_trace_field: read as well where a trace keeps them */
	const struct moe_stream *stream;   /* NULL: counts are enough */
	const char *brief;     /* its heading in the summary for people; NULL: not shown there. Without a stream only */
	int32_t position;      /* in the summary, ascending */
	int32_t decimals;      /* in the summary */
	bool is_imbalance;     /* the one that --max-imbalance limits. Without a stream only */
	/* One number for a layer; NaN where it has no meaning (a total of 0). */
	double (*layer)(const struct moe_counts *counts);
	/* One number per expert: a metric with the key `expert`. */
	double (*expert)(const struct moe_counts *counts, int32_t expert);
	/* Any number of rows for a layer, each filled in the order of `columns` with the functions of stats/rows.h; the
	 * keys of the report, source where asked for and layer, are put before them. `columns` ends with NULL; its
	 * first n_keys are keys. `all` is MOE_ALL_POOL (rows() is called once more, for all layers together) or
	 * MOE_ALL_NONE. */
	const char *const *columns;
	int n_keys;
	MOE_MUST_USE enum moe_status (*rows)(const struct moe_counts *counts, struct moe_rows *rows,
	                                     struct moe_err *err);
};

const struct moe_metric *moe_metric_at(size_t i);   /* NULL past the end */
const struct moe_metric *moe_metric_by_name(const char *name);

/* What these metrics need beside counts: enum moe_needs. */
unsigned moe_metrics_need(const struct moe_metric *const *metrics, int n_metrics);
/* The fields of a trace that they read: enum moe_trace_field. */
unsigned moe_metrics_read(const struct moe_metric *const *metrics, int n_metrics);
/* Does any of them read tokens rather than counts? Its name, or NULL. */
const char *moe_metrics_stream(const struct moe_metric *const *metrics, int n_metrics);
/* Does a trace keep what the metrics need? Otherwise a sentence that names metric and remedy. */
MOE_MUST_USE enum moe_status moe_metrics_check(const struct moe_metric *const *metrics, int n_metrics,
                                               const struct moe_trace_header *header, struct moe_err *err);

/* Values of a metric per layer or per expert: [n_layers + 1] or [n_layers + 1][n_experts]; the last row is `all`, over
 * the layers whose value is a number (NaN if none is). feed: what the metric's stream was fed, of at least the layers
 * of the load; NULL where it has none. The caller frees *values. */
MOE_MUST_USE enum moe_status moe_metric_values(const struct moe_metric *metric, const struct moe_load *load,
                                               const struct moe_feed *feed, double **values, struct moe_err *err);
/* The rows of a metric that is a table. */
MOE_MUST_USE enum moe_status moe_metric_rows(const struct moe_metric *metric, const struct moe_load *load,
                                             const struct moe_feed *feed, struct moe_rows *rows,
                                             struct moe_err *err);

/* One after another in the order of the summary: the next with a `brief` behind `before` (NULL: the first), or NULL. */
const struct moe_metric *moe_metric_brief(const struct moe_metric *before);
/* The one that --max-imbalance limits. */
const struct moe_metric *moe_metric_imbalance(void);

/* Appends a value as tables show it: whole numbers without exponent, else the shortest text that reads back as the
 * same double, "nan" for NaN. */
void moe_stats_number(double value, struct moe_buf *out);

#endif
