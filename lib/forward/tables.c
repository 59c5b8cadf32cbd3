/* What a session computes once for all positions it has: rotations, factors on queries, biases by distance. */
#include <math.h>
#include <stdlib.h>

#include "forward/session.h"

size_t moe_tables_biases(const struct moe_config *config, int64_t n_ctx)
{
	return config->relative_buckets > 0 && n_ctx > 0 ? (size_t)config->n_heads * (size_t)(2 * n_ctx - 1) : 0;
}

int moe_tables_rotations(const struct moe_config *config, int64_t n_ctx)
{
	return config->rope.factors && n_ctx > config->rope.original_positions ? 2 : 1;
}

static enum moe_status make_rope(struct moe_session *s, struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const size_t n = (size_t)s->opts.n_ctx * (size_t)(config->rope.n_dims / 2);
	const int n_tables = moe_tables_rotations(config, s->opts.n_ctx);
	float *cos = calloc(2 * n * (size_t)n_tables + 1, sizeof *cos), *sin = cos + n * (size_t)n_tables;
	if (!cos)
		return moe_err_nomem(err, 2 * n * (size_t)n_tables * sizeof *cos, "the rotation tables");
	for (int i = 0; i < n_tables; i++)
		moe_rope_tables(&config->rope, s->opts.n_ctx, i == 1, cos + (size_t)i * n, sin + (size_t)i * n);
	enum moe_status status = s->device->ops->upload(s->device, s->cos, cos, n * (size_t)n_tables, err);
	if (!status)
		status = s->device->ops->upload(s->device, s->sin, sin, n * (size_t)n_tables, err);
	free(cos);
	const double own = config->attention_scale, scale = own != 0 ? own : 1 / sqrt((double)config->head_dim);
	s->softmax_scale = (float)(moe_rope_softmax_factor(&config->rope) * scale);
	return status;
}

/* Factors on queries: 1 + temperature ln(1 + floor((pos + 1) / temperature_floor)). */
static enum moe_status make_temperature(struct moe_session *s, struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const size_t n = config->temperature != 0 ? (size_t)s->opts.n_ctx : 0;
	float *factors = calloc(n + 1, sizeof *factors);
	if (!factors)
		return moe_err_nomem(err, n * sizeof *factors, "the factors on queries");
	for (size_t pos = 0; pos < n; pos++)
		factors[pos] = (float)(1 + config->temperature *
		                               log1p(floor(((double)pos + 1) / config->temperature_floor)));
	enum moe_status status = s->device->ops->upload(s->device, s->temperature, factors, n, err);
	free(factors);
	return status;
}

/* Biases on scores of each stack, from its first layer. */
static enum moe_status make_biases(struct moe_session *s, struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const int64_t spans[2] = { s->opts.n_ctx, s->opts.n_encoder_ctx };
	enum moe_status status = MOE_OK;
	for (int encoder = 0; encoder < 2 && !status; encoder++) {
		const size_t n = moe_tables_biases(config, spans[encoder]);
		const int32_t first = encoder ? 0 : config->n_encoder_layers;
		const struct moe_weight *w = &s->model->layers[first].part[MOE_PART_RELATIVE_BIAS];
		float *table = n ? calloc(n, sizeof *table) : NULL;
		if (n && !table)
			return moe_err_nomem(err, n * sizeof *table, "the biases on scores");
		if (n)
			status = moe_relative_table(config, w, encoder, spans[encoder], table, err);
		if (n && !status)
			status = s->device->ops->upload(s->device, s->bias[encoder], table, n, err);
		free(table);
	}
	return status;
}

enum moe_status moe_tables_make(struct moe_session *s, struct moe_err *err)
{
	enum moe_status status = make_rope(s, err);
	if (!status)
		status = make_temperature(s, err);
	return status ? status : make_biases(s, err);
}
