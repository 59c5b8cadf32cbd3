/* One transformer layer, in the order of the papers: x += mixer(norm x); x += ffn(norm x). */
#include <string.h>

#include "forward/session.h"

#define X(name) extern const struct moe_mixer moe_mixer_##name;
#include "gen/forward_mixer.h"
#undef X

static const struct moe_mixer *const mixers[] = {
#define X(name) &moe_mixer_##name,
#include "gen/forward_mixer.h"
#undef X
};

const struct moe_mixer *moe_mixer_by_name(const char *name)
{
	for (size_t i = 0; i < sizeof mixers / sizeof *mixers; i++)
		if (strcmp(mixers[i]->name, name) == 0)
			return mixers[i];
	return NULL;
}

/* Router logits of h, chosen experts and weights; told to the hook. */
static enum moe_status route(struct moe_session *s, int32_t index, const float *h, int64_t pos, int64_t n_tokens,
                             struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const struct moe_router_spec *spec = &config->router;
	const size_t n = (size_t)n_tokens * (size_t)config->n_experts;
	enum moe_status status =
	    s->device->ops->matmul(s->device, h, n_tokens, &s->model->layers[index].part[MOE_PART_ROUTER],
	                           s->router_logits, err);
	if (!status)
		status = s->device->ops->download(s->device, s->host_router, s->router_logits, n, err);
	if (status)
		return status;
	const struct moe_policy_params params = {
		.n_experts = config->n_experts,
		.top_k = spec->top_k,
		.n_groups = spec->n_groups,
		.top_groups = spec->top_groups,
		.group_score = s->policy->group_score,
		.scale = spec->scale,
		.normalize = spec->normalize,
		.bias = s->bias[index],
	};
	s->policy->rows(&params, s->host_router, n_tokens, s->ids, s->weights, s->opts.margins ? s->margins : NULL,
	                s->scratch);
	for (int64_t c = 0; c < n_tokens * spec->top_k; c++)
		if (s->ids[c] < 0)
			return moe_err_set(err, MOE_EFORMAT,
			                   "layer %d, position %lld: the router's outputs are not numbers",
			                   (int)index, (long long)(pos + c / spec->top_k));
	if (!s->opts.hooks.routing || config->layers[index].mtp)
		return MOE_OK;
	const struct moe_routing routing = {
		.layer = index,
		.n_experts = config->n_experts,
		.top_k = spec->top_k,
		.n_tokens = n_tokens,
		.ids = s->ids,
		.weights = s->weights,
		.logits = s->host_router,
		.margins = s->opts.margins ? s->margins : NULL,
	};
	return s->opts.hooks.routing(s->opts.hooks.arg, &routing, pos, err);
}

/* y = routed experts of h, then the shared experts added. */
static enum moe_status run_experts(struct moe_session *s, const struct moe_layer *layer, const float *h,
                                   int64_t n_tokens, struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const struct moe_experts_args args = {
		.x = h,
		.n_tokens = n_tokens,
		.hidden = config->hidden_size,
		.ffn = config->moe_intermediate_size,
		.n_experts = config->n_experts,
		.top_k = config->router.top_k,
		.ids = s->ids,
		.weights = s->weights,
		.gate = layer->expert_gate,
		.up = layer->expert_up,
		.down = layer->expert_down,
		.out = s->y,
	};
	enum moe_status status = s->device->ops->experts(s->device, &args, err);
	if (status || config->n_shared_experts == 0)
		return status;
	status = s->device->ops->ffn(s->device, h, n_tokens, &layer->part[MOE_PART_SHARED_GATE],
	                             &layer->part[MOE_PART_SHARED_UP], &layer->part[MOE_PART_SHARED_DOWN], s->z, err);
	/* The mixing gate is one number a token; the router's outputs are on the host by now, so their place is free. */
	if (!status && config->shared_gate)
		status = s->device->ops->matmul(s->device, h, n_tokens, &layer->part[MOE_PART_SHARED_MIX], s->router_logits,
		                                err);
	if (!status && config->shared_gate)
		status = s->device->ops->gate_rows(s->device, s->z, s->router_logits, config->hidden_size, n_tokens, err);
	if (!status)
		status = s->device->ops->add(s->device, s->y, s->z, n_tokens * config->hidden_size, err);
	return status;
}

enum moe_status moe_block_run(struct moe_session *s, int32_t index, float *x, int64_t pos, int64_t n_tokens,
                              bool generated, bool *stopped, struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const struct moe_device_ops *ops = s->device->ops;
	const struct moe_layer *layer = &s->model->layers[index];
	const struct moe_layer_kind *kind = &config->layers[index];
	const int64_t hidden = config->hidden_size, n = n_tokens * hidden;

	enum moe_status status = ops->rmsnorm(s->device, x, hidden, &layer->part[MOE_PART_ATTN_NORM], config->rms_eps,
	                                      n_tokens, s->h, hidden, err);
	if (!status)
		status = moe_mixer_by_name(kind->mixer)->run(s, index, s->h, pos, n_tokens, generated, s->y, err);
	if (!status)
		status = ops->add(s->device, x, s->y, n, err);
	if (!status)
		status = ops->rmsnorm(s->device, x, hidden, &layer->part[MOE_PART_FFN_NORM], config->rms_eps,
		                      n_tokens, s->h, hidden, err);
	if (status)
		return status;
	if (kind->ffn == MOE_FFN_DENSE) {
		status = ops->ffn(s->device, s->h, n_tokens, &layer->part[MOE_PART_GATE], &layer->part[MOE_PART_UP],
		                  &layer->part[MOE_PART_DOWN], s->y, err);
	} else {
		status = route(s, index, s->h, pos, n_tokens, err);
		if (status)
			return status;
		if (s->opts.routers_only && index == s->last_router) {
			*stopped = true;
			return MOE_OK;
		}
		status = run_experts(s, layer, s->h, n_tokens, err);
	}
	return status ? status : ops->add(s->device, x, s->y, n, err);
}
