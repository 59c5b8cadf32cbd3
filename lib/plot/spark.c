/* A row of block characters: the smallest bar chart. */
#include <math.h>

#include "plot/plot.h"

static const char *const blocks[] = {
	" ",
	"\xe2\x96\x81",
	"\xe2\x96\x82",
	"\xe2\x96\x83",
	"\xe2\x96\x84",
	"\xe2\x96\x85",
	"\xe2\x96\x86",
	"\xe2\x96\x87",
	"\xe2\x96\x88",
};
static const char letters[] = " .:-=+*#@";

enum { N_LEVELS = 8 };

/* 0 for nothing, 1 for the least, N_LEVELS for `top` and more. */
static int level_of(double value, double top)
{
	double level = ceil(value / top * N_LEVELS);

	if (!(value > 0) || !(top > 0))
		return 0;
	return level < 1 ? 1 : level > N_LEVELS ? N_LEVELS : (int)level;
}

void moe_plot_spark(const double *values, int32_t n, double top, int32_t width, bool ascii, struct moe_buf *out)
{
	for (int64_t c = 0; c < width; c++) {
		int64_t begin = c * n / width, end = (c + 1) * n / width;
		double value = n > 0 ? values[begin] : 0;
		int level;

		for (int64_t i = begin + 1; i < end; i++)
			value = fmax(value, values[i]);
		level = level_of(value, top);
		if (ascii)
			moe_buf_addc(out, letters[level]);
		else
			moe_buf_adds(out, blocks[level]);
	}
}
