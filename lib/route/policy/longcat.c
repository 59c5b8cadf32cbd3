/* LongCat's router: s = softmax(logits) over all experts, those that compute nothing included; choose by s + bias;
 * weigh by s alone, times `scale`, not normalised. */
#include "route/kernel.h"

static void finish(const struct moe_policy_params *p, int64_t n_tokens, const float *sums, float *weights)
{
	(void)sums;
	for (int64_t i = 0; i < n_tokens * p->top_k; i++)
		weights[i] *= (float)p->scale;
}

static const struct moe_rule rule = { .score = MOE_RULE_SOFTMAX, .biased = true, .finish = finish };

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	moe_choose_rows(p, &rule, logits, n_tokens, ids, weights, margins, scratch);
}

const struct moe_policy moe_policy_longcat = {
	.name = "longcat",
	.help = "softmax over all experts, biased choice, weights as they are",
	.scoring = "softmax",
	.source = "LongCat-Flash technical report, released code",
	.reads = MOE_READS_SCALE | MOE_READS_BIAS,
	.scratch = moe_choose_scratch,
	.rows = route_rows,
};
