/* Given text through the model: scores, logits, hidden states, a trace. */
#include <stdlib.h>

#include "moe-run/run.h"

static enum moe_status write_text(struct run *run, struct moe_buf *text, struct moe_err *err)
{
	enum moe_status status = moe_buf_check(text, err);
	if (!status)
		status = moe_out_write(run->out, text->p, text->n, err);
	moe_buf_free(text);
	return status;
}

static enum moe_status write_score(struct run *run, const struct moe_scorer *sums, const char *source,
                                   struct moe_err *err)
{
	struct moe_buf line = { 0 };
	moe_score_print(&sums->sum, run->cfg->mtp ? &sums->mtp : NULL, source, run->ctx->common.json, &line);
	return write_text(run, &line, err);
}

/* All sequences of one source end with a row; after the last source comes the total. */
static enum moe_status finish_source(struct run *run, struct moe_scorer *total, struct moe_err *err)
{
	enum moe_status status = write_score(run, &run->scorer, run->seqs.items[run->seq].source, err);
	moe_score_add(&total->sum, &run->scorer.sum);
	moe_mtp_score_add(&total->mtp, &run->scorer.mtp);
	run->scorer.sum = (struct moe_score){ 0 };
	run->scorer.mtp = (struct moe_mtp_score){ 0 };
	return status;
}

/* The scorer, and the header of its table. */
static enum moe_status begin_scores(struct run *run, struct moe_err *err)
{
	const size_t longest = (size_t)moe_sequences_longest(&run->seqs);
	struct moe_buf head = { 0 };
	run->scorer = (struct moe_scorer){ .tokenizer = run->setup.tokenizer,
		                           .pool = run->pool,
		                           .vocab_size = run->setup.model->config.vocab_size };
	if (run->cfg->mtp && !(run->scorer.likeliest = calloc(longest + 1, sizeof *run->scorer.likeliest)))
		return moe_err_nomem(err, longest * sizeof *run->scorer.likeliest, "the likeliest tokens");
	if (!run->ctx->common.json)
		moe_score_head(run->cfg->mtp, &head);
	return write_text(run, &head, err);
}

static enum moe_status feed_one(struct run *run, const struct moe_sequence *seq, struct moe_err *err)
{
	const enum moe_logits want = run->cfg->score || run->cfg->logits ? MOE_LOGITS_ALL : MOE_LOGITS_NONE;
	enum moe_status status = MOE_OK;
	if (run->ablate.replay)
		status = moe_replay_begin(run->ablate.replay, seq, err);
	if (!status)
		status = moe_record_start(run->record, run->session, seq, run->seq, err);
	if (!status)
		status = moe_session_feed(run->session, seq->tokens, seq->n_tokens, false, want, err);
	if (!status)
		status = moe_record_finish(run->record, err);
	return moe_sequences_blame(&run->seqs, run->seq, run->setup.ckpt->path, status, err);
}

enum moe_status run_feed(struct run *run, struct moe_err *err)
{
	const bool score = run->cfg->score;
	struct moe_scorer total = { 0 };
	enum moe_status status = score ? begin_scores(run, err) : MOE_OK;
	tool_progress_start(&run->progress, run->ctx, "tokens", moe_sequences_all_tokens(&run->seqs), TOOL_TOKENS);
	for (run->seq = 0; run->seq < run->seqs.n && !status; run->seq++) {
		const struct moe_sequence *seq = &run->seqs.items[run->seq];
		run->scorer.seq = seq;
		status = feed_one(run, seq, err);
		tool_progress_add(&run->progress, seq->n_encoder + seq->n_tokens);
		const bool last = run->seq + 1 == run->seqs.n || run->seqs.items[run->seq + 1].source != seq->source;
		if (!status && score && last)
			status = finish_source(run, &total, err);
	}
	tool_progress_finish(&run->progress);
	return status || !score ? status : write_score(run, &total, "total", err);
}
