/* The lightning indexer (DeepSeek-V3.2-Exp report, section 2.1): which positions latent attention reads.
 *
 *   k = rope(LayerNorm(W_k x)), cached;   q_h = rope(W_q u), u the queries' latent behind its norm
 *   g = W_g x / sqrt(heads);   score(t, s) = sum over h of g_h(t) relu(q_h(t) . k(s) / sqrt(head_dim))
 *
 * The rotation takes the first numbers of each head. A token that sees no more than index_top_k positions reads all
 * of them, so a session that has no more room than that does without. */
#include <math.h>

#include "forward/session.h"

bool moe_indexer_needed(const struct moe_config *config, int64_t n_ctx)
{
	return config->index_top_k > 0 && n_ctx > config->index_top_k;
}

int64_t moe_indexer_work_elems(const struct moe_config *config)
{
	return config->index_n_heads * ((int64_t)config->index_head_dim + 1);
}

static enum moe_status rotate(struct moe_session *s, float *x, int32_t n_heads, int64_t pos, int64_t n_tokens,
                              struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const struct moe_rope_args args = {
		.x = x,
		.n_tokens = n_tokens,
		.token_stride = (int64_t)n_heads * config->index_head_dim,
		.n_heads = n_heads,
		.head_stride = config->index_head_dim,
		.n_dims = config->rope.n_dims,
		.interleaved = config->index_interleaved,
		.cos = s->cos + s->rope_at,
		.sin = s->sin + s->rope_at,
		.pos0 = pos,
	};
	return s->device->ops->rope(s->device, &args, err);
}

/* Keys of the new tokens, appended to keys [n_ctx][index_head_dim]. */
static enum moe_status extend_keys(struct moe_session *s, const struct moe_layer *layer, const float *x, int64_t pos,
                                   int64_t n_tokens, float *keys, struct moe_err *err)
{
	const struct moe_device_ops *ops = s->device->ops;
	const struct moe_config *config = &s->model->config;
	float *to = keys + pos * config->index_head_dim;
	enum moe_status status = ops->matmul(s->device, x, n_tokens, &layer->part[MOE_PART_INDEX_K], to, err);
	if (!status)
		status = ops->layernorm(s->device, to, &layer->part[MOE_PART_INDEX_K_NORM], config->mla_norm_eps,
		                        n_tokens, to, err);
	if (!status)
		status = ops->add_bias(s->device, to, config->index_head_dim,
		                       &layer->part[MOE_PART_INDEX_K_NORM_BIAS], n_tokens, err);
	return status ? status : rotate(s, to, 1, pos, n_tokens, err);
}

/* The choice of the new tokens into s->visible. */
static enum moe_status choose(struct moe_session *s, const struct moe_layer *layer, const float *x, const float *latent,
                              int64_t pos, int64_t n_tokens, const float *keys, float *work, struct moe_err *err)
{
	const struct moe_device_ops *ops = s->device->ops;
	const struct moe_config *config = &s->model->config;
	const int32_t n_heads = config->index_n_heads;
	float *q = work, *weights = q + n_tokens * n_heads * config->index_head_dim;
	const struct moe_index_args args = {
		.n_heads = n_heads,
		.head_dim = config->index_head_dim,
		.top_k = config->index_top_k,
		.scale = (float)(1 / sqrt((double)config->index_head_dim)),
		.q = q,
		.weights = weights,
		.keys = keys,
		.pos0 = pos,
		.n_tokens = n_tokens,
		.visible = s->visible,
	};
	enum moe_status status = ops->matmul(s->device, latent, n_tokens, &layer->part[MOE_PART_INDEX_Q], q, err);
	if (!status)
		status = rotate(s, q, n_heads, pos, n_tokens, err);
	if (!status)
		status = ops->matmul(s->device, x, n_tokens, &layer->part[MOE_PART_INDEX_WEIGHTS], weights, err);
	if (!status)
		status = ops->scale(s->device, weights, n_tokens * n_heads, 1 / sqrt((double)n_heads), err);
	return status ? status : ops->index(s->device, &args, err);
}

static enum moe_status tell(struct moe_session *s, int32_t index, int64_t pos, int64_t n_tokens, bool chosen,
                            struct moe_err *err)
{
	const int32_t top_k = s->model->config.index_top_k;
	enum moe_status status = MOE_OK;
	if (!s->opts.hooks.visible)
		return MOE_OK;
	if (chosen)
		status = s->device->ops->download(s->device, (float *)(void *)s->host_visible,
		                                  (const float *)(const void *)s->visible,
		                                  (size_t)n_tokens * (size_t)top_k, err);
	return status ? status : s->opts.hooks.visible(s->opts.hooks.arg, index, pos, n_tokens,
	                                               chosen ? s->host_visible : NULL, top_k, err);
}

enum moe_status moe_indexer_run(struct moe_session *s, int32_t index, const float *x, const float *latent, int64_t pos,
                                int64_t n_tokens, float *work, const int32_t **visible, struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const struct moe_layer *layer = &s->model->layers[index];
	const bool chosen = moe_indexer_needed(config, s->opts.n_ctx) && pos + n_tokens > config->index_top_k;
	enum moe_status status = MOE_OK;

	*visible = chosen ? s->visible : NULL;
	if (config->layers[index].indexer != MOE_INDEXER_OWN)
		return MOE_OK;
	/* behind the latents in the layer's cache */
	float *keys = s->cache[index] + s->opts.n_ctx * moe_dim_of(config, MOE_DIM_KV_A);
	if (moe_indexer_needed(config, s->opts.n_ctx))
		status = extend_keys(s, layer, x, pos, n_tokens, keys, err);
	if (!status && chosen)
		status = choose(s, layer, x, latent, pos, n_tokens, keys, work, err);
	return status ? status : tell(s, index, pos, n_tokens, chosen, err);
}
