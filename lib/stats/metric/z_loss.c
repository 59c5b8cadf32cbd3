/* The loss that keeps router logits small. */
#include <math.h>

#include "stats/fixed.h"
#include "stats/stats.h"

struct state {
	uint64_t n_tokens;
	struct moe_fixed sum;
};

static size_t state_bytes(const struct moe_stream_setup *setup)
{
	(void)setup;
	return sizeof(struct state);
}

/* NaN where a logit is. */
static double log_sum_exp(const float *logits, int32_t n)
{
	double max = (double)logits[0], sum = 0;

	for (int32_t i = 1; i < n; i++)
		max = (double)logits[i] > max ? (double)logits[i] : max;
	for (int32_t i = 0; i < n; i++)
		sum += exp((double)logits[i] - max);
	return max + log(sum);
}

static enum moe_status add(const struct moe_stream_tokens *tokens, void *state, void *open, struct moe_err *err)
{
	const struct moe_routing *r = tokens->routing;
	struct state *s = state;

	(void)open;
	for (int64_t t = 0; t < r->n_tokens; t++) {
		enum moe_token is = moe_stream_token(r, t);
		double z = is == MOE_TOKEN_GOOD ? log_sum_exp(r->logits + t * r->n_experts, r->n_experts) : 0;

		if (is == MOE_TOKEN_ELSEWHERE)
			continue;
		if (is == MOE_TOKEN_BAD || !(z * z <= MOE_FIXED_MAX))
			return moe_stream_bad(tokens, t, "logits that are no numbers, or beyond 2^20", err);
		moe_fixed_add(&s->sum, z * z);
		s->n_tokens++;
	}
	return MOE_OK;
}

static enum moe_status merge(const struct moe_stream_setup *setup, void *into, const void *from, struct moe_err *err)
{
	struct state *to = into;
	const struct state *s = from;

	(void)setup;
	(void)err;
	to->n_tokens += s->n_tokens;
	moe_fixed_merge(&to->sum, &s->sum);
	return MOE_OK;
}

static const struct moe_stream stream = {.state = state_bytes, .add = add, .merge = merge};

static double z_loss(const struct moe_counts *counts)
{
	const struct state *s = counts->state;

	return s->n_tokens ? moe_fixed_value(&s->sum) / (double)s->n_tokens : (double)NAN;
}

const struct moe_metric moe_metric_z_loss = {
	.name = "z_loss", .unit = "1", .all = MOE_ALL_MEAN, .layer = z_loss,
	.needs = MOE_NEEDS_LOGITS, .stream = &stream,
	.help = "mean square of the logarithm of the softmax's denominator",
	.formula = "mean_t (ln sum_i exp x_it)^2",
	.source = "Zoph et al. 2022, ST-MoE, equation 5",
};
