/* Statistics over loads. */
#ifndef MOE_STATS_STATS_H
#define MOE_STATS_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "stats/load.h"

/* How the row `all` follows from the layers. */
enum moe_all { MOE_ALL_MEAN, MOE_ALL_SUM };

/* The counts of one layer, as metrics see them. */
struct moe_counts {
	int32_t n_experts;
	const uint64_t *counts;      /* [n_experts] */
	const uint64_t *ascending;   /* [n_experts] the same numbers, sorted */
	double total;                /* their sum; 0 where the layer was never asked */
};

/* A statistic. Members: stats/metric/. Exactly one of layer() and expert() is set. */
struct moe_metric {
	const char *name;
	const char *unit;      /* "1", "bits", "choices", "experts" */
	const char *help;
	const char *formula;   /* one line; c_e: counts, C: their sum, E: number of experts, p_e = c_e / C */
	const char *source;    /* where the definition was published */
	enum moe_all all;
	const char *brief;     /* its heading in the summary for people; NULL: not shown there */
	int32_t position;      /* in the summary, ascending */
	int32_t decimals;      /* in the summary */
	bool is_imbalance;     /* the one that --max-imbalance limits */
	/* One number for a layer; NaN where it has no meaning (a total of 0). */
	double (*layer)(const struct moe_counts *counts);
	/* One number per expert: a metric with the key `expert`. */
	double (*expert)(const struct moe_counts *counts, int32_t expert);
};

const struct moe_metric *moe_metric_at(size_t i);   /* NULL past the end */
const struct moe_metric *moe_metric_by_name(const char *name);

/* Values of a metric of either kind: [n_layers + 1] or [n_layers + 1][n_experts]; the last row is `all`, over the
 * layers whose value is a number (NaN if none is). The caller frees *values. */
MOE_MUST_USE enum moe_status moe_metric_values(const struct moe_metric *metric, const struct moe_load *load,
                                               double **values, struct moe_err *err);

/* One after another in the order of the summary: the next with a `brief` behind `before` (NULL: the first), or NULL. */
const struct moe_metric *moe_metric_brief(const struct moe_metric *before);
/* The one that --max-imbalance limits. */
const struct moe_metric *moe_metric_imbalance(void);

/* Appends a value as tables show it: whole numbers without exponent, else the shortest text that reads back as the
 * same double, "nan" for NaN. */
void moe_stats_number(double value, struct moe_buf *out);

#endif
