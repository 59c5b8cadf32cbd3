/* Softmax over all experts, the k largest, divided by their sum: the same as softmax over the chosen logits alone.
 * Mixtral of Experts (Jiang et al. 2024), section 2. */
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
		const float sum = moe_choose(p, t, choice, scratch, NULL, ids, weights, margins);
		for (int32_t i = 0; i < k; i++)
			weights[i] /= sum;
		moe_clear_unchosen(ids, k, weights);
	}
}

const struct moe_policy moe_policy_mixtral = {
	.name = "mixtral",
	.help = "softmax over all experts, the k largest, always normalised",
	.scoring = "softmax",
	.source = "Mixtral of Experts, section 2",
	.reads = 0,
	.scratch = scratch_floats,
	.rows = route_rows,
};
