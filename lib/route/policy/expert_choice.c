/* Expert choice: softmax over experts, then every expert takes the `capacity` tokens of the group with the largest
 * probabilities there; equal ones: the earlier token. A token gets what took it, best first, weighed by the
 * probabilities as they are. Zhou et al. 2022, section 3.2. */
#include <math.h>
#include <stdlib.h>

#include "route/group.h"

static size_t scratch_floats(const struct moe_policy_params *params)
{
	(void)params;
	return 0;
}

static int32_t most(const struct moe_policy_params *params) { return params->n_experts; }

struct entry {
	float score;
	int64_t token;
};

static int by_score(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	return (x->token > y->token) - (x->token < y->token);
}

static enum moe_status route_group(const struct moe_policy_params *p, const float *logits, int64_t n_tokens,
                                   int32_t *ids, float *weights, struct moe_certificate *certificate,
                                   struct moe_err *err)
{
	const int32_t n = p->n_experts;
	const size_t n_scores = (size_t)n_tokens * (size_t)n;
	const int64_t take = p->capacity < n_tokens ? p->capacity : n_tokens;
	float *scores = malloc(n_scores * sizeof *scores), *taken = malloc(n_scores * sizeof *taken);
	struct entry *column = malloc((size_t)n_tokens * sizeof *column);
	enum moe_status status = MOE_OK;
	(void)certificate;
	if (!scores || !taken || !column)
		status = moe_err_nomem(err, 2 * n_scores * sizeof *scores, "the scores of a group of tokens");
	for (int64_t t = 0; t < n_tokens && !status; t++)
		moe_softmax(logits + t * n, n, scores + t * n);
	for (size_t i = 0; i < n_scores && !status; i++)
		taken[i] = -INFINITY;
	for (int32_t e = 0; e < n && !status; e++) {
		for (int64_t t = 0; t < n_tokens; t++)
			column[t] = (struct entry){ scores[t * n + e], t };
		qsort(column, (size_t)n_tokens, sizeof *column, by_score);
		for (int64_t i = 0; i < take; i++)
			taken[column[i].token * n + e] = column[i].score;
	}
	for (int64_t t = 0; t < n_tokens && !status; t++) {
		moe_top_k(taken + t * n, n, n, ids + t * n);
		for (int32_t c = 0; c < n; c++)
			weights[t * n + c] = ids[t * n + c] < 0 ? 0 : taken[t * n + ids[t * n + c]];
	}
	free(scores);
	free(taken);
	free(column);
	return status;
}

const struct moe_policy moe_policy_expert_choice = {
	.name = "expert_choice",
	.help = "every expert takes its T k / E best tokens of a group (--capacity in place of k)",
	.scoring = "softmax",
	.source = "Expert Choice Routing (Zhou et al. 2022), section 3.2",
	.reads = 0,
	.scratch = scratch_floats,
	.group = route_group,
	.most = most,
};
