/* Softmax over all experts; the best one, weighed by its probability as it is. Switch Transformers (Fedus et al. 2022),
 * section 2.1. Which tokens an expert has no room for depends on those before them: whoever holds the sequence says. */
#include "route/kernel.h"

static const struct moe_rule rule = { .score = MOE_RULE_SOFTMAX };

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	moe_choose_rows(p, &rule, logits, n_tokens, ids, weights, margins, scratch);
}

const struct moe_policy moe_policy_switch = {
	.name = "switch",
	.help = "softmax over all experts, the best one with its probability",
	.scoring = "softmax",
	.source = "Switch Transformers, section 2.1",
	.reads = 0,
	.scratch = moe_choose_scratch,
	.rows = route_rows,
};
