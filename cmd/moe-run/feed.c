/* Given text through the model: scores, logits, hidden states, a trace. */
#include "moe-run/run.h"

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

enum moe_status run_feed(struct run *run, struct moe_err *err)
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
