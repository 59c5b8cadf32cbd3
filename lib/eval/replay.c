/* One sequence of the trace is held at a time: ids and gates [layer][token][top_k]. */
#include "eval/replay.h"

#include <stdlib.h>
#include <string.h>

struct moe_replay {
	char *path;
	struct moe_trace_in *in;
	const struct moe_trace_run *ahead; /* read and not yet taken, NULL at the end */
	bool gates;
	int32_t n_layers, top_k;
	const int32_t *layers; /* [n_layers] views of the header */
	int32_t n_encoder_layers; /* of the model, with or without routers */
	int64_t n_tokens, cap; /* of the sequence held, the encoder's n_encoder tokens first */
	int64_t n_encoder;
	int32_t *tokens; /* [cap] */
	int32_t *ids; /* [n_layers][cap][top_k] */
	float *weights;
};

/* The layers with routers must be those of the trace, with as many experts. MTP layers may be in it or not: they are
 * not forced. */
static enum moe_status check_model(const struct moe_replay *r, const struct moe_config *config, struct moe_err *err)
{
	const struct moe_trace_header *head = moe_trace_head(r->in);
	int32_t i = 0;
	for (int32_t l = 0; l < config->n_layers; l++) {
		if (config->layers[l].ffn != MOE_FFN_MOE)
			continue;
		if (i >= head->n_layers || head->layers[i] != l)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: the trace has no layer %d, the model has a router there", r->path,
			                   (int)l);
		i++;
	}
	while (i < head->n_layers && head->layers[i] >= config->n_layers &&
	       head->layers[i] < config->n_layers + config->n_mtp_layers &&
	       config->layers[head->layers[i]].ffn == MOE_FFN_MOE)
		i++;
	if (i < head->n_layers)
		return moe_err_set(err, MOE_EFORMAT, "%s: the trace has layer %d, the model has no router there",
		                   r->path, (int)head->layers[i]);
	if (head->n_experts != config->n_experts)
		return moe_err_set(err, MOE_EFORMAT, "%s: the trace has %d experts, the model %d", r->path,
		                   (int)head->n_experts, (int)config->n_experts);
	if (r->gates && head->gates != MOE_GATES_F32)
		return moe_err_set(err, MOE_EUSAGE, "%s: its gates are stored as %s; replaying them takes f32",
		                   r->path, moe_gate_type_name(head->gates));
	return MOE_OK;
}

enum moe_status moe_replay_open(struct moe_replay **out, const char *path, const struct moe_config *config,
                                bool gates, struct moe_pool *pool, struct moe_watch *watch, struct moe_err *err)
{
	struct moe_replay *r = calloc(1, sizeof *r);
	if (!r || !(r->path = strdup(path))) {
		free(r);
		return moe_err_nomem(err, sizeof *r, "a replay");
	}
	r->gates = gates;
	r->n_encoder_layers = config->n_encoder_layers;
	enum moe_status status = moe_trace_open(&r->in, path, pool, watch, err);
	if (!status)
		status = check_model(r, config, err);
	if (!status) {
		r->n_layers = moe_trace_head(r->in)->n_layers;
		r->layers = moe_trace_head(r->in)->layers;
		r->top_k = moe_trace_head(r->in)->top_k;
		status = moe_trace_next(r->in, &r->ahead, err);
	}
	if (status) {
		moe_replay_close(r);
		return status;
	}
	*out = r;
	return MOE_OK;
}

void moe_replay_close(struct moe_replay *r)
{
	if (!r)
		return;
	moe_trace_close(r->in);
	free(r->path);
	free(r->tokens);
	free(r->ids);
	free(r->weights);
	free(r);
}

int32_t moe_replay_top_k(const struct moe_replay *r) { return r->top_k; }

/* Room for n tokens; what is held moves along. */
static enum moe_status grow(struct moe_replay *r, int64_t n, struct moe_err *err)
{
	if (n <= r->cap)
		return MOE_OK;
	const int64_t cap = n > 2 * r->cap ? n : 2 * r->cap;
	const size_t choices = (size_t)cap * (size_t)r->n_layers * (size_t)r->top_k;
	int32_t *tokens = realloc(r->tokens, (size_t)cap * sizeof *tokens);
	int32_t *ids = calloc(choices, sizeof *ids);
	float *weights = calloc(choices, sizeof *weights);
	r->tokens = tokens ? tokens : r->tokens;
	if (!tokens || !ids || !weights) {
		free(ids);
		free(weights);
		return moe_err_nomem(err, choices * (sizeof *ids + sizeof *weights), "a sequence to replay");
	}
	for (int32_t l = 0; l < r->n_layers && r->n_tokens; l++) {
		const size_t from = (size_t)l * (size_t)r->cap * (size_t)r->top_k,
			     to = (size_t)l * (size_t)cap * (size_t)r->top_k;
		memcpy(ids + to, r->ids + from, (size_t)r->n_tokens * (size_t)r->top_k * sizeof *ids);
		memcpy(weights + to, r->weights + from, (size_t)r->n_tokens * (size_t)r->top_k * sizeof *weights);
	}
	free(r->ids);
	free(r->weights);
	r->ids = ids;
	r->weights = weights;
	r->cap = cap;
	return MOE_OK;
}

/* Appends the run that was read ahead. */
static enum moe_status take(struct moe_replay *r, struct moe_err *err)
{
	const struct moe_trace_run *run = r->ahead;
	if (run->pos != r->n_tokens)
		return moe_err_set(err, MOE_EFORMAT, "%s: sequence %lld: expected position %lld next, found %lld",
		                   r->path, (long long)run->seq, (long long)r->n_tokens, (long long)run->pos);
	enum moe_status status = grow(r, run->pos + run->n_tokens, err);
	if (status)
		return status;
	const size_t n = (size_t)run->n_tokens * (size_t)r->top_k;
	memcpy(r->tokens + run->pos, run->tokens, (size_t)run->n_tokens * sizeof *r->tokens);
	for (int32_t l = 0; l < r->n_layers; l++) {
		const int64_t at = ((int64_t)l * r->cap + run->pos) * r->top_k;
		memcpy(r->ids + at, run->layers[l].ids, n * sizeof *r->ids);
		if (r->gates)
			memcpy(r->weights + at, run->layers[l].weights, n * sizeof *r->weights);
	}
	r->n_tokens += run->n_tokens;
	return moe_trace_next(r->in, &r->ahead, err);
}

enum moe_status moe_replay_begin(struct moe_replay *r, const struct moe_sequence *seq, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	r->n_tokens = 0;
	r->n_encoder = seq->n_encoder;
	/* a trace holds nothing of a sequence without tokens */
	if (seq->n_encoder + seq->n_tokens == 0)
		return MOE_OK;
	if (!r->ahead)
		return moe_err_set(err, MOE_EFORMAT, "%s: the trace ends before the text does", r->path);
	const int64_t part = r->ahead->part, number = r->ahead->seq;
	while (!status && r->ahead && r->ahead->part == part && r->ahead->seq == number)
		status = take(r, err);
	for (int64_t t = 0; t < seq->n_encoder + seq->n_tokens && !status; t++) {
		const int32_t token = t < seq->n_encoder ? seq->encoder[t] : seq->tokens[t - seq->n_encoder];
		if (t >= r->n_tokens || (r->tokens[t] >= 0 && r->tokens[t] != token))
			status = moe_err_set(err, MOE_EFORMAT,
			                     "%s: sequence %lld, position %lld: expected token %d, found %s%d",
			                     r->path, (long long)number, (long long)t, (int)token,
			                     t < r->n_tokens ? "" : "the end, at ",
			                     t < r->n_tokens ? (int)r->tokens[t] : (int)r->n_tokens);
	}
	return status;
}

enum moe_status moe_replay_forced(void *arg, int32_t layer, int64_t pos, int64_t n_tokens, const int32_t **ids,
                                  const float **weights, struct moe_err *err)
{
	struct moe_replay *r = arg;
	int32_t l = 0;
	while (l < r->n_layers && r->layers[l] != layer)
		l++;
	if (layer >= r->n_encoder_layers)
		pos += r->n_encoder;
	if (l == r->n_layers || pos + n_tokens > r->n_tokens)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: no choices for layer %d at position %lld: the sequence has %lld", r->path,
		                   (int)layer, (long long)(pos + n_tokens - 1), (long long)r->n_tokens);
	const int64_t at = ((int64_t)l * r->cap + pos) * r->top_k;
	*ids = r->ids + at;
	*weights = r->gates ? r->weights + at : NULL;
	return MOE_OK;
}
