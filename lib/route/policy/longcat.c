/* LongCat's router: s = softmax(logits) over all experts, those that compute nothing included; choose by s + bias;
 * weigh by s alone, times `scale`, not normalised. */
#include "route/group.h"

static size_t scratch_floats(const struct moe_policy_params *params) { return 2 * (size_t)params->n_experts; }

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	const int32_t n = p->n_experts, k = p->top_k;
	float *choice = scratch + n;
	for (int64_t t = 0; t < n_tokens; t++, logits += n, ids += k, weights += k) {
		moe_softmax(logits, n, scratch);
		for (int32_t i = 0; i < n; i++)
			choice[i] = p->bias ? scratch[i] + p->bias[i] : scratch[i];
		(void)moe_choose(p, t, choice, scratch, NULL, ids, weights, margins);
		for (int32_t i = 0; i < k; i++)
			weights[i] *= (float)p->scale;
	}
}

const struct moe_policy moe_policy_longcat = {
	.name = "longcat",
	.help = "softmax over all experts, biased choice, weights as they are",
	.scoring = "softmax",
	.source = "LongCat-Flash technical report, released code",
	.reads = MOE_READS_SCALE | MOE_READS_BIAS,
	.scratch = scratch_floats,
	.rows = route_rows,
};
