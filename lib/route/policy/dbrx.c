/* Softmax over all experts, the k largest, divided by their p-norm (DBRX). */
#include <math.h>

#include "route/kernel.h"

static void finish(const struct moe_policy_params *p, int64_t n_tokens, const float *sums, float *weights)
{
	const int32_t k = p->top_k;
	(void)sums;
	for (int64_t t = 0; t < n_tokens; t++, weights += k) {
		double sum = 0;
		for (int32_t i = 0; i < k; i++)
			sum += pow(fabs(weights[i]), p->p_norm);
		const float norm = p->p_norm > 0 ? (float)pow(sum, 1 / p->p_norm) : 1.0f;
		for (int32_t i = 0; i < k; i++)
			weights[i] /= norm;
	}
}

static const struct moe_rule rule = { .score = MOE_RULE_SOFTMAX, .finish = finish, .clear = true };

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	moe_choose_rows(p, &rule, logits, n_tokens, ids, weights, margins, scratch);
}

const struct moe_policy moe_policy_dbrx = {
	.name = "dbrx",
	.help = "softmax over all experts, the k largest, divided by a norm of them",
	.scoring = "softmax",
	.source = "DBRX, released code",
	.reads = MOE_READS_P_NORM,
	.p_norm = 1,
	.scratch = moe_choose_scratch,
	.rows = route_rows,
};
