/* LFM2's router: s = sigmoid(logits); choose by s + bias; weigh by s alone, divided by the sum of the chosen + 1e-6
 * where `normalize`, times `scale`. The addend matters where all scores are small. */
#include "route/kernel.h"

static void finish(const struct moe_policy_params *p, int64_t n_tokens, const float *sums, float *weights)
{
	const int32_t k = p->top_k;
	for (int64_t t = 0; t < n_tokens; t++, weights += k) {
		const float factor = (float)p->scale / (p->normalize ? sums[t] + 1e-6f : 1.0f);
		for (int32_t i = 0; i < k; i++)
			weights[i] *= factor;
	}
}

static const struct moe_rule rule = { .score = MOE_RULE_SIGMOID, .biased = true, .finish = finish };

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	moe_choose_rows(p, &rule, logits, n_tokens, ids, weights, margins, scratch);
}

const struct moe_policy moe_policy_lfm2 = {
	.name = "lfm2",
	.help = "sigmoid scores, biased choice, weights over their sum + 1e-6",
	.scoring = "sigmoid",
	.source = "LFM2 technical report, released code",
	.reads = MOE_READS_SCALE | MOE_READS_NORMALIZE | MOE_READS_BIAS,
	.scratch = moe_choose_scratch,
	.rows = route_rows,
};
