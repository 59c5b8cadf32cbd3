/* SparseMixer as PhiMoE runs it: the choices are made one after the other. With m the largest score left, a score s
 * takes part in the softmax that weighs it iff (m - s) / max(|s|, m) <= 2 eps; weights are not normalised together.
 * Liu, Gao, Chen 2023; PhiMoE, released code. */
#include <math.h>
#include <string.h>

#include "route/exp.h"
#include "route/group.h"
#include "route/kernel.h"

/* Softmax of the best among the scores left (-infinity: gone) that come near it. */
static float weigh(const float *scores, const float *left, int32_t n, int32_t best, float eps)
{
	const float max = scores[best], far_from = 2 * eps;
	float sum = 0;
	for (int32_t from = 0; from < n; from += MOE_SUM_RUN) {
		float run = 0;
		for (int32_t i = from; i < n && i < from + MOE_SUM_RUN; i++)
			if (!((max - scores[i]) / fmaxf(fabsf(scores[i]), max) > far_from))
				run += moe_exp(left[i] - max);
		sum += run;
	}
	return 1.0f / sum;
}

/* The order of the choices matters to the weights, so the gaps between them count as well. */
static float order_margin(const float *left, const float *logits, int32_t n, const int32_t *ids, int32_t k)
{
	float margin = INFINITY, next = -INFINITY;
	for (int32_t i = 0; i < n; i++)
		next = left[i] > next ? left[i] : next;
	if (ids[k - 1] >= 0 && next > -INFINITY)
		margin = logits[ids[k - 1]] - next;
	for (int32_t i = 0; i + 1 < k && ids[i + 1] >= 0; i++) {
		const float gap = logits[ids[i]] - logits[ids[i + 1]];
		margin = gap < margin ? gap : margin;
	}
	return margin;
}

static void route_one(const struct moe_policy_params *p, int64_t t, const float *logits, int32_t *ids, float *weights,
                      float *margins, float *scratch)
{
	const int32_t n = p->n_experts, k = p->top_k;
	float *choice = scratch, *left = scratch + n; /* a mask bars choices; weights still know all scores */
	memcpy(choice, logits, (size_t)n * sizeof *choice);
	memcpy(left, logits, (size_t)n * sizeof *left);
	moe_choice_mask(p, t, choice);
	moe_top_k(choice, n, k, ids);
	for (int32_t i = 0; i < k; i++) {
		weights[i] = ids[i] < 0 ? 0 : weigh(logits, left, n, ids[i], (float)p->eps);
		if (ids[i] >= 0)
			choice[ids[i]] = left[ids[i]] = -INFINITY;
	}
	if (margins)
		margins[t] = order_margin(choice, logits, n, ids, k);
}

static const struct moe_rule rule = { .weigh = MOE_RULE_NEAR, .one = route_one };

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	moe_choose_rows(p, &rule, logits, n_tokens, ids, weights, margins, scratch);
}

const struct moe_policy moe_policy_sparsemixer = {
	.name = "sparsemixer",
	.help = "one choice after the other, each weighed by a softmax over scores near it",
	.scoring = "softmax",
	.source = "PhiMoE, released code",
	.reads = MOE_READS_EPS,
	.eps = 0.01,
	.scratch = moe_choose_scratch,
	.rows = route_rows,
};
