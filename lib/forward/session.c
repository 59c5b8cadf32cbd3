/* Sessions: every buffer from the config in one place, and the walk through the layers. */
#include "forward/session.h"

#include <stdlib.h>
#include <string.h>

/* Tokens whose logits are computed together: bounds memory by HEAD_ROWS * vocab_size. */
enum { HEAD_ROWS = 32 };

static int32_t layers_run(const struct moe_config *config, const struct moe_session_opts *opts)
{
	return config->n_layers + (opts->mtp && config->n_mtp_layers > 0 ? 1 : 0);
}

static int32_t top_k_of(const struct moe_config *config, const struct moe_session_opts *opts)
{
	return opts->ablation.top_k ? opts->ablation.top_k : config->router.top_k;
}

static bool bars_experts(const struct moe_session_opts *opts)
{
	return opts->ablation.disabled || opts->ablation.mask_top > 0 || opts->ablation.forced;
}

struct sizes {
	size_t rows, hidden, experts, head, work, cache, rope, temperature, ids, visible;
	size_t cross, bias[2], encoded, tokens;
	bool wants_hidden, wants_visible;
};

/* Numbers that a layer caches: of its own tokens, and of the encoder's output. */
static size_t cached(const struct moe_config *config, const struct moe_session_opts *opts, int32_t layer)
{
	const struct moe_layer_kind *kind = &config->layers[layer];
	return (size_t)(kind->encoder ? opts->n_encoder_ctx : opts->n_ctx) * (size_t)kind->cache_elems;
}

static size_t cached_of_encoder(const struct moe_config *config, const struct moe_session_opts *opts, int32_t layer)
{
	const struct moe_layer_kind *kind = &config->layers[layer];
	return kind->cross ? (size_t)opts->n_encoder_ctx * (size_t)kind->cache_elems : 0;
}

static size_t most_work(const struct moe_config *config, const struct moe_session_opts *opts)
{
	int64_t most = 0;
	for (int32_t l = 0; l < layers_run(config, opts); l++) {
		const int64_t n = moe_mixer_by_name(config->layers[l].mixer)->work_elems(config);
		most = n > most ? n : most;
	}
	return (size_t)most;
}

static int rope_tables(const struct moe_config *config, const struct moe_session_opts *opts)
{
	return moe_tables_rotations(config, opts->n_ctx);
}

static struct sizes sizes_of(const struct moe_config *config, const struct moe_session_opts *opts)
{
	const size_t chunk = (size_t)opts->chunk, encoder = (size_t)opts->n_encoder_ctx;
	const size_t rows = (encoder > chunk ? encoder : chunk) + 1;
	size_t cache = 0, cross = 0;
	for (int32_t l = 0; l < layers_run(config, opts); l++) {
		cache += cached(config, opts, l);
		cross += cached_of_encoder(config, opts, l);
	}
	return (struct sizes){
		.rows = rows,
		.hidden = rows * (size_t)config->hidden_size,
		.experts = rows * (size_t)config->n_experts,
		.head = opts->routers_only ? 0 : (size_t)HEAD_ROWS * (size_t)config->vocab_size,
		.work = rows * most_work(config, opts),
		.cache = cache,
		.cross = cross,
		.bias = { moe_tables_biases(config, opts->n_ctx), moe_tables_biases(config, opts->n_encoder_ctx) },
		.encoded = encoder * (size_t)config->hidden_size,
		.rope = (size_t)opts->n_ctx * (size_t)(config->rope.n_dims / 2) * (size_t)rope_tables(config, opts),
		.tokens = rope_tables(config, opts) == 2 ? (size_t)opts->n_ctx : 0,
		.temperature = config->temperature != 0 ? (size_t)opts->n_ctx : 0,
		.ids = rows * (size_t)top_k_of(config, opts),
		.visible = moe_indexer_needed(config, opts->n_ctx) ? rows * (size_t)config->index_top_k : 0,
		.wants_hidden = opts->hooks.hidden != NULL,
		.wants_visible = opts->hooks.visible != NULL,
	};
}

uint64_t moe_session_bytes(const struct moe_config *config, const struct moe_session_opts *opts)
{
	const struct sizes n = sizes_of(config, opts);
	const uint64_t floats = 4 * n.hidden + (opts->mtp ? 3 * n.hidden : 0) + 2 * n.experts + 2 * n.head + n.work +
	                        n.cache + n.cross + n.bias[0] + n.bias[1] + n.encoded + 2 * n.rope + n.tokens +
	                        n.temperature +
	                        3 * n.ids + (n.wants_visible ? 2 : 1) * n.visible + (n.wants_hidden ? n.hidden : 0) +
	                        (uint64_t)config->vocab_size;
	return floats * sizeof(float);
}

static enum moe_status alloc_device(struct moe_session *s, const struct sizes *n, struct moe_err *err)
{
	const struct {
		float **at;
		size_t n;
	} wanted[] = {
		{ &s->x, n->hidden },
		{ &s->h, n->hidden },
		{ &s->y, n->hidden },
		{ &s->z, n->hidden },
		{ &s->router_logits, n->experts },
		{ &s->work, n->work },
		{ &s->cos, n->rope },
		{ &s->sin, n->rope },
		{ &s->temperature, n->temperature },
		{ &s->head, n->head },
		{ &s->bias[0], n->bias[0] },
		{ &s->bias[1], n->bias[1] },
		{ &s->pair, s->opts.mtp ? 2 * n->hidden : 0 },
		{ &s->final, s->opts.mtp ? n->hidden : 0 },
	};
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		*wanted[i].at = s->device->ops->alloc(s->device, wanted[i].n);
		if (!*wanted[i].at)
			return moe_err_nomem(err, wanted[i].n * sizeof(float), "a session's buffers");
	}
	if (n->visible && !(s->visible = (int32_t *)(void *)s->device->ops->alloc(s->device, n->visible)))
		return moe_err_nomem(err, n->visible * sizeof *s->visible, "a session's buffers");
	const int32_t n_layers = layers_run(&s->model->config, &s->opts);
	const struct moe_config *config = &s->model->config;
	s->cache = calloc((size_t)n_layers, sizeof *s->cache);
	s->cross = calloc((size_t)n_layers, sizeof *s->cross);
	for (int32_t l = 0; s->cache && s->cross && l < n_layers; l++) {
		s->cache[l] = s->device->ops->alloc(s->device, cached(config, &s->opts, l));
		s->cross[l] = s->device->ops->alloc(s->device, cached_of_encoder(config, &s->opts, l));
		if (!s->cache[l] || !s->cross[l])
			return moe_err_nomem(err, (n->cache + n->cross) * sizeof(float),
			                     "the cache of keys and values (--ctx)");
	}
	return s->cache && s->cross ? MOE_OK : moe_err_nomem(err, (size_t)n_layers * sizeof *s->cache, "a session");
}

static enum moe_status alloc_host(struct moe_session *s, const struct sizes *n, struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const struct moe_policy_params params = moe_router_params(s, -1);
	s->host_router = calloc(n->experts + 1, sizeof *s->host_router);
	s->host_rows = calloc(n->head + 1, sizeof *s->host_rows);
	s->last_logits = calloc((size_t)config->vocab_size, sizeof *s->last_logits);
	s->host_hidden = calloc(n->wants_hidden ? n->hidden : 1, sizeof *s->host_hidden);
	s->ids = calloc(n->ids + 1, sizeof *s->ids);
	s->weights = calloc(n->ids + 1, sizeof *s->weights);
	s->margins = calloc(n->rows, sizeof *s->margins);
	s->scratch = calloc(s->policy ? s->policy->scratch(&params) : 1, sizeof *s->scratch);
	s->top_ids = calloc((size_t)config->n_experts + 1, sizeof *s->top_ids);
	if (n->wants_visible && !(s->host_visible = calloc(n->visible + 1, sizeof *s->host_visible)))
		return moe_err_nomem(err, n->visible * sizeof *s->host_visible, "a session's buffers");
	if (n->tokens && !(s->tokens = calloc(n->tokens, sizeof *s->tokens)))
		return moe_err_nomem(err, n->tokens * sizeof *s->tokens, "a session's buffers");
	s->host_encoded = calloc(n->encoded + 1, sizeof *s->host_encoded);
	if (bars_experts(&s->opts) && !(s->mask = calloc(n->experts + 1, sizeof *s->mask)))
		return moe_err_nomem(err, n->experts * sizeof *s->mask, "a session's buffers");
	s->router_bias = calloc((size_t)config->n_layers + (size_t)config->n_mtp_layers, sizeof *s->router_bias);
	if (!s->host_router || !s->host_rows || !s->last_logits || !s->host_hidden || !s->ids || !s->weights ||
	    !s->margins || !s->scratch || !s->top_ids || !s->router_bias || !s->host_encoded)
		return moe_err_nomem(err, (n->experts + n->head + n->hidden + 4 * n->ids) * sizeof(float),
		                     "a session's buffers");
	return MOE_OK;
}

/* Correction biases as f32, and the policy they belong to. */
static enum moe_status prepare_routers(struct moe_session *s, struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	for (int32_t l = 0; l < layers_run(config, &s->opts); l++) {
		const struct moe_weight *bias = &s->model->layers[l].part[MOE_PART_ROUTER_BIAS];
		if (!bias->data)
			continue;
		s->router_bias[l] = calloc((size_t)config->n_experts, sizeof **s->router_bias);
		if (!s->router_bias[l])
			return moe_err_nomem(err, (size_t)config->n_experts * sizeof **s->router_bias,
			                     "a router's bias");
		bias->codec->decode(bias->data, s->router_bias[l], (size_t)config->n_experts);
		/* the choice compares: what is not a number would bar its expert without a word */
		enum moe_status status =
		    moe_bias_check(s->router_bias[l], config->n_experts, l, s->model->ckpt->path, err);
		if (status)
			return status;
	}
	return MOE_OK;
}

static enum moe_status find_policy(struct moe_session *s, struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	s->last_router = -1;
	for (int32_t l = 0; l < layers_run(config, &s->opts); l++)
		if (config->layers[l].ffn == MOE_FFN_MOE)
			s->last_router = l;
	if (s->last_router < 0)
		return MOE_OK;
	const char *policy = s->opts.ablation.policy ? s->opts.ablation.policy : config->router.policy;
	s->policy = moe_policy_by_name(policy);
	if (!s->policy)
		return moe_err_set(err, MOE_EUSAGE, "routing policy '%s' is not known", policy);
	const struct moe_policy_params params = moe_router_params(s, -1);
	return moe_policy_check(s->policy, &params, err);
}

enum moe_status moe_session_open(struct moe_session **out, const struct moe_model *model, struct moe_device *device,
                                 const struct moe_session_opts *opts, struct moe_err *err)
{
	struct moe_session *s = calloc(1, sizeof *s);
	if (!s)
		return moe_err_nomem(err, sizeof *s, "a session");
	s->model = model;
	s->device = device;
	s->opts = *opts;
	s->opts.mtp = opts->mtp && model->config.n_mtp_layers > 0;
	s->top_k = top_k_of(&model->config, opts);
	const struct sizes n = sizes_of(&model->config, &s->opts);
	s->rows = (int64_t)n.rows;
	enum moe_status status = find_policy(s, err);
	if (!status)
		status = alloc_device(s, &n, err);
	if (!status)
		status = alloc_host(s, &n, err);
	if (!status)
		status = prepare_routers(s, err);
	if (!status)
		status = moe_capacity_open(s, err);
	if (!status)
		status = moe_tables_make(s, err);
	if (status) {
		moe_session_close(s);
		return status;
	}
	*out = s;
	return MOE_OK;
}

void moe_session_close(struct moe_session *s)
{
	if (!s)
		return;
	const struct moe_config *config = &s->model->config;
	float *device_memory[] = { s->x,   s->h,   s->y,    s->z,    s->router_logits, s->work,        s->bias[0],
		                   s->cos, s->sin, s->head, s->pair, s->final,         s->temperature, s->bias[1] };
	for (size_t i = 0; i < sizeof device_memory / sizeof *device_memory; i++)
		s->device->ops->release(s->device, device_memory[i]);
	s->device->ops->release(s->device, (float *)(void *)s->visible);
	for (int32_t l = 0; s->cache && l < layers_run(config, &s->opts); l++)
		s->device->ops->release(s->device, s->cache[l]);
	for (int32_t l = 0; s->cross && l < layers_run(config, &s->opts); l++)
		s->device->ops->release(s->device, s->cross[l]);
	for (int32_t l = 0; s->router_bias && l < config->n_layers + config->n_mtp_layers; l++)
		free(s->router_bias[l]);
	moe_capacity_close(s);
	void *host_memory[] = { s->cache, s->router_bias, s->host_router, s->host_rows, s->last_logits, s->host_hidden,
		                s->ids,   s->weights,     s->margins,     s->scratch,      s->mask,        s->top_ids,
		                s->cross, s->host_encoded, s->host_visible, s->tokens };
	for (size_t i = 0; i < sizeof host_memory / sizeof *host_memory; i++)
		free(host_memory[i]);
	free(s);
}

/* Where in the tables the rotation of a sequence of n_given tokens is. */
static int64_t rope_offset(const struct moe_session *s, int64_t n_given)
{
	const struct moe_rope *rope = &s->model->config.rope;
	const bool two = rope_tables(&s->model->config, &s->opts) == 2;
	return two && n_given > rope->original_positions ? s->opts.n_ctx * (rope->n_dims / 2) : 0;
}

void moe_session_reset(struct moe_session *s, int64_t n_given)
{
	s->pos = s->n_encoded = 0;
	s->rope_at = rope_offset(s, n_given);
	moe_capacity_begin(s, n_given);
}

bool moe_session_rewind(struct moe_session *s, int64_t pos, int64_t n_given)
{
	if (pos < 0 || pos > s->pos || s->n_encoded > 0 || s->opts.mtp || s->capacity.queues ||
	    rope_offset(s, n_given) != s->rope_at)
		return false;
	s->pos = pos;
	return true;
}

int64_t moe_session_pos(const struct moe_session *s) { return s->pos; }

const float *moe_session_encoded(const struct moe_session *s) { return s->host_encoded; }

enum moe_status moe_session_route(struct moe_session *s, int32_t layer, const float *rows, int64_t pos, int64_t n_rows,
                                  struct moe_err *err)
{
	const size_t n = (size_t)n_rows * (size_t)s->model->config.hidden_size;
	enum moe_status status = s->device->ops->upload(s->device, s->h, rows, n, err);
	return status ? status : moe_router_run(s, layer, s->h, pos, n_rows, err);
}

const float *moe_session_logits(const struct moe_session *s) { return s->last_logits; }

static enum moe_status tell_hidden(struct moe_session *s, int32_t n_layers, int64_t n_tokens, struct moe_err *err)
{
	if (!s->opts.hooks.hidden)
		return MOE_OK;
	const size_t n = (size_t)n_tokens * (size_t)s->model->config.hidden_size;
	enum moe_status status = s->device->ops->download(s->device, s->host_hidden, s->x, n, err);
	return status ? status
	              : s->opts.hooks.hidden(s->opts.hooks.arg, n_layers, s->pos, n_tokens, s->host_hidden, err);
}

/* Rows of the table into x, as the residual stream begins with them. */
static enum moe_status embed_tokens(struct moe_session *s, const struct moe_weight *table, const int32_t *tokens,
                                    int64_t n_tokens, struct moe_err *err)
{
	const int64_t n = n_tokens * s->model->config.hidden_size;
	const double scale = s->model->config.embedding_scale;
	enum moe_status status = s->device->ops->embed(s->device, table, tokens, n_tokens, s->x, err);
	return status || scale == 0 ? status : s->device->ops->scale(s->device, s->x, n, scale, err);
}

/* head(norm(x)) of rows [first, first + n_tokens), a few at a time, told to `tell`; pos is that of row 0. The last row
 * stays in `last`, unless that is NULL. */
static enum moe_status run_head(struct moe_session *s, const float *normed, const struct moe_weight *head,
                                int64_t first, int64_t n_tokens, int64_t pos, float *last,
                                enum moe_status (*tell)(void *, int64_t, int64_t, const float *, struct moe_err *),
                                struct moe_err *err)
{
	const int64_t hidden = s->model->config.hidden_size, vocab = head->rows;
	for (int64_t t = first; t < first + n_tokens; t += HEAD_ROWS) {
		const int64_t n = first + n_tokens - t < HEAD_ROWS ? first + n_tokens - t : HEAD_ROWS;
		enum moe_status status =
		    s->device->ops->matmul(s->device, normed + t * hidden, n, head, s->head, err);
		if (!status && s->model->head_bias.data)
			status = s->device->ops->add_bias(s->device, s->head, vocab, &s->model->head_bias, n, err);
		const double divisor = s->model->config.logits_divisor;
		if (!status && divisor != 0)
			status = s->device->ops->scale(s->device, s->head, n * vocab, 1 / divisor, err);
		if (!status)
			status = s->device->ops->download(s->device, s->host_rows, s->head, (size_t)(n * vocab), err);
		if (!status && tell)
			status = tell(s->opts.hooks.arg, pos + t, n, s->host_rows, err);
		if (status)
			return status;
		if (last && t + n == first + n_tokens)
			memcpy(last, s->host_rows + (n - 1) * vocab, (size_t)vocab * sizeof *last);
	}
	return MOE_OK;
}

/* The MTP layer (DeepSeek-V3 report, section 2.2): u_i = W_eh [norm(Emb(t_{i+1})) ; norm(h_i)], one layer, its norm and
 * head. h is the model's output behind its final norm; a pass knows t_{i+1} for all its tokens but the last, whose h
 * waits in row 0 of s->final. */
static enum moe_status run_mtp(struct moe_session *s, const int32_t *tokens, int64_t n_tokens, bool generated,
                               struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const struct moe_device_ops *ops = s->device->ops;
	const int32_t index = config->n_layers;
	const struct moe_layer *layer = &s->model->layers[index];
	const int64_t hidden = config->hidden_size, carried = s->pos > 0 ? 1 : 0;
	const int64_t n = n_tokens - 1 + carried, pos = s->pos - carried;
	const float *h = s->final + (1 - carried) * hidden;
	const int32_t *next = tokens + 1 - carried;
	const struct moe_weight *embed =
	    layer->part[MOE_PART_MTP_EMBED].data ? &layer->part[MOE_PART_MTP_EMBED] : &s->model->embed;
	const struct moe_weight *head =
	    layer->part[MOE_PART_MTP_HEAD].data ? &layer->part[MOE_PART_MTP_HEAD] : &s->model->head;
	bool stopped = false;
	enum moe_status status = MOE_OK;
	if (n > 0) {
		status = embed_tokens(s, embed, next, n, err);
		if (!status)
			status = ops->rmsnorm(s->device, s->x, hidden, &layer->part[MOE_PART_MTP_ENORM],
			                      config->rms_eps, n, s->pair, 2 * hidden, err);
		if (!status)
			status = ops->rmsnorm(s->device, h, hidden, &layer->part[MOE_PART_MTP_HNORM], config->rms_eps,
			                      n, s->pair + hidden, 2 * hidden, err);
		if (!status)
			status = ops->matmul(s->device, s->pair, n, &layer->part[MOE_PART_MTP_EH_PROJ], s->x, err);
		if (!status)
			status = moe_block_run(s, index, s->x, pos, n, generated, &stopped, err);
		const bool heard = s->opts.hooks.mtp_logits && !s->opts.routers_only;
		if (!status && heard)
			status = ops->rmsnorm(s->device, s->x, hidden, &layer->part[MOE_PART_MTP_NORM],
			                      config->rms_eps, n, s->h, hidden, err);
		if (!status && heard)
			status = run_head(s, s->h, head, 0, n, pos, NULL, s->opts.hooks.mtp_logits, err);
	}
	return status ? status
	              : ops->copy_rows(s->device, s->final, hidden, s->final + n_tokens * hidden, hidden, hidden, 1,
	                               err);
}

/* One pass of at most chunk tokens. */
static enum moe_status pass(struct moe_session *s, const int32_t *tokens, int64_t n_tokens, bool generated,
                            enum moe_logits want, struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	bool stopped = false;
	enum moe_status status = embed_tokens(s, &s->model->embed, tokens, n_tokens, err);
	if (!status && config->n_encoder_layers == 0)
		status = tell_hidden(s, 0, n_tokens, err);
	for (int32_t l = config->n_encoder_layers; l < config->n_layers && !status && !stopped; l++) {
		status = moe_block_run(s, l, s->x, s->pos, n_tokens, generated, &stopped, err);
		if (!status && !stopped)
			status = tell_hidden(s, l + 1, n_tokens, err);
	}
	if (status || stopped || (!s->opts.mtp && (s->opts.routers_only || want == MOE_LOGITS_NONE)))
		return status;

	float *normed = s->opts.mtp ? s->final + config->hidden_size : s->h;
	status = moe_block_norm(s, s->x, &s->model->final_norm, &s->model->final_norm_bias, n_tokens, normed, err);
	const int64_t first = want == MOE_LOGITS_ALL ? 0 : n_tokens - 1;
	if (!status && want != MOE_LOGITS_NONE && !s->opts.routers_only)
		status = run_head(s, normed, &s->model->head, first, n_tokens - first, s->pos, s->last_logits,
		                  s->opts.hooks.logits, err);
	if (!status && s->opts.mtp)
		status = run_mtp(s, tokens, n_tokens, generated, err);
	return status;
}

static enum moe_status check_tokens(const struct moe_session *s, const int32_t *tokens, int64_t n_tokens,
                                    struct moe_err *err)
{
	const int32_t vocab_size = s->model->config.vocab_size;
	for (int64_t t = 0; t < n_tokens; t++)
		if (tokens[t] < 0 || tokens[t] >= vocab_size)
			return moe_err_set(err, MOE_EFORMAT,
			                   "token id %d at position %lld is outside the vocabulary of %d",
			                   (int)tokens[t], (long long)(s->pos + t), (int)vocab_size);
	return MOE_OK;
}

/* All layers of the encoder, its norm, and what the decoder's layers make of the result. */
static enum moe_status run_encoder(struct moe_session *s, const int32_t *tokens, int64_t n_tokens, struct moe_err *err)
{
	const struct moe_config *config = &s->model->config;
	const struct moe_weight no_bias = { 0 };
	const size_t n = (size_t)n_tokens * (size_t)config->hidden_size;
	bool stopped = false;
	enum moe_status status = embed_tokens(s, &s->model->embed, tokens, n_tokens, err);
	if (!status)
		status = tell_hidden(s, 0, n_tokens, err);
	for (int32_t l = 0; l < config->n_encoder_layers && !status; l++) {
		status = moe_block_run(s, l, s->x, 0, n_tokens, false, &stopped, err);
		if (!status)
			status = tell_hidden(s, l + 1, n_tokens, err);
	}
	if (!status)
		status = moe_block_norm(s, s->x, &s->model->encoder_norm, &no_bias, n_tokens, s->h, err);
	if (!status)
		status = s->device->ops->download(s->device, s->host_encoded, s->h, n, err);
	for (int32_t l = config->n_encoder_layers; l < config->n_layers && !status; l++)
		if (config->layers[l].cross)
			status = moe_cross_keys(s, l, s->h, n_tokens, err);
	return status;
}

enum moe_status moe_session_encode(struct moe_session *s, const int32_t *tokens, int64_t n_tokens, struct moe_err *err)
{
	if (s->model->config.n_encoder_layers == 0)
		return moe_err_set(err, MOE_EUSAGE, "the model has no encoder, but there are %lld tokens for one",
		                   (long long)n_tokens);
	if (n_tokens < 1 || s->pos > 0 || s->n_encoded > 0)
		return moe_err_set(err, MOE_EUSAGE, "the tokens of the encoder, at least one, come once and before "
		                   "those of the decoder");
	if (n_tokens > s->opts.n_encoder_ctx)
		return moe_err_set(err, MOE_EUSAGE, "%lld tokens do not fit an encoder of %lld positions",
		                   (long long)n_tokens, (long long)s->opts.n_encoder_ctx);
	enum moe_status status = check_tokens(s, tokens, n_tokens, err);
	const int64_t limit = s->capacity.limit;
	moe_capacity_group(s, n_tokens);
	if (!status)
		status = run_encoder(s, tokens, n_tokens, err);
	s->capacity.limit = limit;
	s->n_encoded = status ? 0 : n_tokens;
	return status;
}

static enum moe_status run_passes(struct moe_session *s, const int32_t *tokens, int64_t n_tokens, bool generated,
                                  enum moe_logits want, struct moe_err *err)
{
	for (int64_t done = 0; done < n_tokens;) {
		const int64_t left = n_tokens - done, n = left < s->opts.chunk ? left : s->opts.chunk;
		const enum moe_logits now = want == MOE_LOGITS_LAST && n < left ? MOE_LOGITS_NONE : want;
		enum moe_status status = pass(s, tokens + done, n, generated, now, err);
		if (status)
			return status;
		s->pos += n;
		done += n;
	}
	return MOE_OK;
}

/* n_tokens are about to follow. Where they take the sequence past the length that its rotation is for, all before them
 * are computed again as part of a long one, so that what follows is what a single pass would give. Nobody hears of it a
 * second time, and nobody forces what they choose. */
static enum moe_status lengthen(struct moe_session *s, const int32_t *tokens, int64_t n_tokens, struct moe_err *err)
{
	const struct moe_session_opts opts = s->opts;
	const struct moe_rope *rope = &s->model->config.rope;
	const int64_t n_before = s->pos;
	memcpy(s->tokens + n_before, tokens, (size_t)n_tokens * sizeof *tokens);
	if (s->rope_at > 0 || n_before + n_tokens <= rope->original_positions)
		return MOE_OK;
	s->rope_at = s->opts.n_ctx * (rope->n_dims / 2);
	const struct moe_listener *listener = s->device->listener;
	s->opts.hooks = (struct moe_hooks){ 0 };
	s->device->listener = NULL;
	s->opts.ablation.forced = NULL;
	s->pos = 0;
	moe_capacity_again(s);
	enum moe_status status = run_passes(s, s->tokens, n_before, false, MOE_LOGITS_NONE, err);
	s->opts = opts;
	s->device->listener = listener;
	return status;
}

enum moe_status moe_session_feed(struct moe_session *s, const int32_t *tokens, int64_t n_tokens, bool generated,
                                 enum moe_logits want, struct moe_err *err)
{
	enum moe_status status = check_tokens(s, tokens, n_tokens, err);
	if (status)
		return status;
	if (s->model->config.n_encoder_layers > 0 && s->n_encoded == 0)
		return moe_err_set(err, MOE_EUSAGE, "the model has an encoder, and the sequence no tokens for it "
		                   "(--ids: encoder ids, a TAB, decoder ids)");
	if (n_tokens > s->opts.n_ctx - s->pos)
		return moe_err_set(err, MOE_EUSAGE, "%lld tokens do not fit a context of %lld (--ctx)",
		                   (long long)(s->pos + n_tokens), (long long)s->opts.n_ctx);
	if (s->tokens)
		status = lengthen(s, tokens, n_tokens, err);
	return status ? status : run_passes(s, tokens, n_tokens, generated, want, err);
}
