/* Expert capacity in a running model: that of an ablation, or else the model's own. Queues go on from pass to pass, so
 * that nothing depends on chunks; where a group is a sequence, its T is what is given, not what is generated. */
#include <stdlib.h>
#include <string.h>

#include "forward/session.h"

static struct moe_capacity capacity_of(const struct moe_session *s)
{
	const struct moe_capacity own = { .choices = s->model->config.router.capacity };
	return moe_capacity_is_set(&s->opts.ablation.capacity) ? s->opts.ablation.capacity : own;
}

enum moe_status moe_capacity_open(struct moe_session *s, struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const struct moe_capacity capacity = capacity_of(s);
	const size_t n = (size_t)config->n_layers, n_experts = (size_t)config->n_experts;
	if (!moe_capacity_is_set(&capacity))
		return MOE_OK;
	s->capacity.taken = calloc(n * n_experts + 1, sizeof *s->capacity.taken);
	s->capacity.queues = calloc(n + 1, sizeof *s->capacity.queues);
	if (!s->capacity.taken || !s->capacity.queues)
		return moe_err_nomem(err, n * n_experts * sizeof *s->capacity.taken, "capacity counters");
	for (size_t l = 0; l < n; l++)
		s->capacity.queues[l].taken = s->capacity.taken + l * n_experts;
	moe_capacity_group(s, 0);
	return MOE_OK;
}

void moe_capacity_close(struct moe_session *s)
{
	free(s->capacity.taken);
	free(s->capacity.queues);
}

void moe_capacity_group(struct moe_session *s, int64_t n_tokens)
{
	const struct moe_capacity capacity = capacity_of(s);
	if (s->capacity.queues)
		s->capacity.limit = moe_capacity_choices(&capacity, s->top_k, s->model->config.n_experts,
		                                         capacity.group > 0 ? capacity.group : n_tokens);
}

void moe_capacity_again(struct moe_session *s)
{
	const struct moe_config *config = &s->model->config;
	for (int32_t l = 0; l < config->n_layers && s->capacity.queues && capacity_of(s).group == 0; l++)
		moe_queue_begin(&s->capacity.queues[l], config->n_experts);
}

void moe_capacity_begin(struct moe_session *s, int64_t n_given)
{
	moe_capacity_group(s, n_given);
	moe_capacity_again(s);
}

void moe_capacity_apply(struct moe_session *s, int32_t layer, int64_t n_tokens)
{
	if (s->capacity.queues && !s->model->config.layers[layer].mtp)
		moe_queue_take(&s->capacity.queues[layer], s->capacity.limit, capacity_of(s).group,
		               s->model->config.n_experts, s->top_k, n_tokens, s->ids, s->weights);
}
