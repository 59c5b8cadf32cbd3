/* Text in: through a model up to its last router. */
#include <stdio.h>
#include <stdlib.h>

#include "moe-route/route.h"

static enum moe_status on_routing(void *arg, const struct moe_routing *routing, int64_t pos, struct moe_err *err)
{
	struct route *route = arg;
	return moe_record_routing(route->record, routing, pos, err);
}

/* What the model is fed, and the session that ends at its last router. */
static enum moe_status prepare_model(struct route *route, struct moe_err *err)
{
	const struct config *cfg = route->cfg;
	const struct moe_tokenizer *tok = cfg->ids ? NULL : route->setup.tokenizer;
	const struct moe_config *config = &route->setup.model->config;
	const int64_t most = config->max_positions;
	const struct moe_inputs inputs = {
		.tokenizer = tok,
		.encoder = config->n_encoder_layers > 0,
		.start_id = config->decoder_start_id,
		.n_vocab = config->vocab_size,
		.windows = { cfg->window              ? cfg->window
		             : most > 0 && most < 512 ? most
		                                      : 512,
		             cfg->overlap, tok && moe_tokenizer_add_bos(tok) ? moe_tokenizer_bos_id(tok) : -1 },
		.prompts = cfg->prompts.items,
		.n_prompts = cfg->prompts.n,
		.files = route->ctx->operands + 1,
		.n_files = route->ctx->n_operands - 1,
		.watch = route->ctx->watch,
	};
	enum moe_status status = cfg->mtp ? moe_setup_mtp(&route->setup, err) : MOE_OK;
	if (!status)
		status = moe_sequences_read(&route->seqs, &inputs, err);
	if (!status)
		status = moe_record_describe(&route->described, &route->setup, route->ctx->operands[0],
		                             route->command, cfg->mtp, err);
	if (status)
		return status;
	const int64_t longest = moe_sequences_longest(&route->seqs);
	const int64_t encoder = moe_sequences_longest_encoder(&route->seqs);
	const int32_t chunk = longest < cfg->chunk ? (int32_t)(longest > 0 ? longest : 1) : cfg->chunk;
	const struct moe_session_opts opts = { .n_ctx = longest,
		                               .n_encoder_ctx = encoder,
		                               .chunk = chunk,
		                               .routers_only = true,
		                               .mtp = cfg->mtp,
		                               .margins = cfg->margin,
		                               .hooks = { .arg = route, .routing = on_routing } };
	const struct moe_record_sink sink = { route, route_deliver };
	if (route->ctx->common.dry_run) {
		char text[24];
		printf("buffers\t%s\nsequences\t%lld\ntokens\t%lld\n",
		       moe_format_bytes(text, (double)moe_session_bytes(config, &opts)), (long long)route->seqs.n,
		       (long long)moe_sequences_all_tokens(&route->seqs));
		tool_would_write(route->ctx->common.output, -1);
		return MOE_OK;
	}
	struct moe_trace_header *header = &route->described.header;
	header->logits = cfg->logits;
	header->margins = cfg->margin;
	const struct moe_record_opts recorded = { .top_k = config->router.top_k,
		                                  .chunk = encoder > chunk ? (int32_t)encoder : chunk,
		                                  .logits = cfg->logits, .margins = cfg->margin,
		                                  .mtp = cfg->mtp };
	status = moe_record_new(&route->record, config, &recorded, &sink, err);
	if (!status)
		status = moe_session_open(&route->session, route->setup.model, route->setup.device, &opts, err);
	return status ? status : route_open_output(route, header, err);
}

enum moe_status route_text(struct route *route, struct moe_err *err)
{
	char *path = NULL;
	enum moe_status status = tool_model_path(route->ctx, route->ctx->operands[0], &path, err);
	if (!status)
		status = moe_setup_open(&route->setup, path, route->cfg->device, route->pool, route->ctx->watch, err);
	free(path);
	if (!status && !route->cfg->ids)
		status = moe_setup_tokenizer(&route->setup, err);
	if (!status)
		status = prepare_model(route, err);
	if (status || route->ctx->common.dry_run)
		return status;
	tool_progress_start(&route->progress, route->ctx, "tokens", moe_sequences_all_tokens(&route->seqs),
	                    TOOL_TOKENS);
	for (int64_t i = 0; i < route->seqs.n && !status; i++) {
		const struct moe_sequence *seq = &route->seqs.items[i];
		status = moe_record_start(route->record, route->session, seq, i, err);
		if (!status)
			status = moe_session_feed(route->session, seq->tokens, seq->n_tokens, false, MOE_LOGITS_NONE,
			                          err);
		if (!status)
			status = moe_record_finish(route->record, err);
		status = moe_sequences_blame(&route->seqs, i, route->setup.ckpt->path, status, err);
		tool_progress_add(&route->progress, seq->n_encoder + seq->n_tokens);
	}
	tool_progress_finish(&route->progress);
	return status;
}
