/* Noisy top-k gating: softmax over the k largest of logits with noise (Shazeer et al. 2017, section 2.1). The noise is
 * put on the logits before any policy; its deviation there is a second projection of the token, softplus(x W), which no
 * trace holds: ln 2, where it begins with W = 0. Without noise it is what a trained model does. */
#include <string.h>

#include "route/group.h"

static size_t scratch_floats(const struct moe_policy_params *params) { return 2 * (size_t)params->n_experts; }

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	const int32_t n = p->n_experts, k = p->top_k;
	for (int64_t t = 0; t < n_tokens; t++, logits += n, ids += k, weights += k) {
		memcpy(scratch, logits, (size_t)n * sizeof *scratch);
		moe_choose(p, t, scratch, logits, NULL, ids, weights, margins);
		moe_softmax(weights, k, weights);
		moe_clear_unchosen(ids, k, weights);
	}
}

const struct moe_policy moe_policy_noisy_topk = {
	.name = "noisy_topk",
	.help = "softmax over the k largest of logits with noise (--noise)",
	.scoring = "softmax",
	.source = "Sparsely-Gated Mixture-of-Experts (Shazeer et al. 2017), section 2.1",
	.reads = 0,
	.noise = 0.6931471805599453,
	.scratch = scratch_floats,
	.rows = route_rows,
};
