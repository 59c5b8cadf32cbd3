/* The k largest logits, then softmax over them (gpt-oss, Granite-MoE, JetMoE). */
#include "route/group.h"

static size_t scratch_floats(const struct moe_policy_params *params) { return (size_t)params->n_experts; }

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	moe_choose_by_logits(p, logits, n_tokens, ids, weights, margins, scratch, moe_softmax);
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
