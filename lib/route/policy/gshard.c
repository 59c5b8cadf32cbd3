/* GShard's top-2 gate (Lepikhin et al. 2020, algorithm 1; NLLB-MoE): softmax over all experts, the best, and behind it
 * the second, which may be left out by chance; the weights are divided by their sum. What an expert has no room for is
 * decided behind it, for groups of tokens, first choices before second ones. */
#include <math.h>
#include <string.h>

#include "route/draws.h"
#include "route/group.h"

static size_t scratch_floats(const struct moe_policy_params *params) { return 2 * (size_t)params->n_experts; }

/* The choices behind the first are drawn one by one, with chances as their scores: the largest of logits with Gumbel
 * noise (NLLB's sampling). */
static void sample(const struct moe_policy_params *p, int64_t t, const float *logits, float *choice, int32_t *ids)
{
	const int32_t n = p->n_experts;
	for (int32_t e = 0; e < n; e++) {
		const double u = moe_rng_f64(p->keys[t], MOE_DRAW_SECOND, (uint64_t)e) + 0x1p-54;
		choice[e] = e == ids[0] || isnan(logits[e]) ? -INFINITY : (float)(logits[e] - log(-log(u)));
	}
	moe_choice_mask(p, t, choice);
	moe_top_k(choice, n, p->top_k - 1, ids + 1);
}

/* Is choice c sent? The paper asks 2p of the chosen alone, NLLB 2p. */
static bool is_sent(const struct moe_policy_params *p, int64_t t, int32_t c, double weight, double sum)
{
	const double u = p->uniform ? p->uniform[t] : moe_rng_f64(p->keys[t], MOE_DRAW_SECOND, (uint64_t)c);
	return 2 * (p->second == MOE_SECOND_RANDOM_PAIR ? weight / sum : weight) > u;
}

static void route_rows(const struct moe_policy_params *p, const float *logits, int64_t n_tokens, int32_t *ids,
                       float *weights, float *margins, float *scratch)
{
	const int32_t n = p->n_experts, k = p->top_k;
	float *scores = scratch, *choice = scratch + n;
	for (int64_t t = 0; t < n_tokens; t++, logits += n, ids += k, weights += k) {
		moe_softmax(logits, n, scores);
		memcpy(choice, logits, (size_t)n * sizeof *choice);
		float sum = moe_choose(p, t, choice, scores, NULL, ids, weights, margins);
		if (p->second == MOE_SECOND_SAMPLING && ids[0] >= 0) {
			sample(p, t, logits, choice, ids);
			sum = 0;
			for (int32_t c = 0; c < k; c++)
				sum += weights[c] = ids[c] < 0 ? 0 : scores[ids[c]];
		}
		float sent = sum;
		if (p->second == MOE_SECOND_RANDOM || p->second == MOE_SECOND_RANDOM_PAIR)
			for (int32_t c = 1; c < k; c++)
				if (ids[c] >= 0 && !is_sent(p, t, c, weights[c], sum)) {
					sent -= weights[c];
					ids[c] = -1;
				}
		/* where weights are divided first, a second expert that is left out takes its part along */
		const float by = fmaxf(p->normalize ? sum : sent, 1.1920929e-7f);
		for (int32_t c = 0; c < k; c++)
			weights[c] /= by;
		moe_clear_unchosen(ids, k, weights);
	}
}

const struct moe_policy moe_policy_gshard = {
	.name = "gshard",
	.help = "softmax, the best and a second that may be left out (--second), divided by their sum",
	.scoring = "softmax",
	.source = "GShard (Lepikhin et al. 2020), algorithm 1",
	.reads = MOE_READS_SECOND,
	.top_k = 2,
	.drop = MOE_DROP_CHOICE,
	.rescale = true,
	.scratch = scratch_floats,
	.rows = route_rows,
};
