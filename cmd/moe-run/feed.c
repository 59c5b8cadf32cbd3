/* Given text through the model: scores, logits, hidden states, a trace. */
#include <stdlib.h>

#include "moe-run/run.h"

enum moe_status run_new_scorer(struct run *run, struct moe_err *err)
{
	const size_t longest = (size_t)moe_sequences_longest(&run->seqs);
	run->scorer = (struct moe_scorer){ .tokenizer = run->setup.tokenizer,
		                           .pool = run->pool,
		                           .vocab_size = run->setup.model->config.vocab_size };
	if (run->cfg->mtp && !(run->scorer.likeliest = calloc(longest + 1, sizeof *run->scorer.likeliest)))
		return moe_err_nomem(err, longest * sizeof *run->scorer.likeliest, "the likeliest tokens");
	return MOE_OK;
}

/* Does sequence i end its source? */
static bool ends_source(const struct moe_sequences *seqs, int64_t i)
{
	return i + 1 == seqs->n || seqs->items[i + 1].source != seqs->items[i].source;
}

/* A row for each source; *first: the first sequence whose source has none yet. */
static enum moe_status open_scores(struct run *run, const char *command, int64_t *first, struct moe_err *err)
{
	const struct moe_sequences *seqs = &run->seqs;
	int64_t n_keys = 0, done = 0;
	run->keys = calloc((size_t)seqs->n + 1, sizeof *run->keys);
	if (!run->keys)
		return moe_err_nomem(err, (size_t)seqs->n * sizeof *run->keys, "the list of sources");
	for (int64_t i = 0; i < seqs->n; i++)
		if (ends_source(seqs, i))
			run->keys[n_keys++] = seqs->items[i].source;
	const char *columns = run->cfg->mtp ? MOE_SCORE_MTP_COLUMNS : MOE_SCORE_COLUMNS;
	enum moe_status status = run_open_result(run, columns, run->ctx->common.json, n_keys, command, &done, err);
	*first = 0;
	for (int64_t i = 0; i < seqs->n && done > 0; i++) {
		*first = i + 1;
		done -= ends_source(seqs, i);
	}
	return status;
}

/* All sequences of one source end with a row. */
static enum moe_status finish_source(struct run *run, struct moe_err *err)
{
	struct moe_scorer *scorer = &run->scorer;
	enum moe_status status = moe_score_row(run->result, &scorer->sum, run->cfg->mtp ? &scorer->mtp : NULL,
	                                       run->seqs.items[run->seq].source, err);
	scorer->sum = (struct moe_score){ 0 };
	scorer->mtp = (struct moe_mtp_score){ 0 };
	return status;
}

static enum moe_status feed_one(struct run *run, enum moe_logits want, struct moe_err *err)
{
	const struct moe_sequence *seq = &run->seqs.items[run->seq];
	enum moe_status status = MOE_OK;
	run->scorer.seq = seq;
	if (run->ablate.replay)
		status = moe_replay_begin(run->ablate.replay, seq, err);
	if (!status)
		status = moe_record_start(run->record, run->session, seq, run->seq, err);
	if (!status)
		status = moe_session_feed(run->session, seq->tokens, seq->n_tokens, false, want, err);
	if (!status)
		status = moe_record_finish(run->record, err);
	tool_progress_add(&run->progress, seq->n_encoder + seq->n_tokens);
	return moe_sequences_blame(&run->seqs, run->seq, run->setup.ckpt->path, status, err);
}

enum moe_status run_feed(struct run *run, const char *command, struct moe_err *err)
{
	const bool score = run->cfg->score;
	/* the head is one of the matrices whose inputs are told */
	const bool all = score || run->cfg->logits || run->cfg->imatrix;
	const enum moe_logits want = all ? MOE_LOGITS_ALL : MOE_LOGITS_NONE;
	int64_t first = 0, n_tokens = moe_sequences_all_tokens(&run->seqs);
	enum moe_status status = score ? open_scores(run, command, &first, err) : MOE_OK;
	if (status || (score && moe_result_is_complete(run->result)))
		return status;
	for (int64_t i = 0; i < first; i++)
		n_tokens -= run->seqs.items[i].n_encoder + run->seqs.items[i].n_tokens;
	if (score)
		status = run_new_scorer(run, err);
	tool_progress_start(&run->progress, run->ctx, "tokens", n_tokens, TOOL_TOKENS);
	for (run->seq = first; run->seq < run->seqs.n && !status; run->seq++) {
		status = feed_one(run, want, err);
		if (!status && score && ends_source(&run->seqs, run->seq))
			status = finish_source(run, err);
	}
	tool_progress_finish(&run->progress);
	return status || !score ? status : moe_score_total(run->result, run->cfg->mtp, err);
}
