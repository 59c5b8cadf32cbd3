/* Small multiples of bars, all on one scale, so that panels can be compared by eye. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plot/plot.h"
#include "plot/svg.h"

#define LEFT 56.0
#define TOP 84.0
#define BOTTOM 34.0
#define GAP_X 18.0
#define GAP_Y 30.0
#define PANEL_H 72.0
#define MIN_WIDTH 560.0
#define CHAR_W 5.8

enum { MANY = 12 }; /* so many wide panels would make a strip of paper */

struct layout {
	int32_t n_cols, n_rows;
	double panel_w, bar_w, width, height, top;
};

static double clamp(double value, double min, double max) { return value < min ? min : value > max ? max : value; }

static struct layout lay_out(const struct moe_plot_bars *plot)
{
	struct layout at = {0};
	double max = 0;

	at.panel_w = clamp(plot->n_bars * 3.0, 160, plot->n_panels > MANY ? 192 : 384);
	at.n_cols = (int32_t)clamp(floor(840 / (at.panel_w + GAP_X)), 1, plot->n_panels);
	at.n_rows = (plot->n_panels + at.n_cols - 1) / at.n_cols;
	at.bar_w = at.panel_w / plot->n_bars;
	at.width = fmax(LEFT + at.n_cols * (at.panel_w + GAP_X) + 6, MIN_WIDTH);
	at.height = TOP + at.n_rows * (PANEL_H + GAP_Y) + BOTTOM;
	for (int64_t i = 0; i < (int64_t)plot->n_panels * plot->n_bars; i++)
		max = fmax(max, plot->values[i]);
	at.top = max > 0 ? max * 1.02 : 1;
	return at;
}

static int falling(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	if (isnan(x) || isnan(y))
		return isnan(x) - isnan(y);
	return (x < y) - (x > y);
}

/* "peak 4.21" */
static void add_peak(double x, double y, double peak, struct moe_buf *out)
{
	struct moe_buf text = {0};

	moe_buf_adds(&text, "peak ");
	moe_svg_number(&text, peak);
	if (text.p)
		moe_svg_text(out, x, y, MOE_SVG_END, "soft", text.p, 30);
	moe_buf_free(&text);
}

/* One panel with its top left corner at (x, y); row is scratch [n_bars]. */
static void add_panel(const struct moe_plot_bars *plot, const struct layout *at, int32_t panel, double x, double y,
                      double *row, struct moe_buf *out)
{
	double sum = 0, mean_y, peak = 0;
	int32_t n = 0;

	memcpy(row, plot->values + (int64_t)panel * plot->n_bars, (size_t)plot->n_bars * sizeof *row);
	if (plot->sorted)
		qsort(row, (size_t)plot->n_bars, sizeof *row, falling);
	moe_buf_adds(out, "<path class=\"b0\" d=\"");
	for (int32_t i = 0; i < plot->n_bars; i++) {
		double h = row[i] / at->top * PANEL_H;

		if (isnan(row[i]))
			continue;
		sum += row[i];
		peak = fmax(peak, row[i]);
		n++;
		if (h > 0)
			moe_svg_rect(out, x + i * at->bar_w, y + PANEL_H - h,
			             at->bar_w > 4 ? at->bar_w - 1 : at->bar_w, h);
	}
	moe_buf_adds(out, "\"/>\n");
	moe_svg_line(out, x, y + PANEL_H, x + at->panel_w, y + PANEL_H, "line");
	moe_svg_text(out, x, y - 5, MOE_SVG_START, "label", plot->panel_names[panel], (int)(at->panel_w / 12));
	if (n == 0)
		return;
	mean_y = y + PANEL_H - sum / n / at->top * PANEL_H;
	moe_svg_line(out, x, mean_y, x + at->panel_w, mean_y, "mean");
	add_peak(x + at->panel_w, y - 5, peak, out);
}

/* Round numbers at the left of a row of panels. */
static void add_scale(const struct layout *at, double y, struct moe_buf *out)
{
	double step = moe_svg_round_up(at->top / 4);

	for (int k = 0; k * step <= at->top; k++) {
		double at_y = y + PANEL_H - k * step / at->top * PANEL_H;
		struct moe_buf name = {0};

		moe_buf_add_f64(&name, k * step);
		if (name.p)
			moe_svg_text(out, LEFT - 8, at_y + 4, MOE_SVG_END, "soft", name.p, 8);
		moe_svg_line(out, LEFT - 5, at_y, LEFT - 1, at_y, "line");
		moe_buf_free(&name);
	}
}

void moe_plot_svg_bars(const struct moe_plot_bars *plot, struct moe_buf *out)
{
	static const struct moe_svg_colour bar = {0x3b74a8, 0x6fa8dc};
	struct layout at = lay_out(plot);
	double *row = calloc((size_t)plot->n_bars, sizeof *row);

	if (!row) {
		out->failed = true;
		return;
	}
	moe_svg_begin(out, at.width, at.height, plot->title, plot->subtitle);
	moe_svg_fills(out, "b", &bar, 1);
	moe_svg_body(out, at.width, at.height, 16, plot->title, plot->subtitle);
	moe_svg_line(out, 16, 57, 40, 57, "mean");
	moe_svg_text(out, 46, 61, MOE_SVG_START, "soft", "mean of the panel", 40);
	moe_svg_text(out, 170, 61, MOE_SVG_START, "soft", plot->y_label, (int)((at.width - 170) / CHAR_W));
	for (int32_t p = 0; p < plot->n_panels; p++) {
		double x = LEFT + p % at.n_cols * (at.panel_w + GAP_X),
		       y = TOP + p / at.n_cols * (PANEL_H + GAP_Y) + 8;

		if (p % at.n_cols == 0)
			add_scale(&at, y, out);
		add_panel(plot, &at, p, x, y, row, out);
	}
	moe_svg_text(out, LEFT, at.height - 18, MOE_SVG_START, "label", plot->x_label,
	             (int)((at.width - LEFT) / CHAR_W));
	moe_svg_end(out);
	free(row);
}
