/* Pictures. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moe-stats/job.h"
#include "plot/plot.h"
#include "stats/picture.h"

enum { MAX_SIDE = 1024 };   /* cells of a matrix that can still be told apart */

static const char *title_of(const struct job *job, const char *title)
{
	return job->cfg->title ? job->cfg->title : title;
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

static enum moe_status draw_loads(struct job *job, struct moe_err *err)
{
	const struct moe_load *load = &job->gather.loads[0];
	bool heatmap = job->cfg->plot == PLOT_HEATMAP;
	double max, *loads = stats_relative_loads(load, &max, err);
	char *row_text = NULL, *col_text = NULL, **rows = NULL, **cols = NULL;
	struct moe_buf subtitle = {0};
	enum moe_status status = MOE_EIO;

	stats_describe(load, &subtitle);
	rows = names_of(heatmap ? "" : "layer ", load->layers, load->n_layers, &row_text, err);
	cols = names_of("", NULL, load->n_experts, &col_text, err);
	if (!loads || !rows || !cols || moe_buf_check(&subtitle, err))
		goto out;
	if (heatmap)
		moe_plot_svg_heatmap(
			&(struct moe_plot_heatmap){.title = title_of(job, "Load of every expert in every layer"),
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
				.title = title_of(job, "Load of experts, busiest first"),
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

const struct moe_metric *stats_plot_metric(enum plot plot)
{
	switch (plot) {
	case PLOT_COACTIVATION:
		return moe_picture_coactivation_metric();
	case PLOT_CURVE:
		return moe_picture_curve_metric();
	case PLOT_SPECIALISATION:
		return moe_picture_sources_metric();
	default:
		return NULL;
	}
}

/* A matrix of one layer: experts by experts, or by sources. */
static enum moe_status draw_matrix(struct job *job, const char *about, struct moe_err *err)
{
	const struct moe_load *load = &job->gather.loads[0];
	const bool pairs = job->cfg->plot == PLOT_COACTIVATION;
	char *row_text = NULL, *col_text = NULL, **rows = NULL, **cols = NULL;
	char title[80];
	struct moe_picture p = {0};
	enum moe_status status;

	if (load->n_layers != 1)
		return moe_err_set(err, MOE_EUSAGE, "the picture is of one layer: --layer L says which");
	if (load->n_experts > MAX_SIDE)
		return moe_err_set(err, MOE_EUSAGE, "%d experts: of more than %d the cells could not be told apart",
		                   load->n_experts, MAX_SIDE);
	status = pairs ? moe_picture_coactivation(&job->gather, load->layers[0], &p, err)
	               : moe_picture_sources(&job->gather, load->layers[0], &p, err);
	if (!status && p.n_rows < 1)
		status = moe_err_set(err, MOE_EFORMAT, "there is no token to draw");
	if (status)
		goto out;
	rows = names_of("", p.order, p.n_rows, &row_text, err);
	cols = names_of("", p.order, p.n_cols, &col_text, err);
	if (!rows || !cols) {
		status = MOE_EIO;
		goto out;
	}
	snprintf(title, sizeof title, "%s layer %d%s", pairs ? "Experts of" : "Sources of the experts of",
	         load->layers[0], pairs ? " chosen together" : "");
	moe_plot_svg_heatmap(
		&(struct moe_plot_heatmap){
			.title = title_of(job, title),
			.subtitle = about,
			.x_label = pairs ? "expert, in the order of a tree over lifts" : "expert",
			.y_label = pairs ? "expert" : "source",
			.value_label = pairs ? "lift: tokens that chose both, over what independent choices give (1)"
			                     : "lift: the expert's part of the source's choices over that of all (1)",
			.n_rows = p.n_rows,
			.n_cols = p.n_cols,
			.values = p.values,
			.row_names = p.names ? p.names : (const char *const *)rows,
			.col_names = (const char *const *)cols,
			.square = pairs,
			.centre = 1},
		&job->out);
out:
	free(row_text);
	free(col_text);
	free(rows);
	free(cols);
	moe_picture_free(&p);
	return status;
}

static void describe_lines(const struct job *job, const struct moe_picture *p, struct moe_plot_lines *plot)
{
	static const char *const mean[] = {"mean of the layers"};

	plot->n_points = p->n_cols;
	plot->n_lines = p->n_rows;
	plot->y = p->values;
	if (job->cfg->plot == PLOT_CURVE) {
		plot->title = "Choices that find their expert in a cache";
		plot->x_label = "experts of a layer that stay in fast memory";
		plot->y_label = "share of the choices that are hits";
		plot->names = p->names;
		plot->y_top = 1;
		return;
	}
	plot->n_thin = p->n_rows - 1;
	plot->thin_name = "each layer";
	plot->names = mean;
	if (job->cfg->plot == PLOT_LORENZ) {
		plot->title = "Lorenz curve of the load of experts";
		plot->x_label = "experts of a layer, the least busy first";
		plot->y_label = "share of the layer's choices that they take together";
		plot->diagonal_name = "an even load";
		plot->y_top = 1;
		return;
	}
	plot->title = "MaxVio over time";
	plot->x_label = "tokens, in the order of the trace";
	plot->y_label = "MaxVio: how far the busiest expert lies above the mean, in means";
}

static enum moe_status draw_lines(struct job *job, const char *about, struct moe_err *err)
{
	struct moe_plot_lines plot = {.subtitle = about};
	struct moe_picture p = {0};
	double *x, n_tokens = 0;
	enum moe_status status = job->cfg->plot == PLOT_CURVE    ? moe_picture_curve(&job->gather, &p, err)
	                         : job->cfg->plot == PLOT_LORENZ ? moe_picture_lorenz(&job->gather, &p, err)
	                                                         : moe_picture_maxvio(&job->gather, &p, err);

	if (status)
		return status;
	x = calloc((size_t)p.n_cols + 1, sizeof *x);
	if (!x) {
		moe_picture_free(&p);
		return moe_err_nomem(err, (size_t)p.n_cols * sizeof *x, "a picture");
	}
	/* A window stands at its end. */
	for (int32_t i = 0; i < p.n_cols; i++)
		x[i] = job->cfg->plot == PLOT_MAXVIO ? n_tokens += (double)job->gather.loads[i].n_tokens : i;
	plot.x = x;
	describe_lines(job, &p, &plot);
	plot.title = title_of(job, plot.title);
	if (p.n_cols > 0)
		moe_plot_svg_lines(&plot, &job->out);
	else
		status = moe_err_set(err, MOE_EFORMAT, "there is no token to draw");
	free(x);
	moe_picture_free(&p);
	return status;
}

enum moe_status stats_draw(struct job *job, struct moe_err *err)
{
	const enum plot plot = (enum plot)job->cfg->plot;
	struct moe_buf about = {0};
	enum moe_status status;

	if (plot == PLOT_LOAD || plot == PLOT_HEATMAP)
		return draw_loads(job, err);
	if (job->gather.n == 0)
		return moe_err_set(err, MOE_EFORMAT, "there is no token to draw");
	if (plot == PLOT_MAXVIO)
		moe_buf_addf(&about, "windows of %jd tokens, %d MoE layer%s of %d experts", job->cfg->window_tokens,
		             job->gather.loads[0].n_layers, job->gather.loads[0].n_layers == 1 ? "" : "s",
		             job->gather.loads[0].n_experts);
	else
		stats_describe(&job->gather.loads[0], &about);
	status = moe_buf_check(&about, err);
	if (!status)
		status = plot == PLOT_COACTIVATION || plot == PLOT_SPECIALISATION ? draw_matrix(job, about.p, err)
		                                                                 : draw_lines(job, about.p, err);
	moe_buf_free(&about);
	return status;
}
