/* Text out: generated tokens as they come, and the tokenizer alone. */
#include <string.h>
#include <unistd.h>

#include "moe-run/run.h"

/* Where generated tokens go. */
struct printer {
	struct run *run;
	struct moe_detok *detok;
	struct moe_buf text; /* not yet printed, or with --json all of it */
	struct moe_buf ids;
	size_t begin;        /* of what is generated in text */
	bool ended;          /* by a stop text */
};

/* Prints the first n bytes that wait; with --json all wait for the end. */
static enum moe_status flush_text(struct printer *p, size_t n, struct moe_err *err)
{
	enum moe_status status = moe_buf_check(&p->text, err);
	if (status || n == 0 || p->run->ctx->common.json)
		return status;
	status = moe_out_write(p->run->out, p->text.p, n, err);
	if (!status)
		status = moe_out_flush(p->run->out, err);
	p->text.n -= n;
	memmove(p->text.p, p->text.p + n, p->text.n);
	return status;
}

/* Cuts the text where a stop text begins, `searched` bytes having been looked at before, and prints what cannot become
 * part of one. */
static enum moe_status pass_on(struct printer *p, size_t searched, struct moe_err *err)
{
	const struct moe_stops stops = { p->run->cfg->stops.items, p->run->cfg->stops.n };
	const char *text = p->text.p ? p->text.p + p->begin : "";
	const size_t n = p->text.n - p->begin, end = moe_stops_find(&stops, text, n, searched);
	p->ended = end < n;
	p->text.n = p->begin + end;
	return flush_text(p, p->begin + (p->ended ? end : moe_stops_safe(&stops, text, n)), err);
}

static enum moe_status on_token(void *arg, int32_t id, bool *ends, struct moe_err *err)
{
	struct printer *p = arg;
	const bool first = p->ids.n == 0;
	tool_progress_add(&p->run->progress, 1);
	moe_buf_addf(&p->ids, first ? "%d" : p->run->ctx->common.json ? ",%d" : " %d", (int)id);
	if (p->run->cfg->ids && !p->run->ctx->common.json) {
		moe_buf_addf(&p->text, first ? "%d" : " %d", (int)id);
		return flush_text(p, p->text.n, err);
	}
	if (!p->detok)
		return MOE_OK;
	const size_t searched = p->text.n - p->begin;
	enum moe_status status = moe_detok_add(p->detok, id, &p->text, err);
	if (!status)
		status = pass_on(p, searched, err);
	*ends = p->ended;
	return status;
}

/* What the tokenizer held back, which lies behind the end where a stop text made one. */
static enum moe_status finish_text(struct printer *p, struct moe_err *err)
{
	const size_t n = p->text.n;
	const bool ended = p->ended;
	enum moe_status status = moe_detok_finish(p->detok, &p->text, err);
	if (!status && !ended)
		status = pass_on(p, n - p->begin, err);
	if (ended)
		p->text.n = n;
	return status;
}

static enum moe_status generate_one(struct run *run, const struct moe_generate *g, struct printer *p,
                                    struct moe_err *err)
{
	const struct moe_sequence *prompt = &run->seqs.items[run->seq];
	const bool json = run->ctx->common.json;
	struct moe_generated made;
	enum moe_status status = MOE_OK;
	p->ids.n = p->begin = 0;
	p->ended = false;
	for (int64_t t = 0; run->cfg->echo && t < prompt->n_tokens && !status; t++) {
		if (run->cfg->ids && !json)
			moe_buf_addf(&p->text, "%d ", (int)prompt->tokens[t]);
		else if (p->detok)
			status = moe_detok_add(p->detok, prompt->tokens[t], &p->text, err);
	}
	if (!status)
		status = flush_text(p, p->text.n, err);
	p->begin = p->text.n;
	if (!status)
		status = moe_sequences_blame(&run->seqs, run->seq, run->setup.ckpt->path,
		                             moe_generate_run(g, prompt, run->seq, &made, err), err);
	if (!status && p->detok)
		status = finish_text(p, err);
	if (status)
		return status;
	if (p->ended)
		made.stop = MOE_STOP_TEXT;
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

struct moe_generate run_generation(const struct run *run, int64_t n_ctx, int64_t n_max)
{
	const struct config *cfg = run->cfg;
	return (struct moe_generate){
		.session = run->session,
		.config = &run->setup.model->config,
		.n_max = n_max,
		.n_ctx = n_ctx,
		.sampling = { cfg->temp, cfg->top_p, cfg->min_p, cfg->top_k, (uint64_t)run->ctx->common.seed },
		.ignore_eos = cfg->ignore_eos,
		.end_ids = run->ends.ids,
		.n_end_ids = run->ends.n,
		.replay = run->ablate.replay,
		.record = run->record,
	};
}

enum moe_status run_generate(struct run *run, int64_t n_ctx, int64_t n_max, struct moe_err *err)
{
	const struct config *cfg = run->cfg;
	struct printer p = { .run = run };
	struct moe_generate g = run_generation(run, n_ctx, n_max);
	g.arg = &p;
	g.token = on_token;
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

enum moe_status run_convert_tokens(struct run *run, struct moe_err *err)
{
	enum moe_status status = run_read_inputs(run, 0, err);
	const struct moe_tokenizer *tok = run->setup.tokenizer;
	const bool bos = !run->chat && moe_tokenizer_add_bos(tok) && moe_tokenizer_bos_id(tok) >= 0;
	if (!status && run->cfg->tokenize)
		return moe_tokens_write_ids(&run->seqs, bos ? 1 : 0, run->out, err);
	return status ? status : moe_tokens_write_text(&run->seqs, tok, run->out, err);
}
