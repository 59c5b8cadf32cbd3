/* Noisy top-k gating: softmax over the k largest of logits with noise (Shazeer et al. 2017, section 2.1). The noise is
 * put on the logits before any policy; its deviation there is a second projection of the token, softplus(x W), which no
 * trace holds: ln 2, where it begins with W = 0. Without noise it is what a trained model does. */
#include "route/kernel.h"

static const struct moe_rule rule = { .score = MOE_RULE_LOGIT, .weigh = MOE_RULE_SOFTMAX, .clear = true };

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	moe_choose_rows(p, &rule, logits, n_tokens, ids, weights, margins, scratch);
}

const struct moe_policy moe_policy_noisy_topk = {
	.name = "noisy_topk",
	.help = "softmax over the k largest of logits with noise (--noise)",
	.scoring = "softmax",
	.source = "Sparsely-Gated Mixture-of-Experts (Shazeer et al. 2017), section 2.1",
	.reads = 0,
	.noise = 0.6931471805599453,
	.scratch = moe_choose_scratch,
	.rows = route_rows,
};
