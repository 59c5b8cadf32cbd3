/* The k largest logits, then softmax over them (gpt-oss, Granite-MoE, JetMoE). */
#include <string.h>

#include "route/group.h"

static size_t scratch_floats(const struct moe_policy_params *params) { return (size_t)params->n_experts; }

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

const struct moe_policy moe_policy_topk_softmax = {
	.name = "topk_softmax",
	.help = "the k largest logits, then softmax over the chosen",
	.scoring = "softmax",
	.source = "gpt-oss model card, section 2; Granite-MoE",
	.reads = 0,
	.scratch = scratch_floats,
	.rows = route_rows,
};
