/* Sums of margins. */
#include "stats/margins.h"

#include <math.h>

static size_t state_bytes(const struct moe_stream_setup *setup)
{
	(void)setup;
	return sizeof(struct moe_margins);
}

static enum moe_status add(const struct moe_stream_tokens *tokens, void *state, void *open, struct moe_err *err)
{
	const struct moe_routing *r = tokens->routing;
	struct moe_margins *s = state;

	(void)open;
	for (int64_t t = 0; t < r->n_tokens; t++) {
		double margin = (double)r->margins[t];

		if (isinf(margin) && margin > 0)
			continue;
		if (!(fabs(margin) <= MOE_FIXED_MAX))
			return moe_stream_bad(tokens, t, "the margin is not a number from -2^40 to 2^40", err);
		s->n_tokens++;
		s->n_below += margin < tokens->setup->flip_below;
		for (int i = MOE_MARGIN_LIMITS - 1; i >= 0 && margin < moe_margin_limit(i); i--)
			s->below[i]++;
		moe_fixed_add(&s->sum, margin);
	}
	return MOE_OK;
}

static enum moe_status merge(const struct moe_stream_setup *setup, void *into, const void *from, struct moe_err *err)
{
	struct moe_margins *to = into;
	const struct moe_margins *s = from;

	(void)setup;
	(void)err;
	to->n_tokens += s->n_tokens;
	to->n_below += s->n_below;
	for (int i = 0; i < MOE_MARGIN_LIMITS; i++)
		to->below[i] += s->below[i];
	moe_fixed_merge(&to->sum, &s->sum);
	return MOE_OK;
}

const struct moe_stream moe_stream_margins = {.state = state_bytes, .add = add, .merge = merge};
