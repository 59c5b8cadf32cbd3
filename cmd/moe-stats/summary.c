/* The summary: loads for people. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "moe-stats/job.h"
#include "plot/plot.h"

double *stats_relative_loads(const struct moe_load *load, double *max, struct moe_err *err)
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

void stats_describe(const struct moe_load *load, struct moe_buf *out)
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
	double *values[MAX_BRIEF] = {NULL}, max, *loads = stats_relative_loads(load, &max, err);
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

enum moe_status stats_print_summary(struct job *job, struct moe_err *err)
{
	int32_t width = terminal_width(!job->ctx->common.output);
	enum moe_status status = MOE_OK;

	for (size_t s = 0; s < job->gather.n && !status; s++) {
		if (s > 0)
			moe_buf_addc(&job->out, '\n');
		if (moe_by_label(job->report.by)) {
			moe_buf_addf(&job->out, "%s ", moe_by_label(job->report.by));
			add_shown(&job->out, job->gather.sources[s]);
			moe_buf_adds(&job->out, ": ");
		}
		stats_describe(&job->gather.loads[s], &job->out);
		moe_buf_addc(&job->out, '\n');
		status = summarise(job, &job->gather.loads[s], width, err);
	}
	return status;
}
