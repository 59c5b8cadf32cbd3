/* Pictures: well-formed whatever the labels, every value drawn once, both colour schemes; bars for the terminal. */
#include "plot/plot.h"
#include "plot/svg.h"

#include <utf8proc.h>

#include "base/rng.h"
#include "../tap.h"

/* Is this XML as we write it: tags that nest, attributes in double quotes, no bare markup, UTF-8 without controls? */
static bool is_well_formed(const char *text, size_t n)
{
	char open[16][32];
	int depth = 0;

	for (size_t i = 0; i < n;) {
		utf8proc_int32_t c;
		utf8proc_ssize_t used =
			utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(n - i), &c);

		if (used < 1 || (c < 0x20 && c != '\n' && c != '\t' && c != '\r') || c == 0xfffe || c == 0xffff)
			return false;
		i += (size_t)used;
	}
	for (const char *p = text; *p;) {
		size_t name;

		if (*p == '&') {
			if (strncmp(p, "&amp;", 5) && strncmp(p, "&lt;", 4) && strncmp(p, "&gt;", 4) &&
			    strncmp(p, "&quot;", 6))
				return false;
		}
		if (*p == '>')
			return false;
		if (*p++ != '<')
			continue;
		if (*p == '/') {
			name = strcspn(++p, ">");
			if (depth == 0 || strlen(open[depth - 1]) != name || strncmp(open[--depth], p, name) != 0)
				return false;
			p += name + 1;
			continue;
		}
		name = strcspn(p, " />?\n");
		if (name >= sizeof open[0])
			return false;
		snprintf(open[depth], sizeof open[0], "%.*s", (int)name, p);
		while (*p && *p != '>') {
			if (*p == '<')
				return false;
			if (*p == '"') {
				p++;
				p += strcspn(p, "\"<");
				if (*p != '"')
					return false;
			}
			p++;
		}
		if (!*p)
			return false;
		if (p[-1] != '/' && p[-1] != '?' && ++depth == 16)
			return false;
		p++;
	}
	return depth == 0;
}

static int count(const char *text, const char *part)
{
	int n = 0;

	while ((text = strstr(text, part))) {
		n++;
		text += strlen(part);
	}
	return n;
}

static const char hostile[] = "</text><script>\"&'\x01\x1b[31m\xff\xc0\x80\xed\xa0\x80\xef\xbf\xbf \xe4\xb8\xad ]]>";

static void check_heatmap(void)
{
	enum { ROWS = 3, COLS = 5 };
	static const char *const rows[] = {"1", hostile, "3"}, *const cols[] = {"0", "1", "2", hostile, "4"};
	double values[ROWS * COLS] = {0, 1, 0.99, 0.01, 100, (double)NAN, 0.5, 2, 3, 4, 5, 6, 7, 8, 9};
	struct moe_plot_heatmap plot = {
		.title = hostile,
		.subtitle = hostile,
		.x_label = hostile,
		.y_label = hostile,
		.value_label = hostile,
		.n_rows = ROWS,
		.n_cols = COLS,
		.values = values,
		.row_names = rows,
		.col_names = cols,
		.centre = 1,
	};
	struct moe_buf out = {0}, again = {0};

	moe_plot_svg_heatmap(&plot, &out);
	ok(is_well_formed(out.p, out.n), "a heatmap with hostile labels is well-formed");
	ok(!strstr(out.p, "<script"), "and holds no markup of theirs");
	is_like(out.p, "&lt;script&gt;", "but their text");
	is_like(out.p, "\xe4\xb8\xad", "in any script");
	is_like(out.p, "prefers-color-scheme:dark", "there are colours for the dark");
	is_like(out.p, "exactly 0", "a zero is explained");
	/* Paper, 13 cells with a value, 1 zero, 24 + 1 in the legend. */
	is_i64(count(out.p, "z"), 1 + 13 + 1 + 24 + 1 + count(out.p, "size"), "every value once");
	moe_plot_svg_heatmap(&plot, &again);
	is_str(out.p, again.p, "the same bytes again");
	moe_buf_free(&again);

	plot.centre = 0;
	values[0] = 1;
	out.n = 0;
	moe_plot_svg_heatmap(&plot, &out);
	ok(is_well_formed(out.p, out.n), "a linear scale");
	ok(!strstr(out.p, "exactly 0"), "no zero, no word of it");
	for (int i = 0; i < ROWS * COLS; i++)
		values[i] = (double)NAN;
	out.n = 0;
	moe_plot_svg_heatmap(&plot, &out);
	ok(is_well_formed(out.p, out.n), "nothing but gaps");
	moe_buf_free(&out);
}

static void check_large(void)
{
	enum { ROWS = 61, COLS = 512 };
	static double values[ROWS * COLS];
	static char text[COLS][8];
	static const char *names[COLS];
	struct moe_buf out = {0};

	for (int i = 0; i < COLS; i++) {
		snprintf(text[i], sizeof text[i], "%d", i);
		names[i] = text[i];
	}
	for (int i = 0; i < ROWS * COLS; i++)
		values[i] = moe_rng_f64(1, 2, (uint64_t)i) * 3;
	moe_plot_svg_heatmap(&(struct moe_plot_heatmap){.title = "t",
	                                                .subtitle = "s",
	                                                .x_label = "x",
	                                                .y_label = "y",
	                                                .value_label = "v",
	                                                .n_rows = ROWS,
	                                                .n_cols = COLS,
	                                                .values = values,
	                                                .row_names = names,
	                                                .col_names = names,
	                                                .centre = 1},
	                     &out);
	ok(is_well_formed(out.p, out.n) && out.n < 1500000, "61 layers of 512 experts in %zu bytes", out.n);
	moe_buf_free(&out);
}

static void check_bars(void)
{
	enum { PANELS = 5, BARS = 4 };
	static const char *const names[] = {"layer 1", hostile, "layer 3", "layer 4", "layer 5"};
	double values[PANELS * BARS] = {1,           2,           3, 4, 0, 0, 0, 0, (double)NAN, (double)NAN,
	                                (double)NAN, (double)NAN, 4, 3, 2, 1, 1, 1, 1,           1};
	struct moe_plot_bars plot = {
		.title = hostile,
		.subtitle = hostile,
		.x_label = hostile,
		.y_label = hostile,
		.n_panels = PANELS,
		.n_bars = BARS,
		.values = values,
		.panel_names = names,
	};
	struct moe_buf out = {0};

	moe_plot_svg_bars(&plot, &out);
	ok(is_well_formed(out.p, out.n), "bars with hostile labels are well-formed");
	/* One in the legend; a panel of gaps has none. */
	is_i64(count(out.p, "class=\"mean\""), 1 + 4, "a line for the mean in each panel that has one");
	is_i64(count(out.p, "class=\"b0\""), PANELS, "panels");
	is_i64(count(out.p, ">peak "), 4, "peaks");
	plot.sorted = true;
	out.n = 0;
	moe_plot_svg_bars(&plot, &out);
	is_i64(count(out.p, ">peak 4<"), 2, "sorting changes no peak");
	moe_buf_free(&out);
}

static void check_lines(void)
{
	enum { LINES = 4, POINTS = 5 };
	static const char *const names[] = {hostile, "second"};
	static const double x[POINTS] = {0, 1, 2, 3, 10};
	double y[LINES * POINTS] = {0, 0.1, 0.2, 0.5, 1, 0, 0, 0, 0, 0, 0, 0.4, (double)NAN, 0.6, (double)NAN,
	                            (double)NAN, (double)NAN, (double)NAN, (double)NAN, (double)NAN};
	struct moe_plot_lines plot = {
		.title = hostile,
		.subtitle = hostile,
		.x_label = hostile,
		.y_label = hostile,
		.n_points = POINTS,
		.n_lines = LINES,
		.n_thin = 2,
		.x = x,
		.y = y,
		.thin_name = hostile,
		.names = names,
		.diagonal_name = hostile,
	};
	struct moe_buf out = {0};

	moe_plot_svg_lines(&plot, &out);
	ok(is_well_formed(out.p, out.n), "lines with hostile labels are well-formed");
	ok(!strstr(out.p, "<script") && !strstr(out.p, "nan"), "and hold no markup of theirs");
	is_i64(count(out.p, "<path class=\"thin\""), 2, "thin lines");
	is_i64(count(out.p, "<line class=\"thin\""), 1, "named once");
	is_i64(count(out.p, "class=\"mean\""), 2, "a diagonal, and its name");
	/* 0 to 1; a gap; 3 by itself. */
	is_i64(count(out.p, "h4\""), 1, "a point between gaps is a dash");
	plot.n_points = 1;
	plot.n_lines = 1;
	plot.n_thin = 0;
	plot.thin_name = plot.diagonal_name = NULL;
	out.n = 0;
	moe_plot_svg_lines(&plot, &out);
	ok(is_well_formed(out.p, out.n), "a single point at zero");
	moe_buf_free(&out);
}

static void check_numbers(void)
{
	static const struct {
		double value;
		const char *text;
	} wanted[] = {{0, "0"},     {1, "1"},          {1.5, "1.5"},  {-1.25, "-1.25"},
	              {0.004, "0"}, {12.345, "12.35"}, {0.05, "0.05"}};

	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		struct moe_buf out = {0};

		moe_svg_number(&out, wanted[i].value);
		is_str(out.p, wanted[i].text, "coordinate %g", wanted[i].value);
		moe_buf_free(&out);
	}
	is_close(moe_svg_round_up(0.11), 0.2, 1e-15, "0.11 rounds up to 0.2");
	is_close(moe_svg_round_up(5.1), 10, 0, "5.1 rounds up to 10");
	is_close(moe_svg_round_up(100), 100, 0, "100 is round");
	is_i64(moe_svg_step(3, 26), 16, "names of 3 pixels, 26 apart: every 16th");
}

static void spark_is(const double *values, int32_t n, double top, int32_t width, bool ascii, const char *wanted)
{
	struct moe_buf out = {0};

	moe_plot_spark(values, n, top, width, ascii, &out);
	is_str(out.p, wanted, "%d values in %d cells%s", n, width, ascii ? ", ASCII" : "");
	moe_buf_free(&out);
}

static void check_spark(void)
{
	static const double values[] = {0, 0.001, 1, 4, 8, 9, (double)NAN, 8};

	spark_is(values, 8, 8, 8, false,
	         " \xe2\x96\x81\xe2\x96\x81\xe2\x96\x84\xe2\x96\x88\xe2\x96\x88 \xe2\x96\x88");
	spark_is(values, 8, 8, 8, true, " ..=@@ @");
	spark_is(values, 8, 8, 4, true, ".=@@");
	spark_is(values, 4, 8, 8, true, "  ....==");
	spark_is(values, 8, 0, 8, true, "        ");
	spark_is(values, 8, 8, 3, true, ".@@");
}

int main(void)
{
	check_heatmap();
	check_large();
	check_bars();
	check_lines();
	check_numbers();
	check_spark();
	return done();
}
