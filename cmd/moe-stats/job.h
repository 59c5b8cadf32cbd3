/* What the files of moe-stats share: its options, one run, and what it shows. */
#ifndef MOE_CMD_STATS_JOB_H
#define MOE_CMD_STATS_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "plan/plan.h"
#include "plan/topology.h"
#include "stats/report.h"
#include "text/tokenizer.h"
#include "tool.h"

enum plot {
	PLOT_LOAD, PLOT_HEATMAP, PLOT_LORENZ, PLOT_COACTIVATION, PLOT_CURVE, PLOT_MAXVIO, PLOT_SPECIALISATION,
	PLOT_TABLE, PLOT_NONE
};

struct config {
	const char *metrics, *layers, *source, *by_text, *against, *plan, *topology, *tokenizer, *title, *max;
	bool load, summary, list, ascii, diff, ci;
	int32_t by, plot;
	int64_t window_tokens; /* of --by window=N */
	double max_imbalance; /* < 0: not asked */
	struct moe_metric_params params;
};

/* What one run is about. */
struct job {
	struct tool_ctx *ctx;
	struct config *cfg;
	struct moe_stats_report report;
	struct moe_stats_limits limits;
	/* All that are gathered: those shown, that of the picture, those with limits. */
	const struct moe_metric *metrics[MOE_STATS_METRICS + MOE_STATS_LIMITS + 1];
	int n_metrics;
	struct moe_gather gather;
	struct moe_buf out;
	struct moe_plan plan;
	struct moe_topology topology;
	struct moe_tokenizer *tokenizer;
	struct tool_progress progress;
	const char *progress_path; /* whose bar is shown */
	uint64_t progress_done;
};

/* Reads what the options name: plan, topology, tokenizer. */
MOE_MUST_USE enum moe_status stats_open_inputs(struct job *job, struct moe_err *err);
void stats_close_inputs(struct job *job);

/* Loads over the mean of their layer, [n_layers][n_experts]; NaN in a layer without load. *max: the largest. Malloc'd,
 * or NULL. */
double *stats_relative_loads(const struct moe_load *load, double *max, struct moe_err *err);
/* "model x, 26 MoE layers of 64 experts, ..." */
void stats_describe(const struct moe_load *load, struct moe_buf *out);

/* A line of bars per layer, for people. */
MOE_MUST_USE enum moe_status stats_print_summary(struct job *job, struct moe_err *err);
/* The metric that a picture needs beside loads; NULL: none. */
const struct moe_metric *stats_plot_metric(enum plot plot);
MOE_MUST_USE enum moe_status stats_draw(struct job *job, struct moe_err *err);
/* The same for the one table that --plot table is given. */
MOE_MUST_USE enum moe_status stats_draw_table(struct job *job, const char *path, struct moe_err *err);
/* The SVG in *picture becomes a PNG. */
MOE_MUST_USE enum moe_status stats_paint(struct moe_buf *picture, struct moe_err *err);

#endif
