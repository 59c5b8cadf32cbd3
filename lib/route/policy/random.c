/* Experts drawn by chance, all alike, whatever the logits: the balance that a router without knowledge has. */
#include <math.h>

#include "route/draws.h"
#include "route/group.h"

static size_t scratch_floats(const struct moe_policy_params *params)
{
	(void)params;
	return 0;
}

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	const int32_t k = p->top_k;
	(void)logits;
	(void)scratch;
	for (int64_t t = 0; t < n_tokens; t++, ids += k, weights += k) {
		moe_draw_experts(p->keys[t], p->n_experts, k, ids);
		for (int32_t i = 0; i < k; i++)
			weights[i] = 1.0f / (float)k;
		if (margins)
			margins[t] = INFINITY;
	}
}

const struct moe_policy moe_policy_random = {
	.name = "random",
	.help = "experts drawn by chance (--seed), each with weight 1/k",
	.scoring = "",
	.source = "THOR (Zuo et al. 2022), section 3",
	.reads = MOE_NEEDS_PLACE,
	.scratch = scratch_floats,
	.rows = route_rows,
};
