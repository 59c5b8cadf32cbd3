/* How many tokens chose otherwise in another trace. */
#include "stats/flips.h"

#include <math.h>

#include "stats/rows.h"
#include "stats/stats.h"

static double quotient(double a, uint64_t b) { return b ? a / (double)b : (double)NAN; }

static enum moe_status put_rows(const struct moe_counts *counts, struct moe_rows *rows, struct moe_err *err)
{
	const struct moe_flips *s = counts->state;

	(void)err;
	moe_rows_u64(rows, s->n_tokens);
	moe_rows_u64(rows, s->n_flips);
	moe_rows_f64(rows, quotient((double)s->n_flips, s->n_tokens));
	moe_rows_u64(rows, s->n_other);
	moe_rows_f64(rows, quotient(moe_fixed_value(&s->margins), s->n_margins));
	return MOE_OK;
}

static const char *const columns[] = {"tokens", "flips", "rate", "choices", "margin", NULL};

const struct moe_metric moe_metric_flips = {
	.name = "flips", .unit = "tokens, 1, choices, score", .all = MOE_ALL_POOL,
	.needs = MOE_NEEDS_AGAINST, .reads = MOE_TRACE_MARGINS, .stream = &moe_stream_flips,
	.columns = columns, .rows = put_rows,
	.help = "tokens whose experts are not those of the trace of --against, and the mean margin they had",
	.formula = "T, F = #{t: K(t) != K'(t)}, F / T, sum_t |K(t) \\ K'(t)|, mean margin of the F",
	.source = "definition",
};
