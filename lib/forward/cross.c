/* Cross attention (Vaswani et al. 2017, section 3.2.3): queries of the decoder, keys and values of the encoder's
 * output.
 *
 *   q = W_Q x;   k, v = W_K e, W_V e;   out = W_O attention(q, k, v), every position of e visible
 *
 * Keys and values are computed once for a sequence. */
#include "forward/session.h"

enum moe_status moe_cross_keys(struct moe_session *s, int32_t index, const float *encoded, int64_t n_tokens,
                               struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const struct moe_device_ops *ops = s->device->ops;
	const struct moe_layer *layer = &s->model->layers[index];
	const int64_t width = (int64_t)config->n_kv_heads * config->head_dim, row = 2 * width;
	float *cache = s->cross[index];
	enum moe_status status =
	    ops->matmul(s->device, encoded, n_tokens, &layer->part[MOE_PART_CROSS_K], s->work, err);

	if (!status)
		status = ops->copy_rows(s->device, cache, row, s->work, width, width, n_tokens, err);
	if (!status)
		status = ops->matmul(s->device, encoded, n_tokens, &layer->part[MOE_PART_CROSS_V], s->work, err);
	return status ? status : ops->copy_rows(s->device, cache + width, row, s->work, width, width, n_tokens, err);
}

enum moe_status moe_cross_run(struct moe_session *s, int32_t index, const float *x, int64_t n_tokens, float *out,
                              struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const struct moe_device_ops *ops = s->device->ops;
	const struct moe_layer *layer = &s->model->layers[index];
	float *queries = s->work, *mixed = queries + s->rows * config->n_heads * config->head_dim;
	const struct moe_gqa_args args = {
		.n_heads = config->n_heads, .n_kv_heads = config->n_kv_heads, .head_dim = config->head_dim,
		.scale = s->softmax_scale, .q = queries, .cache = s->cross[index], .n_tokens = n_tokens,
		.n_keys = s->n_encoded, .out = mixed,
	};
	enum moe_status status = ops->matmul(s->device, x, n_tokens, &layer->part[MOE_PART_CROSS_Q], queries, err);

	if (!status)
		status = ops->gqa(s->device, &args, err);
	return status ? status : ops->matmul(s->device, mixed, n_tokens, &layer->part[MOE_PART_CROSS_O], out, err);
}
