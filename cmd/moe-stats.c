/* moe-stats: how the load falls on experts. Traces or load tables in; a load table, a summary, metrics or a picture
 * out; a verdict if asked. */
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "moe-stats/job.h"
#include "stats/rows.h"
#include "trace/trace.h"

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
	MOE_OPT_ENUM(0, "plot", "load|heatmap|lorenz|coactivation|curve|maxvio|specialisation|table",
	             struct config, plot, "a picture, as SVG; with -o NAME.png as PNG"),
	MOE_OPT_FLAG(0, "list", struct config, list, "which metrics there are, with their units"),
	MOE_OPT_GROUP("Of what"),
	{.kind = MOE_OPT_KIND_STR, .name = "by", .value = "WHAT", .offset = offsetof(struct config, by_text),
	 .help = "layer, expert, source (or domain), window=N, position: what rows are about [layer]",
	 .words = "layer|expert|source|domain|window=|position"},
	MOE_OPT_STR(0, "layer", "A-B,C,...", struct config, layers, "only these layers, by the model's own index"),
	MOE_OPT_STR(0, "source", "NAME", struct config, source, "only the tokens of this source"),
	MOE_OPT_I64(0, "top", "N", struct config, params.top_n, 1, 1LL << 20,
                    "the N largest only: experts of a layer, rows of a table"),
	MOE_OPT_GROUP("Compared with"),
	MOE_OPT_FLAG(0, "diff", struct config, diff,
                     "A B: tokens that chose otherwise in B; status 3 if there are any"),
	MOE_OPT_FILE(0, "against", "TRACE", struct config, against, "the same tokens in another trace"),
	MOE_OPT_GROUP("Parameters of metrics"),
	MOE_OPT_INT(0, "groups", "D", struct config, params.n_groups, 1, INT32_MAX,
                    "devices that the experts are divided among [the trace's groups]"),
	MOE_OPT_INT(0, "top-groups", "M", struct config, params.top_groups, 1, INT32_MAX,
                    "devices that a token may reach [as in the trace]"),
	MOE_OPT_I64(0, "batch-tokens", "N", struct config, params.batch_tokens, 1, 1LL << 40,
                    "tokens of a batch [2048]"),
	MOE_OPT_F64(0, "flip-below", "X", struct config, params.flip_below, 1e-12, 1e9,
                    "the margin below which a choice may flip [0.001]"),
	MOE_OPT_FILE(0, "plan", "PLAN", struct config, plan, "which rank holds which expert, as moe-plan(5)"),
	MOE_OPT_FILE(0, "topology", "TSV", struct config, topology, "which node holds which rank [as in the plan]"),
	MOE_OPT_I64(0, "hidden-size", "H", struct config, params.hidden_size, 1, 1LL << 30,
                    "elements of a token's row"),
	MOE_OPT_INT(0, "bytes-per-element", "B", struct config, params.element_bytes, 1, 16,
                    "bytes of each on its way to an expert"),
	MOE_OPT_DIR(0, "tokenizer", "MODEL", struct config, tokenizer,
                    "the model whose tokenizer writes out token ids"),
	MOE_OPT_GROUP("How"),
	MOE_OPT_FLAG(0, "ci", struct config, ci, "with each number of --metric the bounds of its 95 % interval"),
	MOE_OPT_STR(0, "max", "METRIC=X,...", struct config, max,
                    "status 3 if a metric exceeds X in a layer"),
	MOE_OPT_F64(0, "max-imbalance", "X", struct config, max_imbalance, 0, 1e9,
                    "status 3 if a layer's peak_to_average exceeds X"),
	MOE_OPT_STR(0, "title", "TEXT", struct config, title, "what stands above the picture"),
	MOE_OPT_FLAG(0, "ascii", struct config, ascii, "bars of ASCII characters"),
	MOE_OPT_END};

static const struct tool tool = {"moe-stats", "[options] [TRACE|LOAD ...]\n--diff [options] A B\n--list",
                                 "How the load falls on experts: tables, pictures, verdicts.", options};

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

static bool ends_in(const char *path, const char *end)
{
	const size_t n = strlen(path), n_end = strlen(end);

	return n > n_end && strcmp(path + n - n_end, end) == 0;
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
	moe_rows_str(&rows, job->cfg->plot == PLOT_NONE ? "text" : to && ends_in(to, ".png") ? "png" : "svg");
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
		return stats_draw(job, err);
	if (job->report.n_metrics > 0)
		return moe_stats_report_metrics(&job->report, &job->out, err);
	if (!prints_loads(job))
		return stats_print_summary(job, err);
	moe_stats_report_loads(&job->report, &job->out);
	return MOE_OK;
}

static enum moe_status write_result(struct job *job, struct moe_err *err)
{
	const char *path = job->ctx->common.output ? job->ctx->common.output : "-";

	if (job->cfg->plot != PLOT_NONE && ends_in(path, ".png")) {
		enum moe_status status = stats_paint(&job->out, err);

		if (status)
			return status;
	}
	return moe_out_text(&job->out, path, tool_out_flags(job->ctx), job->ctx->watch, err);
}

static enum moe_status run(struct job *job, char *const *paths, int n_paths, struct moe_err *err)
{
	struct moe_gather_opts opts = {.by_source = job->cfg->by == MOE_BY_SOURCE,
	                               .by_position = job->cfg->by == MOE_BY_POSITION,
	                               .window_tokens = job->cfg->window_tokens,
	                               .against = job->cfg->against,
	                               .resample = job->cfg->ci,
	                               .seed = (uint64_t)job->ctx->common.seed,
	                               .source = job->cfg->source,
	                               .layers = job->cfg->layers,
	                               .metrics = job->metrics,
	                               .n_metrics = job->n_metrics,
	                               .params = &job->cfg->params,
	                               .progress = show_progress,
	                               .arg = job,
	                               .watch = job->ctx->watch};
	const char *const others[] = {job->cfg->against, job->cfg->plan, job->cfg->topology};
	const char *to = job->ctx->common.output;
	enum moe_status status;

	opts.no_weights = !prints_loads(job);
	status = tool_pool(job->ctx, &opts.pool, err);
	for (int i = 0; i < 3 && !status; i++)
		if (others[i])
			status = moe_watch_add_input(job->ctx->watch, others[i], err);
	if (!status)
		status = tool_files(job->ctx, 0, &to, 1, err);
	if (!status)
		status = stats_open_inputs(job, err);
	if (status)
		return status;
	if (job->cfg->plot == PLOT_TABLE) {
		status = stats_draw_table(job, paths[0], err);
		return status ? status : write_result(job, err);
	}
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
	if (!status)
		status = moe_stats_report_limits(&job->report, &job->limits, err);
	if (!status && job->cfg->diff)
		status = moe_stats_report_diff(&job->report, err);
	return status;
}

/* --by: *by and, of windows, their length; or a sentence. */
static const char *parse_by(struct config *cfg)
{
	static const char *const words[] = {
		[MOE_BY_LAYER] = "layer", [MOE_BY_EXPERT] = "expert", [MOE_BY_SOURCE] = "source",
		[MOE_BY_WINDOW] = "domain", [MOE_BY_POSITION] = "position"};

	if (!cfg->by_text)
		return NULL;
	if (strncmp(cfg->by_text, "window=", 7) == 0) {
		cfg->by = MOE_BY_WINDOW;
		if (moe_parse_i64(moe_str_of(cfg->by_text + 7), &cfg->window_tokens) && cfg->window_tokens > 0)
			return NULL;
		return "--by window=N: expected a number of tokens";
	}
	for (int32_t i = 0; i <= MOE_BY_POSITION; i++)
		if (strcmp(cfg->by_text, words[i]) == 0) {
			cfg->by = i == MOE_BY_WINDOW ? MOE_BY_SOURCE : i;   /* a domain is a source by another name */
			return NULL;
		}
	return "--by: expected layer, expert, source, domain, window=N or position";
}

/* --diff A B is `--against B --metric flips A` with a verdict. The second operand leaves the list. */
static const char *take_diff(struct tool_ctx *ctx, struct config *cfg)
{
	if (!cfg->diff)
		return NULL;
	if (cfg->against)
		return "--diff compares its two operands: --against goes without it";
	if (ctx->n_operands != 2)
		return "--diff compares two traces: expected A and B";
	if (cfg->load || cfg->summary || cfg->plot != PLOT_NONE)
		return "--diff prints a table of its own: it goes without --load, --summary and --plot";
	cfg->against = ctx->operands[1];
	ctx->n_operands = 1;
	cfg->metrics = cfg->metrics ? cfg->metrics : "flips";
	return NULL;
}

/* The limits of --max and --max-imbalance; then all metrics that are to be gathered. */
static enum moe_status choose_metrics(struct job *job, struct moe_err *err)
{
	const struct config *cfg = job->cfg;
	const struct moe_metric *drawn = stats_plot_metric((enum plot)cfg->plot);
	enum moe_status status = MOE_OK;

	if (cfg->metrics)
		status = moe_stats_report_choose(&job->report, cfg->metrics, err);
	if (!status && cfg->max)
		status = moe_stats_limits_add(&job->limits, cfg->max, err);
	if (!status && cfg->max_imbalance >= 0 && job->limits.n < MOE_STATS_LIMITS) {
		job->limits.metrics[job->limits.n] = moe_metric_imbalance();
		job->limits.limits[job->limits.n++] = cfg->max_imbalance;
	}
	for (int i = 0; i < job->report.n_metrics; i++)
		job->metrics[job->n_metrics++] = job->report.metrics[i];
	for (int i = 0; i < job->limits.n; i++)
		job->metrics[job->n_metrics++] = job->limits.metrics[i];
	if (drawn)
		job->metrics[job->n_metrics++] = drawn;
	return status;
}

/* What is given and nobody reads. */
static const char *find_unread(const struct job *job)
{
	const struct config *cfg = job->cfg;
	unsigned needs = moe_metrics_need(job->metrics, job->n_metrics);

	if (cfg->diff && !moe_stats_report_compares(&job->report))
		return "--diff goes with --metric flips or flip_list";
	if (cfg->against && !(needs & MOE_NEEDS_AGAINST))
		return "--against is for metrics that compare two traces: saturation, flips, flip_list";
	if (cfg->plan && !(needs & MOE_NEEDS_PLAN))
		return "--plan is for metrics that ask where experts live: fanout, traffic";
	if (cfg->topology && !cfg->plan)
		return "--topology goes with --plan";
	if (cfg->ci && job->report.n_metrics == 0)
		return "--ci goes with --metric";
	if (cfg->params.top_n > 0 && job->report.n_metrics == 0)
		return "--top goes with --metric";
	return NULL;
}

/* What contradicts itself on the command line, or NULL. */
static const char *find_misuse(const struct tool_ctx *ctx, const struct config *cfg)
{
	const char *to = ctx->common.output;
	bool picture = cfg->plot != PLOT_NONE;

	if (cfg->load + cfg->summary + !!cfg->metrics + picture + cfg->list > 1)
		return "--load, --summary, --metric, --plot and --list are different outputs: ask for one";
	if (cfg->summary && ctx->common.json)
		return "--summary is for people: --json goes with --load or --metric";
	if (cfg->summary && cfg->by == MOE_BY_EXPERT)
		return "--summary has a line per layer: --by expert goes with --load or --metric";
	if (picture && ctx->common.json)
		return "--plot draws a picture: --json goes with --load or --metric";
	if (cfg->plot == PLOT_MAXVIO && cfg->by != MOE_BY_WINDOW)
		return "--plot maxvio draws windows of tokens: --by window=N says how long they are";
	if (picture && cfg->plot != PLOT_MAXVIO && cfg->by != MOE_BY_LAYER)
		return "--plot draws all layers of one load: use --source NAME in place of --by";
	if (picture && to && strcmp(to, "-") != 0 && !ends_in(to, ".svg") && !ends_in(to, ".png"))
		return "pictures are SVG or PNG: expected -o NAME.svg or NAME.png";
	if (cfg->title && !picture)
		return "--title goes with --plot";
	if (cfg->plot == PLOT_TABLE && (cfg->layers || cfg->source || cfg->max || cfg->max_imbalance >= 0))
		return "--plot table draws a table as it is: --layer, --source and --max go without it";
	if (cfg->plot == PLOT_TABLE && ctx->n_operands > 1)
		return "--plot table draws one table";
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
	misuse = parse_by(&cfg);
	if (!misuse)
		misuse = find_misuse(&ctx, &cfg);
	if (!misuse)
		misuse = take_diff(&ctx, &cfg);
	job.report.by = (enum moe_by)cfg.by;
	job.report.json = ctx.common.json;
	job.report.top_n = cfg.params.top_n;
	job.report.intervals = cfg.ci;
	cfg.params.against = cfg.against;
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
	if (choose_metrics(&job, &err))
		return tool_misuse(&ctx, "%s", err.text);
	misuse = find_unread(&job);
	if (misuse)
		return tool_misuse(&ctx, "%s", misuse);
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
	stats_close_inputs(&job);
	moe_buf_free(&job.out);
	return status ? tool_fail(&ctx, &err) : tool_end(&ctx);
}
