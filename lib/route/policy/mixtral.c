/* Softmax over all experts, the k largest, divided by their sum: the same as softmax over the chosen logits alone.
 * Mixtral of Experts (Jiang et al. 2024), section 2. */
#include "route/kernel.h"

static void finish(const struct moe_policy_params *p, int64_t n_tokens, const float *sums, float *weights)
{
	const int32_t k = p->top_k;
	for (int64_t t = 0; t < n_tokens; t++, weights += k)
		for (int32_t i = 0; i < k; i++)
			weights[i] /= sums[t];
}

static const struct moe_rule rule = { .score = MOE_RULE_SOFTMAX, .finish = finish, .clear = true };

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	moe_choose_rows(p, &rule, logits, n_tokens, ids, weights, margins, scratch);
}

const struct moe_policy moe_policy_mixtral = {
	.name = "mixtral",
	.help = "softmax over all experts, the k largest, always normalised",
	.scoring = "softmax",
	.source = "Mixtral of Experts, section 2",
	.reads = 0,
	.scratch = moe_choose_scratch,
	.rows = route_rows,
};
