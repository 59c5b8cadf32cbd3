/* DeepSeek-V4's router: s = sqrt(ln(1 + e^x)); choose by s + bias; weigh by s alone, divided by the sum of the chosen,
 * times `scale`. In its hashed layers a table has the experts of every token id, and they are weighed the same way. */
#include <math.h>

#include "route/exp.h"
#include "route/group.h"
#include "route/kernel.h"

static void finish(const struct moe_policy_params *p, int64_t n_tokens, const float *sums, float *weights)
{
	const int32_t k = p->top_k;
	for (int64_t t = 0; t < n_tokens; t++, weights += k) {
		const float factor = (float)p->scale / sums[t];
		for (int32_t i = 0; i < k; i++)
			weights[i] *= factor;
	}
}

static const struct moe_rule rule = {
	.score = MOE_RULE_SQRTSOFTPLUS, .biased = true, .finish = finish, .clear = true,
};

/* Of the experts of the table no others need scores. */
static void route_hashed(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                         float *weights, float *margins)
{
	const int32_t n = p->n_experts, k = p->top_k;
	for (int64_t t = 0; t < n_tokens; t++, logits += n, ids += k, weights += k) {
		float sum = 0;
		moe_choice_table(p, t, ids);
		for (int32_t i = 0; i < k; i++) {
			weights[i] = ids[i] < 0 ? 0 : moe_sqrtsoftplus(logits[ids[i]]);
			sum += weights[i];
		}
		finish(p, 1, &sum, weights);
		moe_clear_unchosen(ids, k, weights);
		if (margins)
			margins[t] = INFINITY;
	}
}

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	if (p->table)
		route_hashed(p, logits, n_tokens, ids, weights, margins);
	else
		moe_choose_rows(p, &rule, logits, n_tokens, ids, weights, margins, scratch);
}

const struct moe_policy moe_policy_sqrtsoftplus = {
	.name = "sqrtsoftplus",
	.help = "root of softplus, biased choice, weights normalised without the bias",
	.scoring = "sqrtsoftplus",
	.source = "DeepSeek-V4, released code",
	.reads = MOE_READS_SCALE | MOE_READS_BIAS | MOE_READS_TABLE,
	.scratch = moe_choose_scratch,
	.rows = route_rows,
};
