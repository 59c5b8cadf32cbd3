/* Softmax; chosen by score + bias; weights are the scores, divided by their sum, at least 1e-12 (Ernie 4.5). */
#include <math.h>

#include "route/kernel.h"

static void finish(const struct moe_policy_params *p, int64_t n_tokens, const float *sums, float *weights)
{
	const int32_t k = p->top_k;
	for (int64_t t = 0; t < n_tokens; t++, weights += k)
		for (int32_t i = 0; i < k; i++)
			weights[i] /= fmaxf(sums[t], 1e-12f);
}

static const struct moe_rule rule = { .score = MOE_RULE_SOFTMAX, .biased = true, .finish = finish, .clear = true };

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	moe_choose_rows(p, &rule, logits, n_tokens, ids, weights, margins, scratch);
}

const struct moe_policy moe_policy_ernie = {
	.name = "ernie",
	.help = "softmax, biased choice, weights normalised without the bias",
	.scoring = "softmax",
	.source = "Ernie 4.5 technical report, released code",
	.reads = MOE_READS_BIAS,
	.scratch = moe_choose_scratch,
	.rows = route_rows,
};
