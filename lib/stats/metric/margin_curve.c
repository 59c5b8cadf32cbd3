/* How many choices are closer than one limit after another: what any error of arithmetic may change. */
#include <math.h>

#include "stats/margins.h"
#include "stats/rows.h"
#include "stats/stats.h"

static enum moe_status put_rows(const struct moe_counts *counts, struct moe_rows *rows, struct moe_err *err)
{
	const struct moe_margins *m = counts->state;

	(void)err;
	for (int i = 0; i < MOE_MARGIN_LIMITS; i++) {
		moe_rows_f64(rows, moe_margin_limit(i));
		moe_rows_u64(rows, m->below[i]);
		moe_rows_f64(rows, m->n_tokens ? (double)m->below[i] / (double)m->n_tokens : (double)NAN);
	}
	return MOE_OK;
}

static const char *const columns[] = {"below", "choices", "share", NULL};

const struct moe_metric moe_metric_margin_curve = {
	.name = "margin_curve", .unit = "choices, 1", .all = MOE_ALL_POOL, .needs = MOE_NEEDS_MARGINS,
	.stream = &moe_stream_margins, .columns = columns, .n_keys = 1, .rows = put_rows,
	.help = "choices with a margin below 1e-7, 1e-6, ... 10, and the part of all that they are",
	.formula = "#{t: m_t < below}, #{t: m_t < below} / T",
	.source = "definition",
};
