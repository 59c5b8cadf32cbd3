/* Softmax over all experts, the k largest, divided by their p-norm (DBRX). */
#include <math.h>
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
		moe_choose(p, t, choice, scratch, NULL, ids, weights, margins);
		double sum = 0;
		for (int32_t i = 0; i < k; i++)
			sum += pow(fabs(weights[i]), p->p_norm);
		const float norm = p->p_norm > 0 ? (float)pow(sum, 1 / p->p_norm) : 1.0f;
		for (int32_t i = 0; i < k; i++)
			weights[i] /= norm;
		moe_clear_unchosen(ids, k, weights);
	}
}

const struct moe_policy moe_policy_dbrx = {
	.name = "dbrx",
	.help = "softmax over all experts, the k largest, divided by a norm of them",
	.scoring = "softmax",
	.source = "DBRX, released code",
	.reads = MOE_READS_P_NORM,
	.p_norm = 1,
	.scratch = scratch_floats,
	.rows = route_rows,
};
