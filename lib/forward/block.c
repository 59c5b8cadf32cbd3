/* One transformer layer, in the order of the papers: x += mixer(norm x); behind an encoder x += cross(norm x);
 * x += ffn(norm x). */
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
		.top_k = s->top_k,
		.ids = s->ids,
		.weights = s->weights,
		.scales_input = config->router.scales_input,
		.gate = layer->expert_gate,
		.up = layer->expert_up,
		.down = layer->expert_down,
		.gate_bias = layer->expert_gate_bias,
		.up_bias = layer->expert_up_bias,
		.down_bias = layer->expert_down_bias,
		.glu = { (float)config->swiglu_limit, (float)config->swiglu_alpha },
		.out = s->y,
	};
	enum moe_status status = s->device->ops->experts(s->device, &args, err);
	if (status || config->n_shared_experts == 0 || s->opts.ablation.no_shared)
		return status;
	status = s->device->ops->ffn(s->device, h, n_tokens, &layer->part[MOE_PART_SHARED_GATE],
	                             &layer->part[MOE_PART_SHARED_UP], &layer->part[MOE_PART_SHARED_DOWN], s->z, err);
	/* The mixing gate is one number a token; the router's outputs are on the host by now: their place is free. */
	if (!status && config->shared_gate)
		status = s->device->ops->matmul(s->device, h, n_tokens, &layer->part[MOE_PART_SHARED_MIX],
		                                s->router_logits, err);
	if (!status && config->shared_gate)
		status =
		    s->device->ops->gate_rows(s->device, s->z, s->router_logits, config->hidden_size, n_tokens, err);
	if (!status)
		status = s->device->ops->add(s->device, s->y, s->z, n_tokens * config->hidden_size, err);
	return status;
}

enum moe_status moe_block_norm(struct moe_session *s, const float *x, const struct moe_weight *w,
                               const struct moe_weight *bias, int64_t n_tokens, float *out, struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const struct moe_device_ops *ops = s->device->ops;
	const int64_t hidden = config->hidden_size;

	if (!config->layer_norm)
		return ops->rmsnorm(s->device, x, hidden, w, config->rms_eps, n_tokens, out, hidden, err);
	enum moe_status status = ops->layernorm(s->device, x, w, config->rms_eps, n_tokens, out, err);
	if (!status && bias->data)
		status = ops->add_bias(s->device, out, hidden, bias, n_tokens, err);
	return status;
}

/* x += what a branch gave. */
static enum moe_status join(struct moe_session *s, float *x, float *branch, int64_t n, struct moe_err *err)
{
	const double scale = s->model->config.residual_scale;
	enum moe_status status = MOE_OK;
	if (scale != 0)
		status = s->device->ops->scale(s->device, branch, n, scale, err);
	return status ? status : s->device->ops->add(s->device, x, branch, n, err);
}

enum moe_status moe_block_run(struct moe_session *s, int32_t index, float *x, int64_t pos, int64_t n_tokens,
                              bool generated, bool *stopped, struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const struct moe_device_ops *ops = s->device->ops;
	const struct moe_layer *layer = &s->model->layers[index];
	const struct moe_layer_kind *kind = &config->layers[index];
	const struct moe_weight no_bias = { 0 };
	const int64_t n = n_tokens * config->hidden_size;

	enum moe_status status = moe_block_norm(s, x, &layer->part[MOE_PART_ATTN_NORM],
	                                        &layer->part[MOE_PART_ATTN_NORM_BIAS], n_tokens, s->h, err);
	if (!status)
		status = moe_mixer_by_name(kind->mixer)->run(s, index, s->h, pos, n_tokens, generated, s->y, err);
	if (!status)
		status = join(s, x, s->y, n, err);
	if (!status && kind->cross)
		status = moe_block_norm(s, x, &layer->part[MOE_PART_CROSS_NORM], &no_bias, n_tokens, s->h, err);
	if (!status && kind->cross)
		status = moe_cross_run(s, index, s->h, n_tokens, s->y, err);
	if (!status && kind->cross)
		status = join(s, x, s->y, n, err);
	if (!status)
		status = moe_block_norm(s, x, &layer->part[MOE_PART_FFN_NORM], &layer->part[MOE_PART_FFN_NORM_BIAS],
		                        n_tokens, s->h, err);
	if (status)
		return status;
	if (kind->ffn == MOE_FFN_DENSE) {
		status = ops->ffn(s->device, s->h, n_tokens, &layer->part[MOE_PART_GATE], &layer->part[MOE_PART_UP],
		                  &layer->part[MOE_PART_DOWN], s->y, err);
	} else {
		status = moe_router_run(s, index, s->h, pos, n_tokens, err);
		if (status)
			return status;
		if (s->opts.routers_only && index == s->last_router) {
			*stopped = true;
			return MOE_OK;
		}
		status = run_experts(s, layer, s->h, n_tokens, err);
	}
	return status ? status : join(s, x, s->y, n, err);
}
