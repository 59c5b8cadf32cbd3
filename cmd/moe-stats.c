/* moe-stats: how the load falls on experts. Traces or load tables in; a load table, a summary, metrics or a picture
 * out; a verdict if asked. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plot/plot.h"
#include "stats/report.h"
#include "stats/rows.h"
#include "tool.h"
#include "trace/trace.h"

enum plot { PLOT_LOAD, PLOT_HEATMAP, PLOT_NONE };

struct config {
	const char *metrics, *layers, *source;
	bool load, summary, list, ascii;
	int32_t by, plot;
	double max_imbalance; /* < 0: not asked */
	struct moe_metric_params params;
};

/* Words that the shell completes. */
static const char *metric_word(size_t i)
{
	const struct moe_metric *metric = moe_metric_at(i);
	return metric ? metric->name : NULL;
}

static const struct moe_opt options[] = {
	MOE_OPT_GROUP("What is shown (one of these)"),
	MOE_OPT_FLAG(0, "load", struct config, load, "the load table of moe-load(5) [in a pipe or file]"),
	MOE_OPT_FLAG(0, "summary", struct config, summary, "a line with bars per layer, for people [on a terminal]"),
	MOE_OPT_LISTED('m', "metric", "NAME,...", metric_word, struct config, metrics,
                    "a column per statistic; list: which there are"),
	MOE_OPT_ENUM(0, "plot", "load|heatmap", struct config, plot, "a picture, as SVG"),
	MOE_OPT_FLAG(0, "list", struct config, list, "which metrics there are, with their units"),
	MOE_OPT_GROUP("Of what"),
	MOE_OPT_ENUM(0, "by", "layer|expert|source", struct config, by, "what rows are about [layer]"),
	MOE_OPT_STR(0, "layer", "A-B,C,...", struct config, layers, "only these layers, by the model's own index"),
	MOE_OPT_STR(0, "source", "NAME", struct config, source, "only the tokens of this source"),
	MOE_OPT_GROUP("Parameters of metrics"),
	MOE_OPT_INT(0, "groups", "D", struct config, params.n_groups, 1, INT32_MAX,
                    "devices that the experts are divided among [the trace's groups]"),
	MOE_OPT_INT(0, "top-groups", "M", struct config, params.top_groups, 1, INT32_MAX,
                    "devices that a token may reach [as in the trace]"),
	MOE_OPT_I64(0, "batch-tokens", "N", struct config, params.batch_tokens, 1, 1LL << 40,
                    "tokens of a batch [2048]"),
	MOE_OPT_F64(0, "flip-below", "X", struct config, params.flip_below, 1e-12, 1e9,
                    "the margin below which a choice may flip [0.001]"),
	MOE_OPT_GROUP("How"),
	MOE_OPT_F64(0, "max-imbalance", "X", struct config, max_imbalance, 0, 1e9,
                    "status 3 if a layer's peak_to_average exceeds X"),
	MOE_OPT_FLAG(0, "ascii", struct config, ascii, "bars of ASCII characters"),
	MOE_OPT_END};

static const struct tool tool = {"moe-stats", "[options] [TRACE|LOAD ...]\n--list",
                                 "How the load falls on experts: tables, pictures, verdicts.", options};

/* What one run is about. */
struct job {
	struct tool_ctx *ctx;
	const struct config *cfg;
	struct moe_stats_report report;
	struct moe_gather gather;
	struct moe_buf out;
	struct tool_progress progress;
	const char *progress_path; /* whose bar is shown */
	uint64_t progress_done;
};

static void show_progress(void *arg, const char *path, uint64_t n_read, uint64_t n_total)
{
	struct job *job = arg;

	if (job->progress_path != path) {
		if (job->progress_path)
			tool_progress_finish(&job->progress);
		tool_progress_start(&job->progress, job->ctx, path, (int64_t)n_total, TOOL_BYTES);
		job->progress_path = path;
		job->progress_done = 0;
	}
	tool_progress_add(&job->progress, (int64_t)(n_read - job->progress_done));
	job->progress_done = n_read;
}

/* Loads over the mean of their layer, [n_layers][n_experts]; NaN in a layer without load. *max: the largest. */
static double *relative_loads(const struct moe_load *load, double *max, struct moe_err *err)
{
	size_t n = (size_t)load->n_experts;
	double *out = calloc((size_t)load->n_layers * n, sizeof *out);

	*max = 0;
	if (!out && moe_err_nomem(err, (size_t)load->n_layers * n * sizeof *out, "relative loads"))
		return NULL;
	for (size_t l = 0; l < (size_t)load->n_layers; l++) {
		double total = 0;

		for (size_t e = 0; e < n; e++)
			total += (double)load->counts[l * n + e];
		for (size_t e = 0; e < n; e++) {
			out[l * n + e] =
				total > 0 ? (double)load->counts[l * n + e] / (total / (double)n) : (double)NAN;
			*max = fmax(*max, out[l * n + e]);
		}
	}
	return out;
}

/* A label for people: what could steer a terminal is shown as '?'. */
static void add_shown(struct moe_buf *out, const char *text)
{
	for (; *text; text++)
		moe_buf_addc(out, (unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text);
}

static void describe(const struct moe_load *load, struct moe_buf *out)
{
	uint64_t choices = 0;

	for (int64_t i = 0; i < (int64_t)load->n_layers * load->n_experts; i++)
		choices += load->counts[i];
	if (*load->model) {
		moe_buf_adds(out, "model ");
		add_shown(out, load->model);
		moe_buf_adds(out, ", ");
	}
	moe_buf_addf(out, "%d MoE layer%s of %d expert%s, ", load->n_layers, load->n_layers == 1 ? "" : "s",
	             load->n_experts, load->n_experts == 1 ? "" : "s");
	if (load->n_tokens)
		moe_buf_addf(out, "%" PRIu64 " tokens, ", load->n_tokens);
	moe_buf_addf(out, "%" PRIu64 " choices", choices);
}

static int32_t terminal_width(bool to_stdout)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;
	int64_t n;

	if (to_stdout && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		return size.ws_col;
	if (columns && moe_parse_i64(moe_str_of(columns), &n) && n >= 1 && n <= 10000)
		return (int32_t)n;
	return 80;
}

enum { LAYER_WIDTH = 5, BRIEF_WIDTH = 7, MIN_BARS = 8, MAX_BRIEF = 16 };

/* Cells of a row of bars: one per expert, or else every cell stands for the same number of them. */
static int32_t bar_cells(int32_t n_experts, int32_t room)
{
	int32_t per_cell;

	if (room < MIN_BARS)
		room = MIN_BARS;
	if (n_experts <= room)
		return n_experts;
	per_cell = (n_experts + room - 1) / room;
	return (n_experts + per_cell - 1) / per_cell;
}

static enum moe_status summarise(struct job *job, const struct moe_load *load, int32_t width, struct moe_err *err)
{
	struct moe_buf *out = &job->out;
	double *values[MAX_BRIEF] = {NULL}, max, *loads = relative_loads(load, &max, err);
	enum moe_status status = loads ? MOE_OK : MOE_EIO;
	const struct moe_metric *m = NULL;
	int32_t cells;
	int n = 0;

	for (; !status && n < MAX_BRIEF && (m = moe_metric_brief(m)); n++)
		status = moe_metric_values(m, load, NULL, &values[n], err);
	if (status)
		goto out;
	cells = bar_cells(load->n_experts, width - LAYER_WIDTH - n * (BRIEF_WIDTH + 1) - 2);
	moe_buf_addf(out, "%*s", LAYER_WIDTH, "layer");
	while ((m = moe_metric_brief(m)))
		moe_buf_addf(out, " %*s", BRIEF_WIDTH, m->brief);
	moe_buf_addf(out, "  %s\n", cells >= 26 ? "load of experts from 0 on" : cells >= 4 ? "load" : "");
	for (int32_t l = 0; l <= load->n_layers; l++) {
		if (l < load->n_layers)
			moe_buf_addf(out, "%*d", LAYER_WIDTH, load->layers[l]);
		else
			moe_buf_addf(out, "%*s", LAYER_WIDTH, "all");
		n = 0;
		while ((m = moe_metric_brief(m)))
			moe_buf_addf(out, " %*.*f", BRIEF_WIDTH, m->decimals, values[n++][l]);
		if (l < load->n_layers) {
			moe_buf_adds(out, "  ");
			moe_plot_spark(loads + (int64_t)l * load->n_experts, load->n_experts, max, cells,
			               job->cfg->ascii, out);
		}
		moe_buf_addc(out, '\n');
	}
	moe_buf_addf(out, "%*s  a full bar is %.2f times the mean of its layer", LAYER_WIDTH, "", max);
	if (cells < load->n_experts)
		moe_buf_addf(out, "; a bar is the busiest of %d experts", (load->n_experts + cells - 1) / cells);
	moe_buf_addc(out, '\n');
out:
	for (int i = 0; i < MAX_BRIEF; i++)
		free(values[i]);
	free(loads);
	return status;
}

static enum moe_status print_summary(struct job *job, struct moe_err *err)
{
	int32_t width = terminal_width(!job->ctx->common.output);
	enum moe_status status = MOE_OK;

	for (size_t s = 0; s < job->gather.n && !status; s++) {
		if (s > 0)
			moe_buf_addc(&job->out, '\n');
		if (job->cfg->by == MOE_BY_SOURCE) {
			moe_buf_adds(&job->out, "source ");
			add_shown(&job->out, job->gather.sources[s]);
			moe_buf_adds(&job->out, ": ");
		}
		describe(&job->gather.loads[s], &job->out);
		moe_buf_addc(&job->out, '\n');
		status = summarise(job, &job->gather.loads[s], width, err);
	}
	return status;
}

/* "PREFIXn" for n in numbers (NULL: 0, 1, 2 ...), freed by free(*text) and free(result). */
static char **names_of(const char *prefix, const int32_t *numbers, int32_t n, char **text, struct moe_err *err)
{
	size_t each = strlen(prefix) + 12;
	char **names = calloc((size_t)n, sizeof *names);

	*text = calloc((size_t)n, each);
	if (!names || !*text) {
		free(names);
		free(*text);
		*text = NULL;
		if (moe_err_nomem(err, (size_t)n * each, "names in a picture"))
			return NULL;
	}
	for (int32_t i = 0; i < n; i++) {
		names[i] = *text + (size_t)i * each;
		snprintf(names[i], each, "%s%d", prefix, numbers ? numbers[i] : i);
	}
	return names;
}

static enum moe_status draw(struct job *job, struct moe_err *err)
{
	const struct moe_load *load = &job->gather.loads[0];
	bool heatmap = job->cfg->plot == PLOT_HEATMAP;
	double max, *loads = relative_loads(load, &max, err);
	char *row_text = NULL, *col_text = NULL, **rows = NULL, **cols = NULL;
	struct moe_buf subtitle = {0};
	enum moe_status status = MOE_EIO;

	describe(load, &subtitle);
	rows = names_of(heatmap ? "" : "layer ", load->layers, load->n_layers, &row_text, err);
	cols = names_of("", NULL, load->n_experts, &col_text, err);
	if (!loads || !rows || !cols || moe_buf_check(&subtitle, err))
		goto out;
	if (heatmap)
		moe_plot_svg_heatmap(
			&(struct moe_plot_heatmap){.title = "Load of every expert in every layer",
		                                   .subtitle = subtitle.p,
		                                   .x_label = "expert",
		                                   .y_label = "layer",
		                                   .value_label =
		                                           "load relative to the mean of the layer (1: an even load)",
		                                   .n_rows = load->n_layers,
		                                   .n_cols = load->n_experts,
		                                   .values = loads,
		                                   .row_names = (const char *const *)rows,
		                                   .col_names = (const char *const *)cols,
		                                   .centre = 1},
			&job->out);
	else
		moe_plot_svg_bars(
			&(struct moe_plot_bars){
				.title = "Load of experts, busiest first",
				.subtitle = subtitle.p,
				.x_label = "experts of a layer, by falling load",
				.y_label = "height: load relative to the mean of the layer (1: an even load)",
				.n_panels = load->n_layers,
				.n_bars = load->n_experts,
				.values = loads,
				.panel_names = (const char *const *)rows,
				.sorted = true},
			&job->out);
	status = MOE_OK;
out:
	free(loads);
	free(row_text);
	free(col_text);
	free(rows);
	free(cols);
	moe_buf_free(&subtitle);
	return status;
}

/* What would be read and written. */
static void print_dry_run(struct job *job, char *const *paths, int n_paths)
{
	static const char *const columns[] = {"action", "file", "kind", "bytes"};
	const char *to = job->ctx->common.output;
	struct moe_rows rows;
	struct stat st;

	moe_rows_begin(&rows, &job->out, job->ctx->common.json, columns, 4);
	for (int i = 0; i < n_paths; i++) {
		bool is_stdin = strcmp(paths[i], "-") == 0;

		moe_rows_str(&rows, "read");
		moe_rows_str(&rows, paths[i]);
		moe_rows_str(&rows, is_stdin ? "unknown" : moe_trace_probe(paths[i]) ? "trace" : "load");
		moe_rows_f64(&rows, is_stdin || stat(paths[i], &st) || !S_ISREG(st.st_mode) ? (double)NAN
		                                                                            : (double)st.st_size);
	}
	moe_rows_str(&rows, "write");
	moe_rows_str(&rows, to ? to : "-");
	moe_rows_str(&rows, job->cfg->plot != PLOT_NONE ? "svg" : "text");
	/* How much text it is shows only when it is made. */
	if (job->ctx->common.json)
		moe_rows_f64(&rows, (double)NAN);
	else
		moe_rows_str(&rows, "unknown");
}

/* Is the load table what is asked for? */
static bool prints_loads(const struct job *job)
{
	const struct config *cfg = job->cfg;
	bool people = !job->ctx->common.output && !job->ctx->common.json && cfg->by != MOE_BY_EXPERT &&
	              isatty(STDOUT_FILENO);

	return cfg->plot == PLOT_NONE && job->report.n_metrics == 0 && !cfg->summary && (cfg->load || !people);
}

static enum moe_status print_result(struct job *job, struct moe_err *err)
{
	const struct config *cfg = job->cfg;

	if (cfg->plot != PLOT_NONE)
		return draw(job, err);
	if (job->report.n_metrics > 0)
		return moe_stats_report_metrics(&job->report, &job->out, err);
	if (!prints_loads(job))
		return print_summary(job, err);
	moe_stats_report_loads(&job->report, &job->out);
	return MOE_OK;
}

static enum moe_status write_result(struct job *job, struct moe_err *err)
{
	const char *path = job->ctx->common.output ? job->ctx->common.output : "-";
	return moe_out_text(&job->out, path, tool_out_flags(job->ctx), job->ctx->watch, err);
}

static enum moe_status run(struct job *job, char *const *paths, int n_paths, struct moe_err *err)
{
	struct moe_gather_opts opts = {.by_source = job->cfg->by == MOE_BY_SOURCE,
	                               .source = job->cfg->source,
	                               .layers = job->cfg->layers,
	                               .metrics = job->report.metrics,
	                               .n_metrics = job->report.n_metrics,
	                               .params = &job->cfg->params,
	                               .progress = show_progress,
	                               .arg = job,
	                               .watch = job->ctx->watch};
	const char *to = job->ctx->common.output;
	enum moe_status status;

	opts.no_weights = !prints_loads(job);
	status = tool_pool(job->ctx, &opts.pool, err);

	if (!status)
		status = tool_files(job->ctx, 0, &to, 1, err);
	if (status)
		return status;
	status = moe_gather_files(&job->gather, paths, n_paths, &opts, err);
	if (job->progress_path)
		tool_progress_finish(&job->progress);
	if (status)
		return status;
	if (job->gather.no_gates)
		tool_note(job->ctx, "a trace keeps no gates: they count as 0 in the column weight");
	status = print_result(job, err);
	if (!status)
		status = write_result(job, err);
	if (!status && job->cfg->max_imbalance >= 0)
		status = moe_stats_report_imbalance(&job->report, job->cfg->max_imbalance, err);
	return status;
}

/* What contradicts itself on the command line, or NULL. */
static const char *find_misuse(const struct tool_ctx *ctx, const struct config *cfg)
{
	const char *to = ctx->common.output;
	size_t n = to ? strlen(to) : 0;
	bool picture = cfg->plot != PLOT_NONE;

	if (cfg->load + cfg->summary + !!cfg->metrics + picture + cfg->list > 1)
		return "--load, --summary, --metric, --plot and --list are different outputs: ask for one";
	if (cfg->summary && ctx->common.json)
		return "--summary is for people: --json goes with --load or --metric";
	if (cfg->summary && cfg->by == MOE_BY_EXPERT)
		return "--summary has a line per layer: --by expert goes with --load or --metric";
	if (picture && ctx->common.json)
		return "--plot draws a picture: --json goes with --load or --metric";
	if (picture && cfg->by != MOE_BY_LAYER)
		return "--plot draws all layers of one load: use --source NAME in place of --by";
	if (picture && to && strcmp(to, "-") != 0 && (n < 5 || strcmp(to + n - 4, ".svg") != 0))
		return "pictures are written as SVG only: expected -o NAME.svg";
	return NULL;
}

int main(int argc, char **argv)
{
	static char *const only_stdin[] = {"-", NULL};
	struct config cfg = {.plot = PLOT_NONE, .max_imbalance = -1};
	struct tool_ctx ctx;
	struct job job = {.ctx = &ctx, .cfg = &cfg};
	struct moe_err err = {0};
	enum moe_status status;
	const char *misuse;
	char *const *paths;
	int n_paths;

	tool_start(argc, argv, &tool, &cfg, &ctx);
	job.report.gather = &job.gather;
	job.report.by = (enum moe_by)cfg.by;
	job.report.json = ctx.common.json;
	misuse = find_misuse(&ctx, &cfg);
	if (misuse)
		return tool_misuse(&ctx, "%s", misuse);
	cfg.list = cfg.list || (cfg.metrics && strcmp(cfg.metrics, "list") == 0);
	if (cfg.list) {
		if (ctx.n_operands > 0)
			return tool_misuse(&ctx, "the list of metrics takes no files");
		moe_stats_report_list(&job.report, &job.out);
		status = write_result(&job, &err);
		goto out;
	}
	if (cfg.metrics && moe_stats_report_choose(&job.report, cfg.metrics, &err))
		return tool_misuse(&ctx, "%s", err.text);
	if (ctx.n_operands == 0 && isatty(STDIN_FILENO))
		return tool_misuse(&ctx, "no trace and no load table is named");
	paths = ctx.n_operands ? ctx.operands : only_stdin;
	n_paths = ctx.n_operands ? ctx.n_operands : 1;
	if (ctx.common.dry_run) {
		print_dry_run(&job, paths, n_paths);
		cfg.plot = PLOT_NONE;
		ctx.common.output = NULL;
		status = write_result(&job, &err);
	} else {
		status = run(&job, paths, n_paths, &err);
	}
out:
	moe_gather_free(&job.gather);
	moe_buf_free(&job.out);
	return status ? tool_fail(&ctx, &err) : tool_end(&ctx);
}
