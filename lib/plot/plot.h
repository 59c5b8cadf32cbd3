/* Numbers to pictures: SVG files, and bars for the terminal. Knows nothing of models. */
#ifndef MOE_PLOT_PLOT_H
#define MOE_PLOT_PLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

/* A matrix as coloured cells: rows top to bottom. Legible in print and in dark mode, text as text, with a legend. */
struct moe_plot_heatmap {
	const char *title, *subtitle;      /* plain text, any bytes: escaped */
	const char *x_label, *y_label, *value_label;
	int32_t n_rows, n_cols;
	const double *values;              /* [n_rows][n_cols]; NaN: no cell */
	const char *const *row_names;      /* [n_rows] */
	const char *const *col_names;      /* [n_cols] */
	double centre;                     /* > 0: a diverging scale around it; 0: sequential from 0 */
};
void moe_plot_svg_heatmap(const struct moe_plot_heatmap *plot, struct moe_buf *out);

/* Small multiples of bars: one panel per row of values, a reference line at `mean` of each panel. */
struct moe_plot_bars {
	const char *title, *subtitle, *x_label, *y_label;
	int32_t n_panels, n_bars;
	const double *values;              /* [n_panels][n_bars] */
	const char *const *panel_names;    /* [n_panels] */
	bool sorted;                       /* bars by falling value */
};
void moe_plot_svg_bars(const struct moe_plot_bars *plot, struct moe_buf *out);

/* One line of block characters (or ASCII), `width` cells, n values scaled to `top`. */
void moe_plot_spark(const double *values, int32_t n, double top, int32_t width, bool ascii, struct moe_buf *out);

#endif
