/* Softmax over all experts, the k largest; divided by their sum where `normalize`, times `scale`.
 * DeepSeekMoE (V1) section 3; Qwen2-MoE and OLMoE with their own settings of `normalize`. */
#include <string.h>

#include "route/group.h"

static size_t scratch_floats(const struct moe_policy_params *params) { return 2 * (size_t)params->n_experts; }

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	const int32_t n = p->n_experts, k = p->top_k;
	for (int64_t t = 0; t < n_tokens; t++, logits += n, ids += k, weights += k) {
		float *choice = scratch + n;
		moe_softmax(logits, n, scratch);
		memcpy(choice, scratch, (size_t)n * sizeof *choice);
		const float sum = moe_choose(p, t, choice, scratch, NULL, ids, weights, margins);
		const float factor = (float)p->scale / (p->normalize ? sum : 1.0f);
		for (int32_t i = 0; i < k; i++)
			weights[i] *= factor;
	}
}

const struct moe_policy moe_policy_softmax_topk = {
	.name = "softmax_topk",
	.help = "softmax over all experts, then the k largest",
	.scoring = "softmax",
	.source = "DeepSeekMoE, section 3",
	.reads = MOE_READS_SCALE | MOE_READS_NORMALIZE,
	.scratch = scratch_floats,
	.rows = route_rows,
};
