/* Numbers to pictures: SVG files, and bars for the terminal. Knows nothing of models. */
#ifndef MOE_PLOT_PLOT_H
#define MOE_PLOT_PLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

/* A matrix as coloured cells: rows top to bottom. Lightness and hue both tell the value, so a print without colour is
 * legible; dark mode has its own colours; text is text. */
struct moe_plot_heatmap {
	const char *title, *subtitle;      /* plain text, any bytes: escaped */
	const char *x_label, *y_label, *value_label;
	int32_t n_rows, n_cols;            /* >= 1 */
	const double *values;              /* [n_rows][n_cols], >= 0; NaN: no cell; 0: a dot of its own */
	const char *const *row_names;      /* [n_rows] */
	const char *const *col_names;      /* [n_cols] */
	bool square;                       /* cells are as high as wide */
	double centre;                     /* > 0: logarithmic around it, the hue changes there; 0: linear from 0 */
};
void moe_plot_svg_heatmap(const struct moe_plot_heatmap *plot, struct moe_buf *out);

/* Small multiples of bars: one panel per row of values, a reference line at `mean` of each panel. All panels share
 * one scale. */
struct moe_plot_bars {
	const char *title, *subtitle, *x_label, *y_label;
	int32_t n_panels, n_bars;          /* >= 1 */
	const double *values;              /* [n_panels][n_bars], >= 0; NaN: no bar */
	const char *const *panel_names;    /* [n_panels] */
	bool sorted;                       /* bars by falling value */
};
void moe_plot_svg_bars(const struct moe_plot_bars *plot, struct moe_buf *out);

/* Lines over one axis. The first n_thin are thin and all alike, without a name each; the others differ in colour and in
 * their dashes, so that a print without colour is legible, and are named in a legend. */
struct moe_plot_lines {
	const char *title, *subtitle, *x_label, *y_label;
	int32_t n_points, n_lines, n_thin;  /* n_points >= 1, n_lines - n_thin <= 6 */
	const double *x;                    /* [n_points] rising */
	const double *y;                    /* [n_lines][n_points], >= 0; NaN: no point */
	const char *thin_name;              /* of the thin ones together; NULL where there are none */
	const char *const *names;           /* [n_lines - n_thin] */
	const char *diagonal_name;          /* a line from (0, 0) to the far corner; NULL: none */
	double y_top;                       /* 0: as the values need */
	bool marks;                         /* a dot at every point: there are few, and they are not joined by more */
};
void moe_plot_svg_lines(const struct moe_plot_lines *plot, struct moe_buf *out);

/* One line of block characters (or ASCII), `width` cells, n values scaled to `top`: blank for 0 and NaN, the highest
 * character for `top` and more. With fewer cells than values a cell shows the largest of its values, with more a value
 * is repeated. */
void moe_plot_spark(const double *values, int32_t n, double top, int32_t width, bool ascii, struct moe_buf *out);

#endif
