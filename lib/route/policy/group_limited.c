/* DeepSeek-V2's router: softmax; the k largest inside the groups with the highest maximum. Weights are divided by their
 * sum where `normalize` and k > 1, and otherwise multiplied by `scale`: one or the other, never both.
 * DeepSeek-V2 report, section 2.2.2; the released code for the exclusive rule. */
#include "route/kernel.h"

static void finish(const struct moe_policy_params *p, int64_t n_tokens, const float *sums, float *weights)
{
	const int32_t k = p->top_k;
	for (int64_t t = 0; t < n_tokens; t++, weights += k) {
		const float factor = p->normalize && k > 1 ? 1.0f / (sums[t] + 1e-20f) : (float)p->scale;
		for (int32_t i = 0; i < k; i++)
			weights[i] *= factor;
	}
}

static const struct moe_rule rule = { .score = MOE_RULE_SOFTMAX, .grouped = true, .finish = finish };

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	moe_choose_rows(p, &rule, logits, n_tokens, ids, weights, margins, scratch);
}

const struct moe_policy moe_policy_group_limited = {
	.name = "group_limited",
	.help = "softmax, the k largest inside the groups with the highest maximum; normalised or scaled",
	.scoring = "softmax",
	.source = "DeepSeek-V2 report, section 2.2.2",
	.reads = MOE_READS_GROUPS | MOE_READS_GROUP_SCORE | MOE_READS_SCALE | MOE_READS_NORMALIZE,
	.group_score = MOE_GROUP_MAX,
	.scratch = moe_choose_scratch,
	.rows = route_rows,
};
