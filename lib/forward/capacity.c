/* Expert capacity: in a group of T tokens an expert takes at most C choices, the earlier ones (GShard, Switch):
 *
 *   C = ceil(CF top_k T / E), or a number that is given, or the model's own
 *
 * A group is a sequence, or so many tokens in the order they are fed, across sequences. Counters go on from pass to
 * pass, so that nothing depends on chunks. A choice that finds no room keeps its id and weighs 0. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "forward/session.h"

static bool is_limited(const struct moe_session *s)
{
	return s->opts.ablation.capacity > 0 || s->opts.ablation.capacity_tokens > 0 ||
	       s->model->config.router.capacity > 0;
}

enum moe_status moe_capacity_open(struct moe_session *s, struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const size_t n = (size_t)config->n_layers;
	if (!is_limited(s))
		return MOE_OK;
	s->capacity.taken = calloc(n * (size_t)config->n_experts + 1, sizeof *s->capacity.taken);
	s->capacity.n_in_group = calloc(n + 1, sizeof *s->capacity.n_in_group);
	if (!s->capacity.taken || !s->capacity.n_in_group)
		return moe_err_nomem(err, n * (size_t)config->n_experts * sizeof *s->capacity.taken,
		                     "capacity counters");
	moe_capacity_group(s, 0);
	return MOE_OK;
}

void moe_capacity_close(struct moe_session *s)
{
	free(s->capacity.taken);
	free(s->capacity.n_in_group);
}

static int64_t limit_of(const struct moe_session *s, int64_t n_tokens)
{
	const struct moe_ablation *a = &s->opts.ablation;
	if (a->capacity_tokens > 0)
		return a->capacity_tokens;
	if (!(a->capacity > 0))
		return s->model->config.router.capacity;
	return (int64_t)ceil(a->capacity * s->top_k * (double)n_tokens / s->model->config.n_experts);
}

void moe_capacity_group(struct moe_session *s, int64_t n_tokens)
{
	const int64_t group = s->opts.ablation.capacity_group;
	if (s->capacity.taken)
		s->capacity.limit = limit_of(s, group > 0 ? group : n_tokens);
}

void moe_capacity_begin(struct moe_session *s, int64_t n_given)
{
	const struct moe_config *config = &s->model->config;
	const int64_t group = s->opts.ablation.capacity_group;
	if (!s->capacity.taken)
		return;
	moe_capacity_group(s, n_given);
	if (group == 0)
		memset(s->capacity.taken, 0,
		       (size_t)config->n_layers * (size_t)config->n_experts * sizeof *s->capacity.taken);
}

void moe_capacity_apply(struct moe_session *s, int32_t layer, int64_t n_tokens)
{
	const int32_t n = s->model->config.n_experts;
	const int64_t group = s->opts.ablation.capacity_group;
	if (!s->capacity.taken || s->model->config.layers[layer].mtp)
		return;
	int64_t *taken = s->capacity.taken + (int64_t)layer * n, *n_in_group = &s->capacity.n_in_group[layer];
	for (int64_t t = 0; t < n_tokens; t++) {
		if (group > 0 && *n_in_group == group) {
			memset(taken, 0, (size_t)n * sizeof *taken);
			*n_in_group = 0;
		}
		++*n_in_group;
		for (int64_t c = t * s->top_k; c < (t + 1) * s->top_k; c++)
			if (s->ids[c] >= 0 && taken[s->ids[c]]++ >= s->capacity.limit)
				s->weights[c] = 0;
	}
}
