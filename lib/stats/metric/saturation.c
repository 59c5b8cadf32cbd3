/* How much of the choice is settled, against another trace of the same tokens: of a later checkpoint, say. */
#include <math.h>

#include "stats/stats.h"

struct state {
	uint64_t n_choices, n_same;
};

static size_t state_bytes(const struct moe_stream_setup *setup)
{
	(void)setup;
	return sizeof(struct state);
}

static enum moe_status add(const struct moe_stream_tokens *tokens, void *state, void *open, struct moe_err *err)
{
	const struct moe_routing *r = tokens->routing;
	const int64_t k = r->top_k;
	struct state *s = state;

	(void)open;
	(void)err;
	for (int64_t t = 0; t < r->n_tokens; t++)
		for (int64_t i = t * k; i < (t + 1) * k; i++) {
			if (r->ids[i] < 0)
				continue;
			s->n_choices++;
			for (int64_t j = t * k; j < (t + 1) * k; j++)
				if (tokens->against->ids[j] == r->ids[i]) {
					s->n_same++;
					break;
				}
		}
	return MOE_OK;
}

static enum moe_status merge(const struct moe_stream_setup *setup, void *into, const void *from, struct moe_err *err)
{
	struct state *to = into;
	const struct state *s = from;

	(void)setup;
	(void)err;
	to->n_choices += s->n_choices;
	to->n_same += s->n_same;
	return MOE_OK;
}

static const struct moe_stream stream = {.state = state_bytes, .add = add, .merge = merge};

static double saturation(const struct moe_counts *counts)
{
	const struct state *s = counts->state;

	return s->n_choices ? (double)s->n_same / (double)s->n_choices : (double)NAN;
}

const struct moe_metric moe_metric_saturation = {
	.name = "saturation", .unit = "1", .all = MOE_ALL_MEAN, .layer = saturation,
	.needs = MOE_NEEDS_AGAINST, .stream = &stream,
	.help = "share of a token's experts that it chose in the trace of --against as well",
	.formula = "(1/N) sum_t |K(t) & K'(t)| / K",
	.source = "Muennighoff et al. 2024, OLMoE, section 5.1: router saturation",
};
