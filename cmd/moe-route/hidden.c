/* --hidden: one layer's router on inputs from a file: each of its tensors [tokens, hidden size] is a sequence. */
#include <stdlib.h>

#include "checkpoint/checkpoint.h"
#include "moe-route/route.h"

/* What the hook needs to make a run of what it hears. */
struct fed {
	struct route *route;
	const struct moe_tensor *tensor;
	int64_t seq;
	const int32_t *tokens; /* [chunk] -1: not known */
};

static enum moe_status on_routing(void *arg, const struct moe_routing *routing, int64_t pos, struct moe_err *err)
{
	const struct fed *fed = arg;
	const struct moe_trace_run run = { .seq = fed->seq,
		                           .pos = pos,
		                           .source = fed->tensor->name,
		                           .n_tokens = routing->n_tokens,
		                           .tokens = fed->tokens,
		                           .layers = routing };
	return route_deliver(fed->route, &run, err);
}

/* Every tensor must be rows for this model. *longest: of the sequences. */
static enum moe_status check_tensors(const struct moe_ckpt *file, const char *path, int64_t hidden, int64_t *longest,
                                     struct moe_err *err)
{
	*longest = 0;
	for (size_t i = 0; i < file->n_tensors; i++) {
		const struct moe_tensor *t = &file->tensors[i];
		if (t->n_dims != 2 || t->dims[1] != hidden)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: %s has %d dimensions, the last of %lld: expected 2, tokens and %lld",
			                   path, t->name, (int)t->n_dims,
			                   (long long)(t->n_dims ? t->dims[t->n_dims - 1] : 0), (long long)hidden);
		*longest = t->dims[0] > *longest ? t->dims[0] : *longest;
	}
	return *longest ? MOE_OK : moe_err_set(err, MOE_EFORMAT, "%s: expected tensors with rows, found none", path);
}

static enum moe_status feed(struct route *route, const struct moe_ckpt *file, struct fed *fed, int64_t chunk,
                            float *rows, struct moe_err *err)
{
	const int64_t hidden = route->setup.model->config.hidden_size;
	enum moe_status status = MOE_OK;
	for (size_t i = 0; i < file->n_tensors && !status; i++) {
		const struct moe_weight w = { .codec = file->tensors[i].codec, .data = file->tensors[i].data };
		fed->tensor = &file->tensors[i];
		fed->seq = (int64_t)i;
		moe_session_reset(route->session, fed->tensor->dims[0]);
		for (int64_t at = 0; at < fed->tensor->dims[0] && !status; at += chunk) {
			const int64_t left = fed->tensor->dims[0] - at, n = left < chunk ? left : chunk;
			moe_weight_decode(&w, (size_t)(at * hidden), (size_t)(n * hidden), rows);
			status = moe_session_route(route->session, route->cfg->layer, rows, at, n, err);
			tool_progress_add(&route->progress, n);
		}
		if (status == MOE_EFORMAT)
			moe_err_set(err, status, "%s: %s: %s", route->cfg->hidden, fed->tensor->name, err->text);
	}
	return status;
}

static enum moe_status route_file(struct route *route, const struct moe_ckpt *file, struct moe_err *err)
{
	const struct config *cfg = route->cfg;
	const struct moe_config *config = &route->setup.model->config;
	struct moe_trace_header *header = &route->described.header;
	struct fed fed = { .route = route };
	int64_t longest = 0;
	int32_t *tokens = NULL;
	float *rows = NULL;
	enum moe_status status = check_tensors(file, cfg->hidden, config->hidden_size, &longest, err);
	if (!status)
		status = moe_record_describe(&route->described, &route->setup, route->ctx->operands[0],
		                             route->command, false, err);
	if (!status && (cfg->layer >= config->n_layers || config->layers[cfg->layer].ffn != MOE_FFN_MOE))
		status = moe_err_set(err, MOE_EUSAGE, "--layer %d: the model has no router there", (int)cfg->layer);
	if (status || route->ctx->common.dry_run) {
		if (!status)
			tool_would_write(route->ctx->common.output, -1);
		return status;
	}
	const int32_t chunk = longest < cfg->chunk ? (int32_t)longest : cfg->chunk;
	const struct moe_session_opts opts = { .n_ctx = chunk,
		                               .n_encoder_ctx = config->n_encoder_layers > 0 ? chunk : 0,
		                               .chunk = chunk,
		                               .routers_only = true,
		                               .margins = cfg->margin,
		                               .hooks = { .arg = &fed, .routing = on_routing } };
	tokens = malloc((size_t)chunk * sizeof *tokens);
	rows = malloc((size_t)chunk * (size_t)config->hidden_size * sizeof *rows);
	if (!tokens || !rows)
		status = moe_err_nomem(err, (size_t)chunk * (size_t)config->hidden_size * sizeof *rows, "inputs");
	for (int32_t t = 0; t < chunk && !status; t++)
		tokens[t] = -1;
	fed.tokens = tokens;
	header->layers = &cfg->layer;
	header->n_layers = 1;
	header->logits = cfg->logits;
	header->margins = cfg->margin;
	if (!status)
		status = moe_session_open(&route->session, route->setup.model, route->setup.device, &opts, err);
	if (!status)
		status = route_open_output(route, header, err);
	tool_progress_start(&route->progress, route->ctx, "tokens", 0, TOOL_TOKENS);
	if (!status)
		status = feed(route, file, &fed, chunk, rows, err);
	tool_progress_finish(&route->progress);
	free(tokens);
	free(rows);
	return status;
}

enum moe_status route_hidden(struct route *route, struct moe_err *err)
{
	char *path = NULL;
	struct moe_ckpt *file = NULL;
	enum moe_status status = tool_model_path(route->ctx, route->ctx->operands[0], &path, err);
	if (!status)
		status = moe_setup_open(&route->setup, path, route->cfg->device, route->pool, route->ctx->watch, err);
	free(path);
	if (!status)
		status = moe_ckpt_open(&file, route->cfg->hidden, route->ctx->watch, err);
	if (!status)
		status = route_file(route, file, err);
	moe_ckpt_close(file);
	return status;
}
