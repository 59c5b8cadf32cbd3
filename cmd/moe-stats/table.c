/* A table of anybody's as a picture: a line for each column of numbers, over the first. */
#include <math.h>
#include <stdlib.h>

#include "base/table.h"
#include "moe-stats/job.h"
#include "plot/plot.h"

enum {
	MAX_LINES = 6,    /* that differ on paper */
	MAX_MARKS = 40,   /* points of a line that do not touch each other */
};

/* x [n_points], y [n_lines][n_points]; names are views of the table. */
struct lines {
	double *x, *y;
	const char *names[MAX_LINES];
};

/* A number of at least 0, or nan where the field says so. */
static enum moe_status read_value(const struct moe_table *table, int64_t row, int column, double *out,
                                  struct moe_err *err)
{
	if (moe_str_eq(moe_table_str(table, row, column), "nan")) {
		*out = (double)NAN;
		return MOE_OK;
	}
	enum moe_status status = moe_table_f64(table, row, column, out, err);

	if (!status && !(*out >= 0 && *out < (double)INFINITY))
		return moe_err_set(err, MOE_EFORMAT, "%s:%jd: column '%s': expected a number of at least 0, found %g",
		                   moe_table_name(table), moe_table_line(table, row),
		                   moe_table_column(table, column), *out);
	return status;
}

static enum moe_status read_rows(const struct moe_table *table, int n_lines, struct lines *lines, struct moe_err *err)
{
	const int64_t n = moe_table_rows(table);
	enum moe_status status = MOE_OK;

	for (int64_t row = 0; row < n && !status; row++) {
		status = moe_table_f64(table, row, 0, &lines->x[row], err);
		if (!status && (!isfinite(lines->x[row]) || (row > 0 && !(lines->x[row] > lines->x[row - 1]))))
			status = moe_err_set(err, MOE_EFORMAT,
			                     "%s:%jd: column '%s': expected rising numbers, found %g",
			                     moe_table_name(table), moe_table_line(table, row),
			                     moe_table_column(table, 0), lines->x[row]);
		for (int i = 0; i < n_lines && !status; i++)
			status = read_value(table, row, i + 1, &lines->y[i * n + row], err);
	}
	for (int i = 0; i < n_lines; i++)
		lines->names[i] = moe_table_column(table, i + 1);
	return status;
}

enum moe_status stats_draw_table(struct job *job, const char *path, struct moe_err *err)
{
	struct moe_table *table;
	struct lines lines = {0};
	enum moe_status status = moe_table_read(&table, path, err);

	if (status)
		return status;
	const int n_lines = moe_table_columns(table) - 1;
	const int64_t n = moe_table_rows(table);

	if (n_lines < 1 || n_lines > MAX_LINES || n < 1 || n > INT32_MAX / MAX_LINES)
		status = moe_err_set(err, MOE_EFORMAT,
		                     "%s: expected a column of rising numbers and one to %d columns to draw over it, "
		                     "found %d columns of %jd rows", moe_table_name(table), MAX_LINES, n_lines + 1, n);
	if (!status) {
		lines.x = calloc((size_t)n, sizeof *lines.x);
		lines.y = calloc((size_t)n * MAX_LINES, sizeof *lines.y);
		status = lines.x && lines.y ? read_rows(table, n_lines, &lines, err)
		                            : moe_err_nomem(err, (size_t)n * 8 * (MAX_LINES + 1), "a picture");
	}
	if (!status)
		moe_plot_svg_lines(
			&(struct moe_plot_lines){.title = job->cfg->title ? job->cfg->title : moe_table_name(table),
		                                 .subtitle = job->cfg->title ? moe_table_name(table) : "",
		                                 .x_label = moe_table_column(table, 0),
		                                 .y_label = n_lines == 1 ? lines.names[0] : "",
		                                 .n_points = (int32_t)n,
		                                 .n_lines = n_lines,
		                                 .x = lines.x,
		                                 .y = lines.y,
		                                 .names = lines.names,
		                                 .marks = n <= MAX_MARKS},
			&job->out);
	free(lines.x);
	free(lines.y);
	moe_table_free(table);
	return status;
}
