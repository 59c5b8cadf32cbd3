/* The k largest logits, then softmax over them (gpt-oss, Granite-MoE, JetMoE). */
#include "route/kernel.h"

static const struct moe_rule rule = { .score = MOE_RULE_LOGIT, .weigh = MOE_RULE_SOFTMAX, .clear = true };

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	moe_choose_rows(p, &rule, logits, n_tokens, ids, weights, margins, scratch);
}

const struct moe_policy moe_policy_topk_softmax = {
	.name = "topk_softmax",
	.help = "the k largest logits, then softmax over the chosen",
	.scoring = "softmax",
	.source = "gpt-oss model card, section 2; Granite-MoE",
	.reads = 0,
	.scratch = moe_choose_scratch,
	.rows = route_rows,
};
