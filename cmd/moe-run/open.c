/* What a run needs before its first token: sequences, outputs, trace, table of importance, session. */
#include <stdio.h>

#include "moe-run/run.h"

static enum moe_status on_logits(void *arg, int64_t pos, int64_t n, const float *logits, struct moe_err *err)
{
	struct run *run = arg;
	enum moe_status status = MOE_OK;
	if (run->logits)
		status = moe_dump_rows(run->logits, run->seq, pos, n, logits, err);
	if (!status && (run->cfg->score || run->cfg->choices))
		status = moe_scorer_rows(&run->scorer, pos, n, logits, err);
	return status;
}

static enum moe_status on_mtp(void *arg, int64_t pos, int64_t n, const float *logits, struct moe_err *err)
{
	struct run *run = arg;
	enum moe_status status = MOE_OK;
	if (run->logits)
		status = moe_dump_rows(run->logits, run->seqs.n + run->seq, pos, n, logits, err);
	if (!status && run->cfg->score)
		status = moe_scorer_mtp_rows(&run->scorer, pos, n, logits, err);
	return status;
}

static enum moe_status on_hidden(void *arg, int32_t n_layers, int64_t pos, int64_t n, const float *x,
                                 struct moe_err *err)
{
	struct run *run = arg;
	const int64_t index = run->seq * (run->setup.model->config.n_layers + 1) + n_layers;
	return moe_dump_rows(run->hidden, index, pos, n, x, err);
}

static enum moe_status on_routing(void *arg, const struct moe_routing *routing, int64_t pos, struct moe_err *err)
{
	struct run *run = arg;
	return moe_record_routing(run->record, routing, pos, err);
}

static enum moe_status on_run(void *arg, const struct moe_trace_run *record, struct moe_err *err)
{
	struct run *run = arg;
	return moe_trace_write(run->trace, record, err);
}

enum moe_status run_read_inputs(struct run *run, int64_t window, struct moe_err *err)
{
	const struct config *cfg = run->cfg;
	const bool bos = run->setup.tokenizer && moe_tokenizer_add_bos(run->setup.tokenizer);
	const struct moe_inputs inputs = {
		.tokenizer = cfg->ids || cfg->detokenize ? NULL : run->setup.tokenizer,
		.encoder = run->setup.model && run->setup.model->config.n_encoder_layers > 0,
		.start_id = run->setup.model ? run->setup.model->config.decoder_start_id : 0,
		.n_vocab = cfg->detokenize || !run->setup.model ? 0 : run->setup.model->config.vocab_size,
		.windows = { window, cfg->overlap, bos ? moe_tokenizer_bos_id(run->setup.tokenizer) : -1 },
		.chat = run->chat,
		.system = cfg->system,
		.prompts = cfg->prompts.items,
		.n_prompts = cfg->prompts.n,
		.files = run->ctx->operands + 1,
		.n_files = run->ctx->n_operands - 1,
		.watch = run->ctx->watch,
	};
	if (inputs.tokenizer && inputs.encoder && cfg->score)
		return moe_err_set(err, MOE_EUSAGE,
		                   "--score: a text is what the encoder is given, and nothing says what the decoder "
		                   "should answer (--ids: encoder ids, a TAB, decoder ids)");
	return moe_sequences_read(&run->seqs, &inputs, err);
}

/* Logits and hidden states: one tensor a sequence, and one a sequence and layer. */
static enum moe_status open_dumps(struct run *run, struct moe_err *err)
{
	const struct config *cfg = run->cfg;
	const struct moe_config *config = &run->setup.model->config;
	const unsigned flags = tool_out_flags(run->ctx);
	enum moe_status status = MOE_OK;
	if (cfg->logits)
		status = moe_dump_open(&run->logits, cfg->logits, flags, run->ctx->watch, err);
	if (!status && cfg->logits)
		status = moe_dump_logits(run->logits, &run->seqs, config->vocab_size, cfg->mtp, err);
	if (!status && cfg->hidden)
		status = moe_dump_open(&run->hidden, cfg->hidden, flags, run->ctx->watch, err);
	if (!status && cfg->hidden)
		status = moe_dump_hidden(run->hidden, &run->seqs, config->n_encoder_layers, config->n_layers,
		                         config->hidden_size, err);
	return status;
}

static enum moe_status open_trace(struct run *run, const char *command, int32_t chunk, struct moe_err *err)
{
	if (!run->cfg->trace)
		return MOE_OK;
	const struct moe_record_sink sink = { run, on_run };
	enum moe_status status =
	    moe_record_describe(&run->described, &run->setup, run->ctx->operands[0], command, run->cfg->mtp, err);
	if (status)
		return status;
	moe_ablate_describe(&run->ablate, &run->described.header);
	run->described.header.gates = run->cfg->gates < 0 ? MOE_GATES_F32 : (enum moe_gate_type)run->cfg->gates;
	const struct moe_record_opts recorded = { .top_k = run->described.header.top_k, .chunk = chunk,
		                                  .mtp = run->cfg->mtp };
	status = moe_record_new(&run->record, &run->setup.model->config, &recorded, &sink, err);
	if (!status)
		status = moe_trace_create(&run->trace, run->cfg->trace, tool_out_flags(run->ctx),
		                          &run->described.header, run->pool, run->ctx->watch, err);
	return status;
}

/* Positions: what is asked for, within --ctx or the model's own maximum. */
static enum moe_status choose_ctx(const struct run *run, int64_t n_generate, int64_t *n_ctx, struct moe_err *err)
{
	const struct moe_config *config = &run->setup.model->config;
	const int64_t longest = moe_sequences_longest(&run->seqs);
	/* A window of the model's full length still has BOS before it. */
	const bool has_bos = n_generate == 0 && !run->cfg->ids;
	const int64_t limit = run->cfg->ctx ? run->cfg->ctx : config->max_positions + (has_bos ? 1 : 0);
	if (longest > limit)
		return moe_err_set(err, MOE_EUSAGE, "a sequence of %lld tokens does not fit %lld positions (%s)",
		                   (long long)longest, (long long)(run->cfg->ctx ? limit : config->max_positions),
		                   run->cfg->ctx ? "--ctx" : "the model's maximum; --ctx N goes beyond it");
	*n_ctx = longest + n_generate < limit ? longest + n_generate : limit;
	return MOE_OK;
}

/* What a run like this takes and makes. */
static enum moe_status dry_run(struct run *run, const struct moe_session_opts *opts, bool generates)
{
	const struct config *cfg = run->cfg;
	const struct moe_config *config = &run->setup.model->config;
	const double vocab = (double)config->vocab_size;
	double weights = 0, rows = (double)moe_sequences_tokens(&run->seqs);
	char text[24];
	for (int64_t i = 0; i < run->seqs.n && cfg->mtp; i++)
		rows += (double)(run->seqs.items[i].n_tokens > 0 ? run->seqs.items[i].n_tokens - 1 : 0);
	for (int32_t i = 0; i < run->setup.ckpt->n_files; i++)
		weights += (double)run->setup.ckpt->files[i].n_bytes;
	printf("weights\t%s\n", moe_format_bytes(text, weights));
	printf("buffers\t%s\n", moe_format_bytes(text, (double)moe_session_bytes(config, opts)));
	printf("sequences\t%lld\ntokens\t%lld\npositions\t%lld\n", (long long)run->seqs.n,
	       (long long)moe_sequences_all_tokens(&run->seqs), (long long)opts->n_ctx);
	if (generates || cfg->score || cfg->choices)
		tool_would_write(run->ctx->common.output, -1);
	if (cfg->logits)
		tool_would_write(cfg->logits, 4 * vocab * rows);
	if (cfg->hidden)
		tool_would_write(cfg->hidden, 4.0 * config->hidden_size *
		                 (double)moe_dump_hidden_rows(&run->seqs, config->n_encoder_layers, config->n_layers));
	if (cfg->trace)
		tool_would_write(cfg->trace, -1);
	if (cfg->imatrix)
		tool_would_write(cfg->imatrix, moe_importance_bytes(run->importance));
	return MOE_OK;
}

/* Options that this model would leave without effect. */
static enum moe_status check_model_has(const struct run *run, struct moe_err *err)
{
	enum moe_status status = run->cfg->mtp ? moe_setup_mtp(&run->setup, err) : MOE_OK;
	if (!status && run->cfg->mla && run->setup.model->config.kv_lora_rank == 0)
		status = moe_err_set(err, MOE_EUSAGE, "--mla: the model has no latent attention");
	return status;
}

/* The device tells what it multiplies, from here on. */
static enum moe_status open_importance(struct run *run, struct moe_err *err)
{
	struct moe_device *device = run->setup.device;
	if (!device->ops->tells)
		return moe_err_set(err, MOE_EUSAGE, "--imatrix: device '%s' does not tell what it multiplies",
		                   device->ops->name);
	enum moe_status status = moe_importance_new(&run->importance, run->setup.model, run->cfg->mtp, err);
	if (!status)
		device->listener = moe_importance_listener(run->importance);
	return status;
}

enum moe_status run_open_session(struct run *run, int64_t n_generate, const char *command, int64_t *n_ctx,
                                    struct moe_err *err)
{
	const struct config *cfg = run->cfg;
	enum moe_status status = check_model_has(run, err);
	if (!status)
		status = choose_ctx(run, n_generate, n_ctx, err);
	if (status)
		return status;
	const int64_t longest = moe_sequences_longest(&run->seqs), encoder = moe_sequences_longest_encoder(&run->seqs);
	const int32_t chunk = longest < cfg->chunk ? (int32_t)(longest > 0 ? longest : 1) : cfg->chunk;
	const bool rows = cfg->logits || cfg->score || cfg->choices || cfg->imatrix;
	status =
	    moe_ablate_open(&run->ablate, &cfg->ablate, &run->setup.model->config, run->pool, run->ctx->watch, err);
	if (status)
		return status;
	const struct moe_session_opts opts = {
		.n_ctx = *n_ctx,
		.n_encoder_ctx = encoder,
		.chunk = chunk,
		.mtp = cfg->mtp,
		.mla = (enum moe_mla_form)cfg->mla,
		.ablation = run->ablate.ablation,
		.hooks = { run, cfg->hidden ? on_hidden : NULL, cfg->trace ? on_routing : NULL,
		           rows ? on_logits : NULL, cfg->mtp && rows ? on_mtp : NULL, NULL },
	};
	if (cfg->imatrix)
		status = open_importance(run, err);
	if (status)
		return status;
	if (run->ctx->common.dry_run)
		return dry_run(run, &opts, n_generate > 0);
	status = open_dumps(run, err);
	if (!status)
		status = open_trace(run, command, encoder > chunk ? (int32_t)encoder : chunk, err);
	if (!status)
		status = moe_session_open(&run->session, run->setup.model, run->setup.device, &opts, err);
	return status;
}
