/* DeepSeek-V3's router: s = sigmoid(logits); choose by s + bias inside the groups whose two best sum highest; weigh by
 * s alone, divided by the sum of the chosen where `normalize`, times `scale`. DeepSeek-V3 report, section 2.1.2. */
#include "route/group.h"

static size_t scratch_floats(const struct moe_policy_params *params)
{
	return 2 * (size_t)params->n_experts + moe_groups_scratch(params);
}

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	const int32_t n = p->n_experts, k = p->top_k;
	float *scores = scratch, *choice = scratch + n, *rest = choice + n;
	for (int64_t t = 0; t < n_tokens; t++, logits += n, ids += k, weights += k) {
		moe_sigmoid(logits, n, scores);
		for (int32_t i = 0; i < n; i++)
			choice[i] = p->bias ? scores[i] + p->bias[i] : scores[i];
		const float sum = moe_choose(p, t, choice, scores, rest, ids, weights, margins);
		const float factor = (float)p->scale / (p->normalize ? sum + 1e-20f : 1.0f);
		for (int32_t i = 0; i < k; i++)
			weights[i] *= factor;
	}
}

const struct moe_policy moe_policy_noaux_tc = {
	.name = "noaux_tc",
	.help = "sigmoid scores, biased choice inside the best groups, weights without the bias",
	.scoring = "sigmoid",
	.source = "DeepSeek-V3 report, section 2.1.2",
	.reads = MOE_READS_GROUPS | MOE_READS_GROUP_SCORE | MOE_READS_SCALE | MOE_READS_NORMALIZE | MOE_READS_BIAS,
	.group_score = MOE_GROUP_TOP2,
	.scratch = scratch_floats,
	.rows = route_rows,
};
