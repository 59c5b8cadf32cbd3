/* DeepSeek-V3's router: s = sigmoid(logits); choose by s + bias inside the groups whose two best sum highest; weigh by
 * s alone, divided by the sum of the chosen where `normalize`, times `scale`. DeepSeek-V3 report, section 2.1.2. */
#include "route/kernel.h"

static void finish(const struct moe_policy_params *p, int64_t n_tokens, const float *sums, float *weights)
{
	const int32_t k = p->top_k;
	for (int64_t t = 0; t < n_tokens; t++, weights += k) {
		const float factor = (float)p->scale / (p->normalize ? sums[t] + 1e-20f : 1.0f);
		for (int32_t i = 0; i < k; i++)
			weights[i] *= factor;
	}
}

static const struct moe_rule rule = { .score = MOE_RULE_SIGMOID, .biased = true, .grouped = true, .finish = finish };

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	moe_choose_rows(p, &rule, logits, n_tokens, ids, weights, margins, scratch);
}

const struct moe_policy moe_policy_noaux_tc = {
	.name = "noaux_tc",
	.help = "sigmoid scores, biased choice inside the best groups, weights without the bias",
	.scoring = "sigmoid",
	.source = "DeepSeek-V3 report, section 2.1.2",
	.reads = MOE_READS_GROUPS | MOE_READS_GROUP_SCORE | MOE_READS_SCALE | MOE_READS_NORMALIZE | MOE_READS_BIAS,
	.group_score = MOE_GROUP_TOP2,
	.scratch = moe_choose_scratch,
	.rows = route_rows,
};
