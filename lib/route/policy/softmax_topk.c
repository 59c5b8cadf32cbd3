/* Softmax over all experts, the k largest; divided by their sum where `normalize`, times `scale`.
 * DeepSeekMoE (V1) section 3; Qwen2-MoE and OLMoE with their own settings of `normalize`. */
#include "route/kernel.h"

static void finish(const struct moe_policy_params *p, int64_t n_tokens, const float *sums, float *weights)
{
	const int32_t k = p->top_k;
	for (int64_t t = 0; t < n_tokens; t++, weights += k) {
		const float factor = (float)p->scale / (p->normalize ? sums[t] : 1.0f);
		for (int32_t i = 0; i < k; i++)
			weights[i] *= factor;
	}
}

static const struct moe_rule rule = { .score = MOE_RULE_SOFTMAX, .finish = finish };

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	moe_choose_rows(p, &rule, logits, n_tokens, ids, weights, margins, scratch);
}

const struct moe_policy moe_policy_softmax_topk = {
	.name = "softmax_topk",
	.help = "softmax over all experts, then the k largest",
	.scoring = "softmax",
	.source = "DeepSeekMoE, section 3",
	.reads = MOE_READS_SCALE | MOE_READS_NORMALIZE,
	.scratch = moe_choose_scratch,
	.rows = route_rows,
};
