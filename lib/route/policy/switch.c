/* Softmax over all experts; the best one, weighed by its probability as it is. Switch Transformers (Fedus et al. 2022),
 * section 2.1. Which tokens an expert has no room for depends on those before them: whoever holds the sequence says. */
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
		moe_choose(p, t, choice, scratch, NULL, ids, weights, margins);
	}
}

const struct moe_policy moe_policy_switch = {
	.name = "switch",
	.help = "softmax over all experts, the best one with its probability",
	.scoring = "softmax",
	.source = "Switch Transformers, section 2.1",
	.reads = 0,
	.scratch = scratch_floats,
	.rows = route_rows,
};
