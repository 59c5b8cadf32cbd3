/* moe-run: text or ids through the model: generated text, scores, logits, hidden states, a trace. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "eval/ablate.h"
#include "eval/dump.h"
#include "eval/generate.h"
#include "eval/score.h"
#include "eval/tokens.h"
#include "tool.h"

struct config {
	struct moe_opt_list prompts;
	int32_t n_generate, top_k;
	double temp, top_p, min_p;
	bool ignore_eos, echo;
	bool score, ids, tokenize, detokenize, mtp;
	int64_t window, overlap, ctx;
	const char *logits, *hidden, *trace, *device;
	int32_t gates, chunk, mla;
	struct moe_ablate_opts ablate;
};

static const char *policy_word(size_t i)
{
	const struct moe_policy *policy = moe_policy_at(i);
	return policy ? policy->name : NULL;
}

static const struct moe_opt options[] = {
	MOE_OPT_GROUP("Input"),
	MOE_OPT_LIST('p', "prompt", "TEXT", struct config, prompts,
	             "text given here instead of in files; may be repeated"),
	MOE_OPT_FLAG(0, "ids", struct config, ids,
	             "lines of token ids instead of text, one sequence each, taken as they are"),
	MOE_OPT_GROUP("Generation"),
	MOE_OPT_INT('n', "n-tokens", "N", struct config, n_generate, 0, INT32_MAX,
	            "tokens to generate; 0: none [128]"),
	MOE_OPT_F64(0, "temp", "T", struct config, temp, 0, 1000, "temperature; 0: always the likeliest token [0]"),
	MOE_OPT_INT(0, "top-k", "N", struct config, top_k, 1, INT32_MAX, "sample among the N likeliest tokens [all]"),
	MOE_OPT_F64(0, "top-p", "P", struct config, top_p, 0, 1,
	            "sample among the fewest tokens whose sum reaches P [1]"),
	MOE_OPT_F64(0, "min-p", "P", struct config, min_p, 0, 1, "drop tokens below P times the likeliest [0]"),
	MOE_OPT_FLAG(0, "ignore-eos", struct config, ignore_eos, "do not stop at the end-of-text token"),
	MOE_OPT_FLAG(0, "echo", struct config, echo, "print the prompt before the text"),
	MOE_OPT_GROUP("Measuring"),
	MOE_OPT_FLAG(0, "score", struct config, score, "log-likelihood, perplexity and bits per byte of each text"),
	MOE_OPT_I64(0, "window", "N", struct config, window, 1, 0x1p61,
	            "tokens a text is cut into [512 or the model's maximum]"),
	MOE_OPT_I64(0, "overlap", "N", struct config, overlap, 0, 0x1p61, "tokens of context before each window [0]"),
	MOE_OPT_FILE(0, "logits", "FILE", struct config, logits,
	             "write logits.<seq> [tokens, vocab] to a safetensors file"),
	MOE_OPT_FILE(0, "hidden", "FILE", struct config, hidden,
	             "write hidden.<seq>.<n> [tokens, hidden], the residual stream after n layers"),
	MOE_OPT_FLAG(0, "mtp", struct config, mtp, "with --logits: also mtp_logits.<seq> [tokens - 1, vocab]"),
	MOE_OPT_FILE(0, "trace", "FILE", struct config, trace, "write a trace of the experts chosen"),
	MOE_OPT_ENUM(0, "gates", "f32|f16|8bit|none", struct config, gates, "how the trace stores gates [f32]"),
	MOE_OPT_GROUP("Routing otherwise"),
	MOE_OPT_INT('k', "experts-per-token", "N", struct config, ablate.top_k, 1, INT32_MAX,
	            "experts per token [the model's]"),
	MOE_OPT_LISTED(0, "policy", "NAME", policy_word, struct config, ablate.policy,
	               "routing policy [the model's]"),
	MOE_OPT_STR(0, "disable", "L:E,...", struct config, ablate.disable,
	            "experts that are never chosen; ranges and * allowed: 3:7,4:0-5,*:2"),
	MOE_OPT_F64(0, "mask-top", "F", struct config, ablate.mask_top, 0, 1,
	            "bar the share F of experts with the largest logits, for each token"),
	MOE_OPT_FLAG(0, "no-shared", struct config, ablate.no_shared, "leave out the shared experts"),
	MOE_OPT_F64(0, "capacity", "CF", struct config, ablate.capacity, 0, 1e9,
	            "an expert takes ceil(CF * k * T / E) choices of a group of T tokens"),
	MOE_OPT_I64(0, "capacity-tokens", "N", struct config, ablate.capacity_tokens, 1, 0x1p61,
	            "an expert takes N choices of a group"),
	MOE_OPT_STR(0, "capacity-group", "GROUP", struct config, ablate.capacity_group,
	            "what a group is: sequence, or tokens=N across sequences [sequence]"),
	MOE_OPT_FILE(0, "replay", "TRACE", struct config, ablate.replay,
	             "force the choices of a trace of the same text"),
	MOE_OPT_FLAG(0, "replay-gates", struct config, ablate.replay_gates, "with --replay: its gates too"),
	MOE_OPT_GROUP("Tokenizer"),
	MOE_OPT_FLAG(0, "tokenize", struct config, tokenize,
	             "print one line of token ids per text, and nothing else"),
	MOE_OPT_FLAG(0, "detokenize", struct config, detokenize, "print the text of lines of token ids"),
	MOE_OPT_GROUP("Computing"),
	MOE_OPT_LISTED(0, "device", "NAME", moe_device_at, struct config, device, "where to compute: cpu [cpu]"),
	MOE_OPT_I64(0, "ctx", "N", struct config, ctx, 1, INT32_MAX,
	            "positions of a sequence, at most [the model's maximum]"),
	MOE_OPT_ENUM(0, "mla", "role|expanded|absorbed", struct config, mla,
	             "form of latent attention; by role: expanded for given tokens, absorbed for generated [role]"),
	MOE_OPT_INT(0, "chunk", "N", struct config, chunk, 1, 1 << 20,
	            "tokens a pass; results do not depend on it [512]"),
	MOE_OPT_END,
};

static const struct tool tool = { "moe-run", "[options] MODEL [TEXT...]",
	                          "Run a Mixture-of-Experts model on text or token ids.", options };

/* What a run has open; run_close undoes all of it. */
struct run {
	struct tool_ctx *ctx;
	const struct config *cfg;
	struct moe_pool *pool;
	struct moe_setup setup;
	struct moe_sequences seqs;
	struct moe_session *session;
	struct moe_record_header described;
	struct moe_record *record;
	struct moe_trace_out *trace;
	struct moe_dump *logits, *hidden;
	struct moe_out *out;
	struct moe_scorer scorer;
	struct moe_ablate ablate;
	int64_t seq; /* the current sequence */
	struct tool_progress progress;
};

static enum moe_status on_logits(void *arg, int64_t pos, int64_t n, const float *logits, struct moe_err *err)
{
	struct run *run = arg;
	enum moe_status status = MOE_OK;
	if (run->logits)
		status = moe_dump_rows(run->logits, run->seq, pos, n, logits, err);
	if (!status && run->cfg->score)
		status = moe_scorer_rows(&run->scorer, pos, n, logits, err);
	return status;
}

static enum moe_status on_mtp(void *arg, int64_t pos, int64_t n, const float *logits, struct moe_err *err)
{
	struct run *run = arg;
	return moe_dump_rows(run->logits, run->seqs.n + run->seq, pos, n, logits, err);
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

/* Every text or line of ids becomes sequences. window 0: a text stays whole. */
static enum moe_status read_inputs(struct run *run, int64_t window, struct moe_err *err)
{
	const struct config *cfg = run->cfg;
	const bool bos = run->setup.tokenizer && moe_tokenizer_add_bos(run->setup.tokenizer);
	const struct moe_inputs inputs = {
		.tokenizer = cfg->ids || cfg->detokenize ? NULL : run->setup.tokenizer,
		.encoder = run->setup.model && run->setup.model->config.n_encoder_layers > 0,
		.n_vocab = cfg->detokenize || !run->setup.model ? 0 : run->setup.model->config.vocab_size,
		.windows = { window, cfg->overlap, bos ? moe_tokenizer_bos_id(run->setup.tokenizer) : -1 },
		.prompts = cfg->prompts.items,
		.n_prompts = cfg->prompts.n,
		.files = run->ctx->operands + 1,
		.n_files = run->ctx->n_operands - 1,
	};
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
	    moe_record_describe(&run->described, &run->setup, run->ctx->operands[0], command, err);
	if (status)
		return status;
	moe_ablate_describe(&run->ablate, &run->described.header);
	run->described.header.gates = run->cfg->gates < 0 ? MOE_GATES_F32 : (enum moe_gate_type)run->cfg->gates;
	status = moe_record_new(&run->record, &run->setup.model->config, run->described.header.top_k, chunk, false,
	                        false, &sink, err);
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
	const double tokens = (double)moe_sequences_tokens(&run->seqs), vocab = (double)config->vocab_size;
	double weights = 0;
	char text[24];
	for (int32_t i = 0; i < run->setup.ckpt->n_files; i++)
		weights += (double)run->setup.ckpt->files[i].n_bytes;
	printf("weights\t%s\n", moe_format_bytes(text, weights));
	printf("buffers\t%s\n", moe_format_bytes(text, (double)moe_session_bytes(config, opts)));
	printf("sequences\t%lld\ntokens\t%lld\npositions\t%lld\n", (long long)run->seqs.n,
	       (long long)moe_sequences_all_tokens(&run->seqs), (long long)opts->n_ctx);
	if (generates || cfg->score)
		tool_would_write(run->ctx->common.output, -1);
	if (cfg->logits)
		tool_would_write(cfg->logits, 4 * vocab * (tokens + (cfg->mtp ? tokens - (double)run->seqs.n : 0)));
	if (cfg->hidden)
		tool_would_write(cfg->hidden, 4.0 * config->hidden_size *
		                 (double)moe_dump_hidden_rows(&run->seqs, config->n_encoder_layers, config->n_layers));
	if (cfg->trace)
		tool_would_write(cfg->trace, -1);
	return MOE_OK;
}

static enum moe_status open_session(struct run *run, int64_t n_generate, const char *command, int64_t *n_ctx,
                                    struct moe_err *err)
{
	const struct config *cfg = run->cfg;
	enum moe_status status = choose_ctx(run, n_generate, n_ctx, err);
	if (status)
		return status;
	const int64_t longest = moe_sequences_longest(&run->seqs), encoder = moe_sequences_longest_encoder(&run->seqs);
	const int32_t chunk = longest < cfg->chunk ? (int32_t)(longest > 0 ? longest : 1) : cfg->chunk;
	const bool rows = cfg->logits || cfg->score;
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
		           rows ? on_logits : NULL, cfg->mtp ? on_mtp : NULL, NULL },
	};
	if (run->ctx->common.dry_run)
		return dry_run(run, &opts, n_generate > 0);
	status = open_dumps(run, err);
	if (!status)
		status = open_trace(run, command, encoder > chunk ? (int32_t)encoder : chunk, err);
	if (!status)
		status = moe_session_open(&run->session, run->setup.model, run->setup.device, &opts, err);
	return status;
}

static enum moe_status write_score(struct run *run, const struct moe_score *score, const char *source,
                                   struct moe_err *err)
{
	struct moe_buf line = { 0 };
	moe_score_print(score, source, run->ctx->common.json, &line);
	enum moe_status status = moe_buf_check(&line, err);
	if (!status)
		status = moe_out_write(run->out, line.p, line.n, err);
	moe_buf_free(&line);
	return status;
}

/* All sequences of one source end with a row; after the last source comes the total. */
static enum moe_status finish_source(struct run *run, struct moe_score *total, struct moe_err *err)
{
	const struct moe_score sum = run->scorer.sum;
	total->n_tokens += sum.n_tokens;
	total->n_bytes += sum.n_bytes;
	total->logprob += sum.logprob;
	run->scorer.sum = (struct moe_score){ 0 };
	return write_score(run, &sum, run->seqs.items[run->seq].source, err);
}

/* Feeds every sequence as it is: scores, logits, hidden states, trace. */
static enum moe_status feed_all(struct run *run, struct moe_err *err)
{
	const bool score = run->cfg->score, rows = score || run->cfg->logits;
	struct moe_score total = { 0 };
	enum moe_status status = MOE_OK;
	run->scorer = (struct moe_scorer){ .tokenizer = run->setup.tokenizer,
		                           .pool = run->pool,
		                           .vocab_size = run->setup.model->config.vocab_size };
	if (score && !run->ctx->common.json)
		status = moe_out_printf(run->out, err, "%s", MOE_SCORE_HEAD);
	tool_progress_start(&run->progress, run->ctx, "tokens", moe_sequences_all_tokens(&run->seqs), TOOL_TOKENS);
	for (run->seq = 0; run->seq < run->seqs.n && !status; run->seq++) {
		const struct moe_sequence *seq = &run->seqs.items[run->seq];
		run->scorer.seq = seq;
		if (run->ablate.replay)
			status = moe_replay_begin(run->ablate.replay, seq, err);
		if (!status)
			status = moe_record_start(run->record, run->session, seq, run->seq, err);
		if (!status)
			status = moe_session_feed(run->session, seq->tokens, seq->n_tokens, false,
		                          rows ? MOE_LOGITS_ALL : MOE_LOGITS_NONE, err);
		status = moe_sequences_blame(&run->seqs, run->seq, run->setup.ckpt->path, status, err);
		tool_progress_add(&run->progress, seq->n_encoder + seq->n_tokens);
		const bool last = run->seq + 1 == run->seqs.n || run->seqs.items[run->seq + 1].source != seq->source;
		if (!status && score && last)
			status = finish_source(run, &total, err);
	}
	tool_progress_finish(&run->progress);
	return status || !score ? status : write_score(run, &total, "total", err);
}

/* Where generated tokens go. */
struct printer {
	struct run *run;
	struct moe_detok *detok;
	struct moe_buf text; /* not yet printed, or with --json all of it */
	struct moe_buf ids;
};

static enum moe_status flush_text(struct printer *p, struct moe_err *err)
{
	if (p->run->ctx->common.json)
		return moe_buf_check(&p->text, err);
	enum moe_status status = moe_buf_check(&p->text, err);
	if (!status && p->text.n)
		status = moe_out_write(p->run->out, p->text.p, p->text.n, err);
	if (!status && p->text.n)
		status = moe_out_flush(p->run->out, err);
	p->text.n = 0;
	return status;
}

static enum moe_status on_token(void *arg, int32_t id, struct moe_err *err)
{
	struct printer *p = arg;
	const bool first = p->ids.n == 0;
	tool_progress_add(&p->run->progress, 1);
	moe_buf_addf(&p->ids, first ? "%d" : p->run->ctx->common.json ? ",%d" : " %d", (int)id);
	if (p->run->cfg->ids && !p->run->ctx->common.json) {
		moe_buf_addf(&p->text, first ? "%d" : " %d", (int)id);
		return flush_text(p, err);
	}
	if (!p->detok)
		return MOE_OK;
	enum moe_status status = moe_detok_add(p->detok, id, &p->text, err);
	return status ? status : flush_text(p, err);
}

static enum moe_status generate_one(struct run *run, const struct moe_generate *g, struct printer *p,
                                    struct moe_err *err)
{
	const struct moe_sequence *prompt = &run->seqs.items[run->seq];
	const bool json = run->ctx->common.json;
	struct moe_generated made;
	enum moe_status status = MOE_OK;
	p->ids.n = 0;
	for (int64_t t = 0; run->cfg->echo && t < prompt->n_tokens && !status; t++) {
		if (run->cfg->ids && !json)
			moe_buf_addf(&p->text, "%d ", (int)prompt->tokens[t]);
		else if (p->detok)
			status = moe_detok_add(p->detok, prompt->tokens[t], &p->text, err);
	}
	if (!status)
		status = flush_text(p, err);
	if (!status)
		status = moe_sequences_blame(&run->seqs, run->seq, run->setup.ckpt->path,
		                             moe_generate_run(g, prompt, run->seq, &made, err), err);
	if (!status && p->detok)
		status = moe_detok_finish(p->detok, &p->text, err);
	if (status)
		return status;
	if (made.stop == MOE_STOP_CONTEXT)
		tool_note(run->ctx, "%s: stopped after %lld tokens at the end of %lld positions (--ctx)",
		          prompt->source, (long long)made.n_tokens, (long long)g->n_ctx);
	if (json)
		moe_generated_print(&made, prompt, &p->ids, p->detok, &p->text);
	else if (run->cfg->ids || run->seqs.n > 1 || strcmp(moe_out_path(run->out), "-") == 0)
		moe_buf_addc(&p->text, '\n');
	status = moe_buf_check(&p->text, err);
	if (!status)
		status = moe_out_write(run->out, p->text.p, p->text.n, err);
	p->text.n = 0;
	return status ? status : moe_out_flush(run->out, err);
}

static enum moe_status generate_all(struct run *run, int64_t n_ctx, int64_t n_max, struct moe_err *err)
{
	const struct config *cfg = run->cfg;
	struct printer p = { .run = run };
	const struct moe_generate g = {
		.session = run->session,
		.config = &run->setup.model->config,
		.n_max = n_max,
		.n_ctx = n_ctx,
		.sampling = { cfg->temp, cfg->top_p, cfg->min_p, cfg->top_k, (uint64_t)run->ctx->common.seed },
		.ignore_eos = cfg->ignore_eos,
		.replay = run->ablate.replay,
		.record = run->record,
		.arg = &p,
		.token = on_token,
	};
	enum moe_status status = MOE_OK;
	if (run->setup.tokenizer && (!cfg->ids || run->ctx->common.json))
		status = moe_detok_new(&p.detok, run->setup.tokenizer, true, err);
	/* Text that streams to a terminal is its own progress. */
	if (run->ctx->common.output || run->ctx->common.json || !isatty(STDOUT_FILENO))
		tool_progress_start(&run->progress, run->ctx, "tokens", run->seqs.n * n_max, TOOL_TOKENS);
	for (run->seq = 0; run->seq < run->seqs.n && !status; run->seq++)
		status = generate_one(run, &g, &p, err);
	tool_progress_finish(&run->progress);
	moe_detok_free(p.detok);
	moe_buf_free(&p.text);
	moe_buf_free(&p.ids);
	return status;
}

/* Ids of texts as the tokenizer gives them, without BOS; or the text of lines of ids. */
static enum moe_status convert_tokens(struct run *run, struct moe_err *err)
{
	enum moe_status status = read_inputs(run, 0, err);
	const struct moe_tokenizer *tok = run->setup.tokenizer;
	const bool bos = moe_tokenizer_add_bos(tok) && moe_tokenizer_bos_id(tok) >= 0;
	if (!status && run->cfg->tokenize)
		return moe_tokens_write_ids(&run->seqs, bos ? 1 : 0, run->out, err);
	return status ? status : moe_tokens_write_text(&run->seqs, tok, run->out, err);
}

static enum moe_status commit(struct run *run, struct moe_err *err)
{
	enum moe_status status = run->trace ? moe_trace_commit(run->trace, err) : MOE_OK;
	run->trace = NULL;
	if (!status && run->logits) {
		status = moe_dump_commit(run->logits, err);
		run->logits = NULL;
	}
	if (!status && run->hidden) {
		status = moe_dump_commit(run->hidden, err);
		run->hidden = NULL;
	}
	if (!status && run->out) {
		status = moe_out_commit(run->out, err);
		run->out = NULL;
	}
	return status;
}

static void run_close(struct run *run)
{
	if (run->trace)
		moe_trace_abort(run->trace);
	moe_dump_abort(run->logits);
	moe_dump_abort(run->hidden);
	moe_out_abort(run->out);
	moe_session_close(run->session);
	moe_ablate_close(&run->ablate);
	moe_record_free(run->record);
	moe_record_header_free(&run->described);
	moe_sequences_free(&run->seqs);
	moe_setup_close(&run->setup);
}

static enum moe_status open_model(struct run *run, struct moe_err *err)
{
	const struct config *cfg = run->cfg;
	char *path = NULL;
	enum moe_status status = tool_model_path(run->ctx, run->ctx->operands[0], &path, err);
	if (!status)
		status = tool_pool(run->ctx, &run->pool, err);
	if (!status && (cfg->tokenize || cfg->detokenize))
		status = moe_setup_text(&run->setup, path, run->ctx->watch, err);
	else if (!status)
		status = moe_setup_open(&run->setup, path, cfg->device, run->pool, run->ctx->watch, err);
	/* Ids need no tokenizer, but with one the bytes they stand for can be counted. */
	if (!status && (!cfg->ids || (cfg->score && moe_ckpt_companion(run->setup.ckpt, "tokenizer.json"))))
		status = moe_setup_tokenizer(&run->setup, err);
	free(path);
	return status;
}

static enum moe_status run_all(struct run *run, const char *command, struct moe_err *err)
{
	const struct config *cfg = run->cfg;
	const bool feeds = cfg->score || cfg->logits || cfg->hidden || cfg->n_generate == 0;
	const int64_t n_max = feeds ? 0 : cfg->n_generate < 0 ? 128 : cfg->n_generate;
	const char *const outputs[] = { run->ctx->common.output, cfg->logits, cfg->hidden, cfg->trace };
	enum moe_status status = tool_files(run->ctx, 1, outputs, 4, err);
	if (!status)
		status = open_model(run, err);
	if (!status && !run->ctx->common.dry_run)
		status = moe_out_open(&run->out, run->ctx->common.output ? run->ctx->common.output : "-",
		                      tool_out_flags(run->ctx), run->ctx->watch, err);
	if (status)
		return status;
	if (cfg->tokenize || cfg->detokenize)
		return convert_tokens(run, err);

	const int64_t most = run->setup.model->config.max_positions;
	const int64_t window = cfg->window ? cfg->window : most > 0 && most < 512 ? most : 512;
	int64_t n_ctx = 0;
	status = read_inputs(run, n_max ? 0 : window, err);
	if (!status)
		status = open_session(run, n_max, command, &n_ctx, err);
	if (status || run->ctx->common.dry_run)
		return status;
	return n_max ? generate_all(run, n_ctx, n_max, err) : feed_all(run, err);
}

/* Options that contradict each other; NULL where none do. */
static const char *contradiction(const struct tool_ctx *ctx, const struct config *cfg)
{
	const bool measures = cfg->score || cfg->logits || cfg->hidden;
	const bool prints = cfg->score || cfg->n_generate != 0; /* something of its own on stdout */
	const bool to_stdout = !ctx->common.output || strcmp(ctx->common.output, "-") == 0;
	if (ctx->n_operands < 1)
		return "no MODEL given";
	if (cfg->tokenize && cfg->detokenize)
		return "--tokenize and --detokenize exclude each other";
	if ((cfg->tokenize || cfg->detokenize) && (measures || cfg->trace || cfg->n_generate >= 0))
		return "--tokenize and --detokenize need no model run: they exclude --score, --logits, --hidden, "
		       "--trace and -n";
	if ((cfg->tokenize || cfg->detokenize) && (ctx->common.dry_run || ctx->common.json || cfg->echo))
		return "--tokenize and --detokenize print ids or text alone: they exclude --dry-run, --json and --echo";
	if (cfg->tokenize && cfg->ids)
		return "--tokenize takes text, --ids takes ids: use --detokenize for the way back";
	if (measures && cfg->n_generate > 0)
		return "--score, --logits and --hidden measure given text: they go with -n 0";
	if (cfg->ablate.replay &&
	    (cfg->ablate.top_k || cfg->ablate.policy || cfg->ablate.disable || cfg->ablate.mask_top > 0))
		return "--replay forces the choices: it excludes -k, --policy, --disable and --mask-top";
	if (cfg->ablate.capacity > 0 && cfg->ablate.capacity_tokens)
		return "--capacity and --capacity-tokens say the same in two ways: give one";
	if (cfg->ablate.capacity_group && !(cfg->ablate.capacity > 0) && !cfg->ablate.capacity_tokens)
		return "--capacity-group goes with --capacity or --capacity-tokens";
	if (cfg->ablate.replay_gates && !cfg->ablate.replay)
		return "--replay-gates goes with --replay";
	if (cfg->echo && (measures || cfg->n_generate == 0))
		return "--echo goes with generated text: it excludes --score, --logits, --hidden and -n 0";
	if (cfg->gates >= 0 && !cfg->trace)
		return "--gates says how --trace FILE stores gates";
	if (cfg->top_p <= 0)
		return "option --top-p: 0 is not above 0";
	if (cfg->mtp && !cfg->logits)
		return "--mtp adds tensors to --logits FILE";
	if (cfg->temp == 0 && (cfg->top_k || cfg->top_p < 1 || cfg->min_p > 0))
		return "--top-k, --top-p and --min-p choose among tokens at random: give --temp above 0";
	if (cfg->trace && strcmp(cfg->trace, "-") == 0 && to_stdout && prints && (cfg->score || !measures))
		return "only one output can be '-' (stdout): name a file with -o";
	return NULL;
}

int main(int argc, char **argv)
{
	struct config cfg = { .n_generate = -1, .top_p = 1, .gates = -1, .device = "cpu", .chunk = 512 };
	struct tool_ctx ctx;
	struct moe_err err = { 0 };
	struct moe_arena arena = { 0 };
	const char *command = moe_command_line(&arena, argc, argv);
	tool_start(argc, argv, &tool, &cfg, &ctx);
	const char *problem = contradiction(&ctx, &cfg);
	if (problem) {
		moe_arena_free(&arena);
		return tool_misuse(&ctx, "%s", problem);
	}
	struct run run = { .ctx = &ctx, .cfg = &cfg };
	enum moe_status status = command ? run_all(&run, command, &err) : moe_err_nomem(&err, 0, "the command line");
	if (!status)
		status = commit(&run, &err);
	run_close(&run);
	moe_arena_free(&arena);
	return status ? tool_fail(&ctx, &err) : tool_end(&ctx);
}
