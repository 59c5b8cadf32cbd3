/* LFM2's router: s = sigmoid(logits); choose by s + bias; weigh by s alone, divided by the sum of the chosen + 1e-6
 * where `normalize`, times `scale`. The addend matters where all scores are small. */
#include "route/group.h"

static size_t scratch_floats(const struct moe_policy_params *params) { return 2 * (size_t)params->n_experts; }

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	const int32_t n = p->n_experts, k = p->top_k;
	float *choice = scratch + n;
	for (int64_t t = 0; t < n_tokens; t++, logits += n, ids += k, weights += k) {
		moe_sigmoid(logits, n, scratch);
		for (int32_t i = 0; i < n; i++)
			choice[i] = p->bias ? scratch[i] + p->bias[i] : scratch[i];
		const float sum = moe_choose(p, t, choice, scratch, NULL, ids, weights, margins);
		const float factor = (float)p->scale / (p->normalize ? sum + 1e-6f : 1.0f);
		for (int32_t i = 0; i < k; i++)
			weights[i] *= factor;
	}
}

const struct moe_policy moe_policy_lfm2 = {
	.name = "lfm2",
	.help = "sigmoid scores, biased choice, weights over their sum + 1e-6",
	.scoring = "sigmoid",
	.source = "LFM2 technical report, released code",
	.reads = MOE_READS_SCALE | MOE_READS_NORMALIZE | MOE_READS_BIAS,
	.scratch = scratch_floats,
	.rows = route_rows,
};
