/* Hash layers: the experts of a token are those of its id, fixed, with equal weights. Roller et al. 2021, section 3.
 * Without a table they are drawn by the id: the same for one id in every layer and every place. */
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
		const int64_t token = p->tokens[t];
		if (p->table || token < 0)
			moe_choice_table(p, t, ids);
		else
			moe_draw_experts(moe_rng_u64(p->seed, MOE_DRAW_TABLE, (uint64_t)token), p->n_experts, k, ids);
		for (int32_t i = 0; i < k; i++)
			weights[i] = ids[i] < 0 ? 0 : 1.0f / (float)k;
		if (margins)
			margins[t] = INFINITY;
	}
}

const struct moe_policy moe_policy_hash = {
	.name = "hash",
	.help = "experts of the token's id, from a table or drawn (--seed), each with weight 1/k",
	.scoring = "",
	.source = "Hash Layers (Roller et al. 2021), section 3",
	.reads = MOE_READS_TABLE | MOE_NEEDS_TOKENS,
	.top_k = 1,
	.scratch = scratch_floats,
	.rows = route_rows,
};
