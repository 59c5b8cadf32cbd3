/* DeepSeek-V2's router: softmax; the k largest inside the groups with the highest maximum. Weights are divided by their
 * sum where `normalize` and k > 1, and otherwise multiplied by `scale`: one or the other, never both.
 * DeepSeek-V2 report, section 2.2.2; the released code for the exclusive rule. */
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
		moe_softmax(logits, n, scores);
		for (int32_t i = 0; i < n; i++)
			choice[i] = scores[i];
		const float sum = moe_choose(p, t, choice, scores, rest, ids, weights, margins);
		const float factor = p->normalize && k > 1 ? 1.0f / (sum + 1e-20f) : (float)p->scale;
		for (int32_t i = 0; i < k; i++)
			weights[i] *= factor;
	}
}

const struct moe_policy moe_policy_group_limited = {
	.name = "group_limited",
	.help = "softmax, the k largest inside the groups with the highest maximum; normalised or scaled",
	.scoring = "softmax",
	.source = "DeepSeek-V2 report, section 2.2.2",
	.reads = MOE_READS_GROUPS | MOE_READS_GROUP_SCORE | MOE_READS_SCALE | MOE_READS_NORMALIZE,
	.group_score = MOE_GROUP_MAX,
	.scratch = scratch_floats,
	.rows = route_rows,
};
