/* Grouped-query attention: projections with what a family puts between them and the rotation, and the cache.
 *
 *   q, k, v = W x (+ b), clamped; q and k normalised, rotated; out = W_O attention(q, cache) */
#include "forward/session.h"

static int64_t q_dim(const struct moe_config *config) { return (int64_t)config->n_heads * config->head_dim; }

static int64_t kv_dim(const struct moe_config *config) { return (int64_t)config->n_kv_heads * config->head_dim; }

static int64_t work_elems(const struct moe_config *config) { return 2 * q_dim(config) + 2 * kv_dim(config); }

/* One of q, k, v: x [n_tokens][hidden] -> out [n_tokens][width]; norm is MOE_N_PARTS for none. */
struct projection {
	enum moe_part weight, bias, norm;
	int32_t n_heads;
	bool rotated, paired;
};

static enum moe_status normalise(struct moe_session *s, const struct moe_layer *layer, const struct projection *p,
                                 int64_t n_tokens, float *out, struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const bool whole = config->qk_norm == MOE_QK_NORM_WHOLE;
	const struct moe_weight ones = { .rows = 1, .cols = config->head_dim };
	const struct moe_weight *w = config->qk_norm == MOE_QK_NORM_PLAIN ? &ones : &layer->part[p->norm];
	const int64_t width = whole ? (int64_t)p->n_heads * config->head_dim : config->head_dim;
	return s->device->ops->rmsnorm(s->device, out, width, w, config->rms_eps,
	                               whole ? n_tokens : n_tokens * p->n_heads, out, width, err);
}

static enum moe_status project(struct moe_session *s, const struct moe_layer *layer, const struct projection *p,
                               const float *x, int64_t pos, int64_t n_tokens, float *out, struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const struct moe_device_ops *ops = s->device->ops;
	const int64_t width = (int64_t)p->n_heads * config->head_dim;
	const bool normed = config->qk_norm != MOE_QK_NORM_NONE && p->norm != MOE_N_PARTS &&
	                    (p->rotated || config->qk_norm != MOE_QK_NORM_PLAIN);
	enum moe_status status = ops->matmul(s->device, x, n_tokens, &layer->part[p->weight], out, err);
	if (!status && config->qkv_bias)
		status = ops->add_bias(s->device, out, width, &layer->part[p->bias], n_tokens, err);
	if (!status && p->paired)
		status = ops->unpair(s->device, out, config->head_dim, n_tokens * p->n_heads, err);
	if (!status && normed && !config->qk_norm_late)
		status = normalise(s, layer, p, n_tokens, out, err);
	if (!status && config->clip_qkv > 0)
		status = ops->clamp(s->device, out, n_tokens * width, config->clip_qkv, err);
	const struct moe_rope_args args = {
		.x = out,
		.n_tokens = n_tokens,
		.token_stride = width,
		.n_heads = p->n_heads,
		.head_stride = config->head_dim,
		.n_dims = config->rope.n_dims,
		.interleaved = config->rope.interleaved,
		.cos = s->cos + s->rope_at,
		.sin = s->sin + s->rope_at,
		.pos0 = pos,
	};
	if (!status && p->rotated)
		status = ops->rope(s->device, &args, err);
	if (!status && normed && config->qk_norm_late)
		status = normalise(s, layer, p, n_tokens, out, err);
	return status;
}

static enum moe_status run(struct moe_session *s, int32_t index, const float *x, int64_t pos, int64_t n_tokens,
                           bool generated, float *out, struct moe_err *err)
{
	(void)generated;
	const struct moe_config *config = &s->model->config;
	const struct moe_device_ops *ops = s->device->ops;
	const struct moe_layer *layer = &s->model->layers[index];
	const bool rotated = !config->layers[index].no_rope, encoder = config->layers[index].encoder;
	const bool pairs = s->model->paired;
	const struct projection q = { MOE_PART_Q, MOE_PART_Q_BIAS, MOE_PART_Q_NORM, config->n_heads, rotated, pairs };
	const struct projection k = {
		MOE_PART_K, MOE_PART_K_BIAS, MOE_PART_K_NORM, config->n_kv_heads, rotated, pairs
	};
	const struct projection v = { MOE_PART_V, MOE_PART_V_BIAS, MOE_N_PARTS, config->n_kv_heads, false, false };
	const int64_t rows = s->rows, width = kv_dim(config), row = 2 * width;
	float *queries = s->work, *mixed = queries + rows * q_dim(config), *keys = mixed + rows * q_dim(config);
	float *values = keys + rows * width, *cache = s->cache[index];

	enum moe_status status = project(s, layer, &q, x, pos, n_tokens, queries, err);
	if (!status && config->layers[index].temperature)
		status = ops->scale_rows(s->device, queries, s->temperature + pos, q_dim(config), n_tokens, err);
	if (!status)
		status = project(s, layer, &k, x, pos, n_tokens, keys, err);
	if (!status)
		status = project(s, layer, &v, x, pos, n_tokens, values, err);
	if (!status)
		status = ops->copy_rows(s->device, cache + pos * row, row, keys, width, width, n_tokens, err);
	if (!status)
		status = ops->copy_rows(s->device, cache + pos * row + width, row, values, width, width, n_tokens, err);
	if (status)
		return status;
	const struct moe_gqa_args args = {
		.n_heads = config->n_heads, .n_kv_heads = config->n_kv_heads, .head_dim = config->head_dim,
		.scale = s->softmax_scale, .q = queries, .cache = cache, .pos0 = pos, .n_tokens = n_tokens,
		.chunk = config->layers[index].attention_chunk, .window = config->layers[index].window,
		.sinks = layer->part[MOE_PART_SINKS], .out = mixed, .n_keys = encoder ? n_tokens : 0,
		.bias = config->relative_buckets > 0 ? s->bias[encoder] : NULL,
		.bias_span = encoder ? s->opts.n_encoder_ctx : s->opts.n_ctx,
	};
	status = ops->gqa(s->device, &args, err);
	if (!status)
		status = ops->matmul(s->device, mixed, n_tokens, &layer->part[MOE_PART_O], out, err);
	if (!status && config->o_bias)
		status =
		    ops->add_bias(s->device, out, config->hidden_size, &layer->part[MOE_PART_O_BIAS], n_tokens, err);
	return status;
}

const struct moe_mixer moe_mixer_gqa = {
	.name = "gqa",
	.work_elems = work_elems,
	.run = run,
};
