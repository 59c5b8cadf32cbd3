/* A whole group of tokens queues up for places with experts, in any order that a capacity may name. */
#include <stdlib.h>

#include "route/draws.h"
#include "route/route.h"

bool moe_capacity_exempts(const struct moe_capacity *capacity, uint64_t seed, int64_t seq)
{
	return moe_rng_f64(moe_token_key(seed, 0, seq, 0), MOE_DRAW_EXEMPT, 0) < capacity->exempt;
}

/* A choice in the queue: the lesser first. */
struct waiting {
	bool late;     /* not exempt */
	double rank;
	int64_t order; /* of the tokens, then of a token's choices */
	int64_t at;    /* token * top_k + choice */
};

static int compare(const void *a, const void *b)
{
	const struct waiting *x = a, *y = b;
	if (x->late != y->late)
		return x->late ? 1 : -1;
	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return (x->order > y->order) - (x->order < y->order);
}

/* order [n_tokens]: the place of each token, by falling priority. Uses `list` [n_tokens]. */
static void order_tokens(const struct moe_group *group, struct waiting *list, int64_t *order)
{
	for (int64_t t = 0; t < group->n_tokens; t++)
		list[t] = (struct waiting){ .rank = -group->priority[t], .order = t };
	qsort(list, (size_t)group->n_tokens, sizeof *list, compare);
	for (int64_t i = 0; i < group->n_tokens; i++)
		order[list[i].order] = i;
}

static double rank_of(const struct moe_capacity *capacity, const struct moe_group *group, int64_t t, int32_t c)
{
	switch (capacity->drop) {
	case MOE_DROP_CHOICE:
		return c;
	case MOE_DROP_PROB:
		return -(double)group->weights[t * group->top_k + c];
	case MOE_DROP_RANDOM:
		return moe_rng_f64(group->keys[t], MOE_DRAW_DROP, (uint64_t)c);
	default:
		return 0;
	}
}

/* The sum of the weights of every token stays what it was, where anything is left. */
static void rescale(const struct moe_group *group, const float *before)
{
	const int32_t k = group->top_k;
	for (int64_t t = 0; t < group->n_tokens; t++) {
		float *weights = group->weights + t * k, sum = 0;
		for (int32_t c = 0; c < k; c++)
			sum += weights[c];
		for (int32_t c = 0; c < k && sum > 0 && sum != before[t]; c++)
			weights[c] *= before[t] / sum;
	}
}

static void take(const struct moe_capacity *capacity, int64_t choices, const struct moe_group *group,
                 const struct waiting *list, int64_t n, int64_t *taken)
{
	const int32_t per_queue = capacity->n_devices ? group->n_experts / capacity->n_devices : 1;
	for (int64_t i = 0; i < n; i++)
		if (taken[group->ids[list[i].at] / per_queue]++ >= choices && list[i].late)
			group->weights[list[i].at] = 0;
}

enum moe_status moe_group_limit(const struct moe_capacity *capacity, int64_t choices, const struct moe_group *group,
                                struct moe_err *err)
{
	const int64_t n_tokens = group->n_tokens;
	const int32_t k = group->top_k;
	const size_t n_choices = (size_t)n_tokens * (size_t)k;
	struct waiting *list = malloc((n_choices + 1) * sizeof *list);
	int64_t *order = malloc(((size_t)n_tokens + 1) * sizeof *order), n = 0;
	float *before = calloc((size_t)n_tokens + 1, sizeof *before);
	int64_t *taken = calloc((size_t)group->n_experts + 1, sizeof *taken);
	enum moe_status status = MOE_OK;
	if (!list || !order || !before || !taken) {
		status = moe_err_nomem(err, n_choices * sizeof *list, "the choices of a group of tokens");
		goto out;
	}
	for (int64_t t = 0; t < n_tokens; t++)
		order[t] = t;
	if (capacity->priority == MOE_PRIORITY_BATCH)
		order_tokens(group, list, order);
	for (int64_t t = 0; t < n_tokens; t++)
		for (int32_t c = 0; c < k; c++) {
			before[t] += group->weights[t * k + c];
			if (group->ids[t * k + c] >= 0)
				list[n++] = (struct waiting){ .late = !group->exempt || !group->exempt[t],
					                      .rank = rank_of(capacity, group, t, c),
					                      .order = order[t] * k + c,
					                      .at = t * k + c };
		}
	qsort(list, (size_t)n, sizeof *list, compare);
	take(capacity, choices, group, list, n, taken);
	if (capacity->rescale)
		rescale(group, before);
out:
	free(list);
	free(order);
	free(before);
	free(taken);
	return status;
}
