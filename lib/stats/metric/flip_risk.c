/* How many choices are so close that other arithmetic may make them otherwise. */
#include <math.h>

#include "stats/margins.h"
#include "stats/stats.h"

static double flip_risk(const struct moe_counts *counts)
{
	const struct moe_margins *m = counts->state;

	return m->n_tokens ? (double)m->n_below / (double)m->n_tokens : (double)NAN;
}

const struct moe_metric moe_metric_flip_risk = {
	.name = "flip_risk", .unit = "1", .all = MOE_ALL_MEAN, .layer = flip_risk,
	.needs = MOE_NEEDS_MARGINS, .stream = &moe_stream_margins,
	.help = "the part of the choices with a margin below --flip-below",
	.formula = "#{t: m_t < X} / T, X of --flip-below",
	.source = "definition",
};
