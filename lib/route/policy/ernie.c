/* Softmax; chosen by score + bias; weights are the scores, divided by their sum, at least 1e-12 (Ernie 4.5). */
#include <math.h>

#include "route/group.h"

static size_t scratch_floats(const struct moe_policy_params *params) { return 2 * (size_t)params->n_experts; }

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	const int32_t n = p->n_experts, k = p->top_k;
	for (int64_t t = 0; t < n_tokens; t++, logits += n, ids += k, weights += k) {
		float *choice = scratch + n;
		moe_softmax(logits, n, scratch);
		for (int32_t i = 0; i < n; i++)
			choice[i] = p->bias ? scratch[i] + p->bias[i] : scratch[i];
		const float sum = moe_choose(p, t, choice, scratch, NULL, ids, weights, margins);
		for (int32_t i = 0; i < k; i++)
			weights[i] /= fmaxf(sum, 1e-12f);
		moe_clear_unchosen(ids, k, weights);
	}
}

const struct moe_policy moe_policy_ernie = {
	.name = "ernie",
	.help = "softmax, biased choice, weights normalised without the bias",
	.scoring = "softmax",
	.source = "Ernie 4.5 technical report, released code",
	.reads = MOE_READS_BIAS,
	.scratch = scratch_floats,
	.rows = route_rows,
};
