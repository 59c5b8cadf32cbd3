/* How close choices are, on average. */
#include <math.h>

#include "stats/margins.h"
#include "stats/stats.h"

static double margin(const struct moe_counts *counts)
{
	const struct moe_margins *m = counts->state;

	return m->n_tokens ? moe_fixed_value(&m->sum) / (double)m->n_tokens : (double)NAN;
}

const struct moe_metric moe_metric_margin = {
	.name = "margin", .unit = "1", .all = MOE_ALL_MEAN, .layer = margin,
	.needs = MOE_NEEDS_MARGINS, .stream = &moe_stream_margins,
	.help = "mean margin, in the unit of the scores that choose",
	.formula = "mean_t m_t, m_t the least difference of scores that separates a choice from another",
	.source = "definition; choices that leave nothing out have no margin",
};
