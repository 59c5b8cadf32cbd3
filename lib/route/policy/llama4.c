/* The k largest logits, each weighed by its own sigmoid. In Llama 4 the weight scales the input of the expert. */
#include "route/kernel.h"

static const struct moe_rule rule = { .score = MOE_RULE_LOGIT, .weigh = MOE_RULE_SIGMOID, .clear = true };

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	moe_choose_rows(p, &rule, logits, n_tokens, ids, weights, margins, scratch);
}

const struct moe_policy moe_policy_llama4 = {
	.name = "llama4",
	.help = "the k largest logits, each with its own sigmoid",
	.scoring = "sigmoid",
	.source = "Llama 4, released code",
	.reads = 0,
	.scratch = moe_choose_scratch,
	.rows = route_rows,
};
