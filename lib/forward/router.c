/* The router of one layer: logits, the policy, what an ablation changes about the choice, and whoever listens. */
#include <math.h>
#include <string.h>

#include "forward/session.h"

struct moe_policy_params moe_router_params(const struct moe_session *s, int32_t layer)
{
	const struct moe_router_spec *spec = &s->model->config.router;
	/* What only one policy reads is the model's own where that is its policy. */
	const bool foreign = s->policy && strcmp(s->policy->name, spec->policy) != 0;
	return (struct moe_policy_params){
		.n_experts = s->model->config.n_experts,
		.top_k = s->top_k,
		.n_groups = spec->n_groups,
		.top_groups = spec->top_groups,
		.group_score = s->policy ? s->policy->group_score : 0,
		.scale = spec->scale,
		.normalize = spec->normalize,
		.eps = foreign ? s->policy->eps : spec->eps,
		.p_norm = foreign ? s->policy->p_norm : spec->p_norm,
		.bias = s->router_bias && layer >= 0 ? s->router_bias[layer] : NULL,
		.kernel = moe_kernel_best(),
	};
}

/* Bars the n_top experts with the largest logits of each token (DeepSeekMoE report, section 4.5). */
static void mask_top(struct moe_session *s, int32_t n_top, int64_t n_tokens)
{
	const int32_t n = s->model->config.n_experts;
	for (int64_t t = 0; t < n_tokens; t++) {
		const float *logits = s->host_router + t * n;
		float *mask = s->mask + t * n;
		moe_top_k(logits, n, n_top, s->top_ids);
		for (int32_t i = 0; i < n_top; i++)
			if (s->top_ids[i] >= 0)
				mask[s->top_ids[i]] = -INFINITY;
	}
}

/* Bars every expert but the forced ones [n_tokens][top_k]. */
static void mask_others(struct moe_session *s, const int32_t *forced, int64_t n_tokens)
{
	const int32_t n = s->model->config.n_experts;
	for (int64_t i = 0; i < n_tokens * n; i++)
		s->mask[i] = -INFINITY;
	for (int64_t c = 0; c < n_tokens * s->top_k; c++)
		if (forced[c] >= 0)
			s->mask[c / s->top_k * n + forced[c]] = 0;
}

/* The mask of this layer's tokens, or NULL where nothing is barred. */
static const float *make_mask(struct moe_session *s, int32_t layer, int64_t n_tokens, const int32_t *forced)
{
	const struct moe_ablation *ablation = &s->opts.ablation;
	const int32_t n = s->model->config.n_experts;
	if (!s->mask || s->model->config.layers[layer].mtp)
		return NULL;
	if (forced) {
		mask_others(s, forced, n_tokens);
		return s->mask;
	}
	memset(s->mask, 0, (size_t)n_tokens * (size_t)n * sizeof *s->mask);
	for (int64_t i = 0; ablation->disabled && i < n_tokens * n; i++)
		s->mask[i] = ablation->disabled[(int64_t)layer * n + i % n] ? -INFINITY : 0;
	if (ablation->mask_top > 0)
		mask_top(s, (int32_t)lround(ablation->mask_top * n), n_tokens);
	return s->mask;
}

static enum moe_status check_chosen(const struct moe_session *s, int32_t layer, int64_t pos, int64_t n_tokens,
                                    const int32_t *forced, struct moe_err *err)
{
	for (int64_t c = 0; c < n_tokens * s->top_k; c++) {
		if (s->ids[c] >= 0 || (forced && forced[c] < 0))
			continue;
		if (s->mask && !isnan(s->host_router[c / s->top_k * s->model->config.n_experts]))
			return moe_err_set(err, MOE_EUSAGE,
			                   "layer %d, position %lld: fewer than %d experts are left to choose",
			                   (int)layer, (long long)(pos + c / s->top_k), (int)s->top_k);
		return moe_err_set(err, MOE_EFORMAT, "layer %d, position %lld: the router's outputs are not numbers",
		                   (int)layer, (long long)(pos + c / s->top_k));
	}
	return MOE_OK;
}

/* The policy on the logits of these tokens; forced choices keep the policy's rule for the weights. */
static enum moe_status choose(struct moe_session *s, int32_t layer, int64_t pos, int64_t n_tokens,
                              struct moe_err *err)
{
	const struct moe_ablation *ablation = &s->opts.ablation;
	const bool mtp = s->model->config.layers[layer].mtp;
	const int32_t *forced = NULL;
	const float *gates = NULL;
	if (ablation->forced && !mtp) {
		enum moe_status status = ablation->forced(ablation->arg, layer, pos, n_tokens, &forced, &gates, err);
		if (status)
			return status;
	}
	struct moe_policy_params params = moe_router_params(s, layer);
	params.mask = make_mask(s, layer, n_tokens, forced);
	if (forced)
		params.n_groups = params.top_groups = 1;
	s->policy->rows(&params, s->host_router, n_tokens, s->ids, s->weights, s->opts.margins ? s->margins : NULL,
	                s->scratch);
	if (gates) {
		memcpy(s->ids, forced, (size_t)n_tokens * (size_t)s->top_k * sizeof *s->ids);
		memcpy(s->weights, gates, (size_t)n_tokens * (size_t)s->top_k * sizeof *s->weights);
	}
	return check_chosen(s, layer, pos, n_tokens, forced, err);
}

enum moe_status moe_router_run(struct moe_session *s, int32_t index, const float *h, int64_t pos, int64_t n_tokens,
                               struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const struct moe_device_ops *ops = s->device->ops;
	const struct moe_weight *bias = &s->model->layers[index].part[MOE_PART_ROUTER_LOGIT_BIAS];
	const size_t n = (size_t)n_tokens * (size_t)config->n_experts;
	enum moe_status status = ops->matmul(s->device, h, n_tokens, &s->model->layers[index].part[MOE_PART_ROUTER],
	                                     s->router_logits, err);
	if (!status && bias->data)
		status = ops->add_bias(s->device, s->router_logits, config->n_experts, bias, n_tokens, err);
	if (!status)
		status = ops->download(s->device, s->host_router, s->router_logits, n, err);
	if (!status)
		status = choose(s, index, pos, n_tokens, err);
	if (!status)
		moe_capacity_apply(s, index, n_tokens);
	if (status || !s->opts.hooks.routing)
		return status;
	const struct moe_routing routing = {
		.layer = index,
		.n_experts = config->n_experts,
		.top_k = s->top_k,
		.n_tokens = n_tokens,
		.ids = s->ids,
		.weights = s->weights,
		.logits = s->host_router,
		.margins = s->opts.margins ? s->margins : NULL,
	};
	return s->opts.hooks.routing(s->opts.hooks.arg, &routing, pos, err);
}
