/* The k largest logits, each weighed by its own sigmoid. In Llama 4 the weight scales the input of the expert. */
#include "route/group.h"

static size_t scratch_floats(const struct moe_policy_params *params) { return (size_t)params->n_experts; }

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	moe_choose_by_logits(p, logits, n_tokens, ids, weights, margins, scratch, moe_sigmoid);
}

const struct moe_policy moe_policy_llama4 = {
	.name = "llama4",
	.help = "the k largest logits, each with its own sigmoid",
	.scoring = "sigmoid",
	.source = "Llama 4, released code",
	.reads = 0,
	.scratch = scratch_floats,
	.rows = route_rows,
};
