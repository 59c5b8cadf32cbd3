/* Lines over one axis, from 0 upward. */
#include <math.h>

#include "plot/plot.h"
#include "plot/svg.h"

#define LEFT 64.0
#define TOP 84.0
#define TOP_PLAIN 66.0   /* without a label above the axis */
#define RIGHT 24.0
#define PLOT_W 560.0
#define PLOT_H 320.0
#define LEGEND_H 18.0

enum { N_STYLES = 6, N_TICKS = 5 };

struct layout {
	double top, x_min, x_span, y_top, width, height;
};

static double x_of(const struct layout *at, double x) { return LEFT + (x - at->x_min) / at->x_span * PLOT_W; }
static double y_of(const struct layout *at, double y) { return at->top + PLOT_H - y / at->y_top * PLOT_H; }

/* Entries of the legend, one below the other. */
static int32_t n_entries(const struct moe_plot_lines *plot)
{
	return plot->n_lines - plot->n_thin + !!plot->thin_name + !!plot->diagonal_name;
}

static struct layout lay_out(const struct moe_plot_lines *plot)
{
	struct layout at = {.top = *plot->y_label ? TOP : TOP_PLAIN,
	                    .x_min = plot->x[0],
	                    .x_span = plot->x[plot->n_points - 1] - plot->x[0]};
	double max = 0;

	for (int64_t i = 0; i < (int64_t)plot->n_lines * plot->n_points; i++)
		max = fmax(max, plot->y[i]);
	if (!(at.x_span > 0))
		at.x_span = 1;
	at.y_top = plot->y_top > 0 ? plot->y_top : max > 0 ? max * 1.05 : 1;
	at.width = LEFT + PLOT_W + RIGHT;
	at.height = at.top + PLOT_H + 52 + LEGEND_H * n_entries(plot) + 10;
	return at;
}

/* Rules .l0 .l1 ... and .thin: strokes, as fills cannot tell lines. */
static void add_styles(struct moe_buf *out)
{
	static const struct moe_svg_colour colours[N_STYLES] = {
		{0x1f5a93, 0x7db5ea}, {0xb5482a, 0xf0916f}, {0x2e7d4f, 0x79cfa0},
		{0x6a3d9a, 0xc2a1ea}, {0x8a6d00, 0xe6c84f}, {0x444444, 0xc8c8c8}};
	static const char *const dashes[N_STYLES] = {"none", "7 3", "2 3", "10 3 2 3", "4 2", "1 2"};

	for (int i = 0; i < N_STYLES; i++)
		moe_buf_addf(out,
		             ".l%d{stroke:#%06x;stroke-width:2;stroke-dasharray:%s;fill:none}\n.m%d{fill:#%06x}\n", i,
		             colours[i].light, dashes[i], i, colours[i].light);
	moe_buf_adds(out, ".thin{stroke:#9db4c8;stroke-width:0.8;fill:none}\n@media (prefers-color-scheme:dark){\n");
	for (int i = 0; i < N_STYLES; i++)
		moe_buf_addf(out, ".l%d{stroke:#%06x}.m%d{fill:#%06x}\n", i, colours[i].dark, i, colours[i].dark);
	moe_buf_adds(out, ".thin{stroke:#4d6478}\n}\n");
}

static void add_marks(const struct moe_plot_lines *plot, const struct layout *at, int32_t line, struct moe_buf *out)
{
	for (int32_t i = 0; i < plot->n_points; i++) {
		const double y = plot->y[(int64_t)line * plot->n_points + i];

		if (isnan(y))
			continue;
		moe_buf_addf(out, "<circle class=\"m%d\" r=\"3\" cx=\"", (line - plot->n_thin) % N_STYLES);
		moe_svg_number(out, x_of(at, plot->x[i]));
		moe_buf_adds(out, "\" cy=\"");
		moe_svg_number(out, y_of(at, y));
		moe_buf_adds(out, "\"/>\n");
	}
}

static void add_class(const struct moe_plot_lines *plot, int32_t line, struct moe_buf *out)
{
	if (line < plot->n_thin)
		moe_buf_adds(out, "class=\"thin\"");
	else
		moe_buf_addf(out, "class=\"l%d\"", (line - plot->n_thin) % N_STYLES);
}

/* A line, with a break where a point is missing. A point by itself is a short dash. */
static void add_line(const struct moe_plot_lines *plot, const struct layout *at, int32_t line, struct moe_buf *out)
{
	const double *y = plot->y + (int64_t)line * plot->n_points;
	bool drawn = false;

	moe_buf_adds(out, "<path ");
	add_class(plot, line, out);
	moe_buf_adds(out, " d=\"");
	for (int32_t i = 0; i < plot->n_points; i++) {
		bool alone = !drawn && (i + 1 == plot->n_points || isnan(y[i + 1]));

		if (isnan(y[i])) {
			drawn = false;
			continue;
		}
		moe_buf_addc(out, drawn ? 'L' : 'M');
		moe_svg_number(out, x_of(at, plot->x[i]) - (alone ? 2 : 0));
		moe_buf_addc(out, ' ');
		moe_svg_number(out, y_of(at, y[i]));
		if (alone)
			moe_buf_adds(out, "h4");
		drawn = true;
	}
	moe_buf_adds(out, "\"/>\n");
}

/* Between numbers of things there is none. */
static bool are_whole(const struct moe_plot_lines *plot)
{
	for (int32_t i = 0; i < plot->n_points; i++)
		if (plot->x[i] != floor(plot->x[i]))
			return false;
	return true;
}

/* Round numbers along both axes. */
static void add_axes(const struct moe_plot_lines *plot, const struct layout *at, struct moe_buf *out)
{
	double step_x = moe_svg_round_up(at->x_span / (2 * N_TICKS));
	const double step_y = moe_svg_round_up(at->y_top / N_TICKS);

	if (are_whole(plot))
		step_x = fmax(step_x, 1);
	moe_svg_line(out, LEFT, at->top + PLOT_H, LEFT + PLOT_W, at->top + PLOT_H, "line");
	moe_svg_line(out, LEFT, at->top, LEFT, at->top + PLOT_H, "line");
	for (double x = ceil(at->x_min / step_x) * step_x; x <= at->x_min + at->x_span * (1 + 1e-9); x += step_x) {
		struct moe_buf name = {0};

		moe_buf_add_f64(&name, round(x * 1e9) / 1e9);
		moe_svg_line(out, x_of(at, x), at->top + PLOT_H, x_of(at, x), at->top + PLOT_H + 4, "line");
		if (name.p)
			moe_svg_text(out, x_of(at, x), at->top + PLOT_H + 17, MOE_SVG_MIDDLE, "soft", name.p, 14);
		moe_buf_free(&name);
	}
	for (int k = 0; k * step_y <= at->y_top * (1 + 1e-9); k++) {
		struct moe_buf name = {0};

		moe_buf_add_f64(&name, round(k * step_y * 1e9) / 1e9);
		moe_svg_line(out, LEFT - 4, y_of(at, k * step_y), LEFT, y_of(at, k * step_y), "line");
		if (name.p)
			moe_svg_text(out, LEFT - 8, y_of(at, k * step_y) + 4, MOE_SVG_END, "soft", name.p, 9);
		moe_buf_free(&name);
	}
	moe_svg_text(out, LEFT + PLOT_W / 2, at->top + PLOT_H + 35, MOE_SVG_MIDDLE, "label", plot->x_label, 90);
	moe_svg_text(out, 16, at->top - 10, MOE_SVG_START, "label", plot->y_label, 90);
}

static void add_entry(double y, const char *class, const char *name, struct moe_buf *out)
{
	moe_svg_line(out, LEFT, y, LEFT + 40, y, class);
	moe_svg_text(out, LEFT + 48, y + 4, MOE_SVG_START, "soft", name, 70);
}

static void add_legend(const struct moe_plot_lines *plot, const struct layout *at, struct moe_buf *out)
{
	static const char *const classes[N_STYLES] = {"l0", "l1", "l2", "l3", "l4", "l5"};
	double y = at->top + PLOT_H + 56;

	for (int32_t i = 0; i < plot->n_lines - plot->n_thin; i++, y += LEGEND_H)
		add_entry(y, classes[i % N_STYLES], plot->names[i], out);
	if (plot->thin_name) {
		add_entry(y, "thin", plot->thin_name, out);
		y += LEGEND_H;
	}
	if (plot->diagonal_name)
		add_entry(y, "mean", plot->diagonal_name, out);
}

void moe_plot_svg_lines(const struct moe_plot_lines *plot, struct moe_buf *out)
{
	struct layout at = lay_out(plot);

	moe_svg_begin(out, at.width, at.height, plot->title, plot->subtitle);
	add_styles(out);
	moe_svg_body(out, at.width, at.height, 16, plot->title, plot->subtitle);
	if (plot->diagonal_name)
		moe_svg_line(out, LEFT, at.top + PLOT_H, LEFT + PLOT_W, y_of(&at, at.y_top), "mean");
	for (int32_t i = 0; i < plot->n_lines; i++)
		add_line(plot, &at, i, out);
	for (int32_t i = plot->n_thin; i < plot->n_lines && plot->marks; i++)
		add_marks(plot, &at, i, out);
	add_axes(plot, &at, out);
	add_legend(plot, &at, out);
	moe_svg_end(out);
}
