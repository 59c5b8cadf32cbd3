/* Reports: loads and metrics as tables, keyed as asked for, and the verdict on imbalance. */
#ifndef MOE_STATS_REPORT_H
#define MOE_STATS_REPORT_H

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"
#include "stats/gather.h"
#include "stats/stats.h"

/* What rows are about: layers (then `all`), the experts over all layers, or the layers of each label: a source, a
 * window of tokens, or a range of positions. */
enum moe_by { MOE_BY_LAYER, MOE_BY_EXPERT, MOE_BY_SOURCE, MOE_BY_WINDOW, MOE_BY_POSITION };
/* "source", "window", "position"; NULL where rows have no label. */
const char *moe_by_label(enum moe_by by);

enum { MOE_STATS_METRICS = 256, MOE_STATS_COLUMNS = 30 /* of a metric that is a table of its own */ };

struct moe_stats_report {
	const struct moe_gather *gather;   /* one load, unless rows have labels; a view */
	enum moe_by by;
	bool json;                         /* one object per row, named as the columns */
	const struct moe_metric *metrics[MOE_STATS_METRICS];
	int n_metrics;
	int64_t top_n;                     /* experts of a layer that are shown, by falling value; 0: all, in order */
	bool intervals;                    /* the gather has resamples: two more columns for each metric */
};

/* "cv,gini" into report->metrics, which must all have the same keys; MOE_EUSAGE otherwise. */
MOE_MUST_USE enum moe_status moe_stats_report_choose(struct moe_stats_report *report, const char *text,
                                                     struct moe_err *err);
/* All metrics there are: metric unit keys all help formula reads. */
void moe_stats_report_list(const struct moe_stats_report *report, struct moe_buf *out);
MOE_MUST_USE enum moe_status moe_stats_report_metrics(const struct moe_stats_report *report, struct moe_buf *out,
                                                      struct moe_err *err);
/* The load table, with its meta lines where it is one. */
void moe_stats_report_loads(const struct moe_stats_report *report, struct moe_buf *out);
/* Metrics per layer, and what they may be at most. */
enum { MOE_STATS_LIMITS = 32 };
struct moe_stats_limits {
	const struct moe_metric *metrics[MOE_STATS_LIMITS];
	double limits[MOE_STATS_LIMITS];
	int n;
};
/* "cv=0.5,dead=0" behind those there are; MOE_EUSAGE otherwise. */
MOE_MUST_USE enum moe_status moe_stats_limits_add(struct moe_stats_limits *limits, const char *text,
                                                  struct moe_err *err);
/* MOE_ECHECK, and a sentence with the worst layer, if a metric of a layer exceeds its limit: the first that does. The
 * metrics were gathered. A value that is not a number exceeds nothing. */
MOE_MUST_USE enum moe_status moe_stats_report_limits(const struct moe_stats_report *report,
                                                     const struct moe_stats_limits *limits, struct moe_err *err);
/* Do the metrics tell whether two traces differ? */
bool moe_stats_report_compares(const struct moe_stats_report *report);
/* If they do: MOE_ECHECK, and a sentence that says in how much, if any token chose otherwise. */
MOE_MUST_USE enum moe_status moe_stats_report_diff(const struct moe_stats_report *report, struct moe_err *err);

#endif
