/* Statistics over traces and load tables. */
#ifndef MOE_STATS_STATS_H
#define MOE_STATS_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "stats/load.h"
#include "trace/trace.h"

/* How the row `all` follows from the layers. */
enum moe_all { MOE_ALL_MEAN, MOE_ALL_SUM };

/* A row of a metric with keys of its own: expert (>= 0) and value. */
struct moe_metric_row {
	int32_t expert;
	double value;
};

/* A statistic. Members: stats/metric/. A metric that a load table suffices for defines layer() or expert();
 * one that needs the trace itself defines create/add/merge/finish. */
struct moe_metric {
	const char *name;
	const char *unit;      /* "1", "bits", "choices" */
	const char *help;
	const char *formula;   /* one line, with its source; the man page shows it */
	enum moe_all all;
	/* One number for a layer from its counts [n_experts]; total = their sum (may be 0: then NaN or as documented). */
	double (*layer)(const uint64_t *counts, int32_t n_experts);
	/* One number per expert (a metric keyed by layer and expert); all = sum. */
	double (*expert)(const uint64_t *counts, int32_t n_experts, int32_t expert);
};

const struct moe_metric *moe_metric_at(size_t i);   /* NULL past the end */
const struct moe_metric *moe_metric_by_name(const char *name);

#endif
