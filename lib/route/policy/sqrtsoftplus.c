/* DeepSeek-V4's router: s = sqrt(ln(1 + e^x)); choose by s + bias; weigh by s alone, divided by the sum of the chosen,
 * times `scale`. In its hashed layers a table has the experts of every token id, and they are weighed the same way. */
#include <math.h>

#include "route/group.h"

static size_t scratch_floats(const struct moe_policy_params *params) { return 2 * (size_t)params->n_experts; }

/* The experts of the table; returns the sum of their scores. */
static float choose_hashed(const struct moe_policy_params *p, int64_t t, const float *scores, int32_t *ids,
                           float *weights, float *margins)
{
	float sum = 0;
	moe_choice_table(p, t, ids);
	for (int32_t i = 0; i < p->top_k; i++) {
		weights[i] = ids[i] < 0 ? 0 : scores[ids[i]];
		sum += weights[i];
	}
	if (margins)
		margins[t] = INFINITY;
	return sum;
}

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	const int32_t n = p->n_experts, k = p->top_k;
	float *scores = scratch, *choice = scratch + n;
	for (int64_t t = 0; t < n_tokens; t++, logits += n, ids += k, weights += k) {
		for (int32_t i = 0; i < n; i++) {
			/* as a sum that neither overflows nor loses small results; NaN stays NaN */
			const float x = logits[i];
			scores[i] = sqrtf((x > 0 ? x : x * 0) + log1pf(expf(-fabsf(x))));
			choice[i] = p->bias ? scores[i] + p->bias[i] : scores[i];
		}
		const float sum = p->table ? choose_hashed(p, t, scores, ids, weights, margins)
		                           : moe_choose(p, t, choice, scores, NULL, ids, weights, margins);
		for (int32_t i = 0; i < k; i++)
			weights[i] *= (float)p->scale / sum;
		moe_clear_unchosen(ids, k, weights);
	}
}

const struct moe_policy moe_policy_sqrtsoftplus = {
	.name = "sqrtsoftplus",
	.help = "root of softplus, biased choice, weights normalised without the bias",
	.scoring = "sqrtsoftplus",
	.source = "DeepSeek-V4, released code",
	.reads = MOE_READS_SCALE | MOE_READS_BIAS | MOE_READS_TABLE,
	.scratch = scratch_floats,
	.rows = route_rows,
};
