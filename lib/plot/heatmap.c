/* A matrix as coloured cells. Cells of one colour are one path, so that the file stays small.
 *
 * With a centre the scale is logarithmic: level = log2(value / centre), from -SPAN to SPAN; lightness falls all the way
 * and the hue turns from blue to orange at the centre. Without, it is linear from 0 to a round number. */
#include <math.h>

#include "plot/plot.h"
#include "plot/svg.h"

enum {
	N_LEVELS = 24,    /* an even number: half of them on either side of the centre */
	SPAN = 3,
	NAME_CHARS = 24,
};

#define MIN_LEFT 64.0
#define TOP 72.0
#define RIGHT 24.0
#define BOTTOM 92.0

struct layout {
	double left, cell_w, cell_h, plot_w, plot_h, width, height;
	double top; /* value of the highest level, linear scale */
};

/* From low to high; the hue changes in the middle. Lightness falls on paper and rises on a dark ground. */
static struct moe_svg_colour colour_of(int level)
{
	static const struct moe_svg_colour low = {0xeaf2fb, 0x122033}, below = {0xa9c4de, 0x35597c};
	static const struct moe_svg_colour above = {0xf2b680, 0x8a5320}, high = {0xc8501e, 0xe8893a},
					   top = {0x6b0f06, 0xffeec2};
	double t;

	if (level < N_LEVELS / 2)
		return moe_svg_mix(low, below, level / (N_LEVELS / 2 - 1.0));
	t = (level - N_LEVELS / 2) / (N_LEVELS / 2 - 1.0);
	return t < 0.5 ? moe_svg_mix(above, high, 2 * t) : moe_svg_mix(high, top, 2 * t - 1);
}

static int level_of(const struct moe_plot_heatmap *plot, const struct layout *at, double value)
{
	double level;

	if (plot->centre > 0)
		level = N_LEVELS / 2.0 + log2(value / plot->centre) * (N_LEVELS / 2.0 / SPAN);
	else
		level = value / at->top * N_LEVELS;
	return level < 0 ? 0 : level >= N_LEVELS ? N_LEVELS - 1 : (int)level;
}

static double clamp(double value, double min, double max) { return value < min ? min : value > max ? max : value; }

/* Room for the names of rows, of which at most NAME_CHARS characters are shown. */
static double room_for_names(const struct moe_plot_heatmap *plot)
{
	int max = 0;

	for (int32_t r = 0; r < plot->n_rows; r++) {
		int n = 0;

		for (const char *p = plot->row_names[r]; *p && n < NAME_CHARS + 1; p++)
			n += (*p & 0xc0) != 0x80;
		max = n > max ? n : max;
	}
	return fmax(MIN_LEFT, 22 + 7 * max);
}

static struct layout lay_out(const struct moe_plot_heatmap *plot)
{
	struct layout at = {.left = room_for_names(plot)};
	double max = 0;

	at.cell_w = clamp(floor(8 * 720.0 / plot->n_cols) / 8, 2, 28);
	at.cell_h = clamp(floor(8 * 480.0 / plot->n_rows) / 8, 2, 18);
	if (plot->square)
		at.cell_h = at.cell_w = fmin(at.cell_w, 18);
	at.plot_w = at.cell_w * plot->n_cols;
	at.plot_h = at.cell_h * plot->n_rows;
	at.width = at.left + fmax(at.plot_w, 420) + RIGHT;
	at.height = TOP + at.plot_h + BOTTOM;
	for (int64_t i = 0; i < (int64_t)plot->n_rows * plot->n_cols; i++)
		max = fmax(max, plot->values[i]);
	at.top = moe_svg_round_up(max);
	return at;
}

/* Every cell of one level, as one path. */
static void add_level(const struct moe_plot_heatmap *plot, const struct layout *at, int level, struct moe_buf *out)
{
	bool begun = false;

	for (int32_t r = 0; r < plot->n_rows; r++)
		for (int32_t c = 0; c < plot->n_cols; c++) {
			double value = plot->values[(int64_t)r * plot->n_cols + c];

			if (!(value > 0) || level_of(plot, at, value) != level)
				continue;
			if (!begun)
				moe_buf_addf(out, "<path class=\"c%d\" d=\"", level);
			begun = true;
			moe_svg_rect(out, at->left + c * at->cell_w, TOP + r * at->cell_h, at->cell_w, at->cell_h);
		}
	if (begun)
		moe_buf_adds(out, "\"/>\n");
}

/* Cells that are exactly 0: paper with a dot. */
static bool add_zeros(const struct moe_plot_heatmap *plot, const struct layout *at, struct moe_buf *out)
{
	double side = fmax(1, fmin(at->cell_w, at->cell_h) / 4);
	bool begun = false;

	for (int32_t r = 0; r < plot->n_rows; r++)
		for (int32_t c = 0; c < plot->n_cols; c++) {
			if (plot->values[(int64_t)r * plot->n_cols + c] != 0)
				continue;
			if (!begun)
				moe_buf_adds(out, "<path class=\"dot\" d=\"");
			begun = true;
			moe_svg_rect(out, at->left + (c + 0.5) * at->cell_w - side / 2,
			             TOP + (r + 0.5) * at->cell_h - side / 2, side, side);
		}
	if (begun)
		moe_buf_adds(out, "\"/>\n");
	return begun;
}

static void add_axes(const struct moe_plot_heatmap *plot, const struct layout *at, struct moe_buf *out)
{
	int step = moe_svg_step(at->cell_w, 26);

	for (int32_t c = 0; c < plot->n_cols; c += step)
		moe_svg_text(out, at->left + (c + 0.5) * at->cell_w, TOP + at->plot_h + 14, MOE_SVG_MIDDLE, "soft",
		             plot->col_names[c], 12);
	step = moe_svg_step(at->cell_h, 13);
	for (int32_t r = 0; r < plot->n_rows; r += step)
		moe_svg_text(out, at->left - 6, TOP + (r + 0.5) * at->cell_h + 4, MOE_SVG_END, "soft",
		             plot->row_names[r], NAME_CHARS);
	moe_svg_text(out, at->left + at->plot_w / 2, TOP + at->plot_h + 30, MOE_SVG_MIDDLE, "label", plot->x_label,
	             60);
	moe_svg_text(out, at->left - 6, TOP - 6, MOE_SVG_END, "label", plot->y_label, 10);
}

/* The name of a value on the legend, `quarter` of the way from left to right for a linear scale. */
static void add_tick(const struct moe_plot_heatmap *plot, const struct layout *at, double x, double y, int k,
                     struct moe_buf *out)
{
	struct moe_buf name = {0};

	if (plot->centre > 0) {
		moe_buf_adds(&name, k == 0 ? "\xe2\x89\xa4" : k == 2 * SPAN ? "\xe2\x89\xa5" : "");
		moe_buf_add_f64(&name, plot->centre * exp2(k - SPAN));
	} else {
		moe_buf_add_f64(&name, at->top * k / (2 * SPAN - 2));
	}
	if (name.p)
		moe_svg_text(out, x, y, MOE_SVG_MIDDLE, "soft", name.p, 16);
	moe_buf_free(&name);
}

static void add_legend(const struct moe_plot_heatmap *plot, const struct layout *at, bool zeros, struct moe_buf *out)
{
	double x = at->left, y = TOP + at->plot_h + 46, w = 12, h = 10;
	int n_ticks = plot->centre > 0 ? 2 * SPAN : 2 * SPAN - 2;

	for (int i = 0; i < N_LEVELS; i++) {
		moe_buf_addf(out, "<path class=\"c%d\" d=\"", i);
		moe_svg_rect(out, x + i * w, y, w, h);
		moe_buf_adds(out, "\"/>\n");
	}
	for (int k = 0; k <= n_ticks; k++)
		add_tick(plot, at, x + N_LEVELS * w * k / n_ticks, y + h + 13, k, out);
	moe_svg_text(out, x, y + h + 29, MOE_SVG_START, "label", plot->value_label, 90);
	if (zeros) {
		moe_buf_adds(out, "<path class=\"dot\" d=\"");
		moe_svg_rect(out, x + N_LEVELS * w + 32, y + 3, 4, 4);
		moe_buf_adds(out, "\"/>\n");
		moe_svg_text(out, x + N_LEVELS * w + 44, y + 9, MOE_SVG_START, "soft", "exactly 0", 20);
	}
}

void moe_plot_svg_heatmap(const struct moe_plot_heatmap *plot, struct moe_buf *out)
{
	struct layout at = lay_out(plot);
	struct moe_svg_colour colours[N_LEVELS];
	bool zeros;

	for (int i = 0; i < N_LEVELS; i++)
		colours[i] = colour_of(i);
	moe_svg_begin(out, at.width, at.height, plot->title, plot->subtitle);
	moe_svg_fills(out, "c", colours, N_LEVELS);
	moe_svg_body(out, at.width, at.height, 16, plot->title, plot->subtitle);
	moe_buf_adds(out, "<g shape-rendering=\"crispEdges\">\n");
	for (int i = 0; i < N_LEVELS; i++)
		add_level(plot, &at, i, out);
	zeros = add_zeros(plot, &at, out);
	moe_buf_adds(out, "</g>\n");
	add_axes(plot, &at, out);
	add_legend(plot, &at, zeros, out);
	moe_svg_end(out);
}
