/* Multi-head latent attention: projections, rotation, and the cache of latents (DeepSeek-V2 report, section 2.1).
 *
 *   q = W_Q x, or W_QB RMS(W_QA x);   [a ; k_pe] = W_KVA x;   z = RMS(a);   cache row = [z ; rope(k_pe)]
 *   out = W_O attention(rope(q), cache)
 *
 * over all positions, or those an indexer chose (forward/indexer.c). kv_b is multiplied inside the attention, with
 * every latent of the cache: a listener hears of each once, when it is new, and of the queries that its keys meet. */
#include "forward/session.h"

static int64_t cache_elems(const struct moe_config *config)
{
	return config->kv_lora_rank + config->qk_rope_head_dim;
}

static int64_t key_dim(const struct moe_config *config)
{
	return config->qk_nope_head_dim + config->qk_rope_head_dim;
}

static int64_t work_elems(const struct moe_config *config)
{
	return config->q_lora_rank + config->n_heads * (key_dim(config) + config->v_head_dim) + cache_elems(config) +
	       moe_indexer_work_elems(config);
}

/* q [n_tokens][n_heads][nope + rope], before rotation; low [n_tokens][q_lora_rank] gets the latent it was made
 * from, behind its norm. */
static enum moe_status project_q(struct moe_session *s, const struct moe_layer *layer, const float *x,
                                 int64_t n_tokens, float *low, float *q, struct moe_err *err)
{
	const struct moe_device_ops *ops = s->device->ops;
	const struct moe_config *config = &s->model->config;
	if (config->q_lora_rank == 0)
		return ops->matmul(s->device, x, n_tokens, &layer->part[MOE_PART_Q], q, err);
	const int64_t rank = config->q_lora_rank;
	enum moe_status status = ops->matmul(s->device, x, n_tokens, &layer->part[MOE_PART_Q_A], low, err);
	if (!status)
		status = ops->rmsnorm(s->device, low, rank, &layer->part[MOE_PART_Q_A_NORM], config->mla_norm_eps,
		                      n_tokens, low, rank, err);
	if (!status)
		status = ops->matmul(s->device, low, n_tokens, &layer->part[MOE_PART_Q_B], q, err);
	return status;
}

static enum moe_status rotate(struct moe_session *s, float *x, int64_t stride, int32_t n_heads, int64_t head_stride,
                              int64_t pos, int64_t n_tokens, struct moe_err *err)
{
	const struct moe_rope *rope = &s->model->config.rope;
	const struct moe_rope_args args = {
		.x = x,
		.n_tokens = n_tokens,
		.token_stride = stride,
		.n_heads = n_heads,
		.head_stride = (int32_t)head_stride,
		.n_dims = rope->n_dims,
		.interleaved = rope->interleaved,
		.cos = s->cos + s->rope_at,
		.sin = s->sin + s->rope_at,
		.pos0 = pos,
	};
	return s->device->ops->rope(s->device, &args, err);
}

/* Latent and rotated key of the new tokens, appended to the layer's cache. */
static enum moe_status extend_cache(struct moe_session *s, const struct moe_layer *layer, float *cache,
                                    const float *x, int64_t pos, int64_t n_tokens, float *low, struct moe_err *err)
{
	const struct moe_device_ops *ops = s->device->ops;
	const struct moe_config *config = &s->model->config;
	const int64_t row = cache_elems(config), rank = config->kv_lora_rank;
	float *to = cache + pos * row;
	enum moe_status status = ops->matmul(s->device, x, n_tokens, &layer->part[MOE_PART_KV_A], low, err);
	if (!status)
		status = ops->rmsnorm(s->device, low, row, &layer->part[MOE_PART_KV_A_NORM], config->mla_norm_eps,
		                      n_tokens, to, row, err);
	if (!status)
		status = ops->copy_rows(s->device, to + rank, row, low + rank, row, row - rank, n_tokens, err);
	if (!status)
		status = rotate(s, to + rank, row, 1, 0, pos, n_tokens, err);
	return status;
}

static void tell(const struct moe_session *s, const struct moe_layer *layer, const float *q, const float *latent,
                 int64_t n_tokens)
{
	const struct moe_config *config = &s->model->config;
	const int64_t key = key_dim(config);

	moe_device_tell(s->device, &layer->part[MOE_PART_KV_B], 0, latent, cache_elems(config), n_tokens);
	for (int32_t h = 0; h < config->n_heads; h++)
		moe_device_tell(s->device, &layer->part[MOE_PART_K_B], h, q + h * key, config->n_heads * key, n_tokens);
}

static enum moe_status run(struct moe_session *s, int32_t index, const float *x, int64_t pos, int64_t n_tokens,
                           bool generated, float *out, struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const struct moe_layer *layer = &s->model->layers[index];
	const int64_t rows = s->rows, key = key_dim(config);
	float *low = s->work, *q = low + rows * config->q_lora_rank, *mixed = q + rows * config->n_heads * key;
	float *latent = mixed + rows * config->n_heads * config->v_head_dim;
	float *index_work = latent + rows * cache_elems(config);
	const int32_t *visible = NULL;

	enum moe_status status = project_q(s, layer, x, n_tokens, low, q, err);
	if (!status)
		status = rotate(s, q + config->qk_nope_head_dim, config->n_heads * key, config->n_heads, key, pos,
		                n_tokens, err);
	if (!status)
		status = extend_cache(s, layer, s->cache[index], x, pos, n_tokens, latent, err);
	if (!status && config->layers[index].indexer != MOE_INDEXER_NONE)
		status = moe_indexer_run(s, index, x, low, pos, n_tokens, index_work, &visible, err);
	if (status)
		return status;
	if (s->device->listener)
		tell(s, layer, q, s->cache[index] + pos * cache_elems(config), n_tokens);
	const struct moe_mla_args args = {
		.n_heads = config->n_heads,
		.nope = config->qk_nope_head_dim,
		.rope = config->qk_rope_head_dim,
		.v = config->v_head_dim,
		.kv_lora = config->kv_lora_rank,
		.scale = s->softmax_scale,
		.q = q,
		.cache = s->cache[index],
		.pos0 = pos,
		.n_tokens = n_tokens,
		.visible = visible,
		.n_visible = config->index_top_k,
		.kv_b = layer->part[MOE_PART_KV_B],
		.absorbed = s->opts.mla == MOE_MLA_ABSORBED || (s->opts.mla == MOE_MLA_BY_ROLE && generated),
		.out = mixed,
	};
	status = s->device->ops->mla(s->device, &args, err);
	if (!status)
		status = s->device->ops->matmul(s->device, mixed, n_tokens, &layer->part[MOE_PART_O], out, err);
	return status;
}

const struct moe_mixer moe_mixer_mla = {
	.name = "mla",
	.work_elems = work_elems,
	.run = run,
};
