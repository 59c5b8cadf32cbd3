/* Experts in turn: the token at position i takes those from i k on, round and round. */
#include <math.h>

#include "route/group.h"

static size_t scratch_floats(const struct moe_policy_params *params)
{
	(void)params;
	return 0;
}

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	const int32_t n = p->n_experts, k = p->top_k;
	(void)logits;
	(void)scratch;
	for (int64_t t = 0; t < n_tokens; t++, ids += k, weights += k) {
		const int64_t first = p->positions[t] % n * k;
		for (int32_t i = 0; i < k; i++) {
			ids[i] = (int32_t)((first + i) % n);
			weights[i] = 1.0f / (float)k;
		}
		if (margins)
			margins[t] = INFINITY;
	}
}

const struct moe_policy moe_policy_round_robin = {
	.name = "round_robin",
	.help = "experts in turn, by the position in the sequence, each with weight 1/k",
	.scoring = "",
	.source = "a baseline: as even as can be",
	.reads = MOE_NEEDS_PLACE,
	.scratch = scratch_floats,
	.rows = route_rows,
};
