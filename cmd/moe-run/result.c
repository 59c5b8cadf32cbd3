/* Results that tell what made them and go on after an interruption. */
#include <stdlib.h>
#include <string.h>

#include "moe-run/run.h"

/* Files are known by what is in them, passes and threads change nothing. */
static const char *const not_compared[] = { "chunk", "resume", "choices", "exact", "prefix", NULL };

bool run_is_resumable(const struct run *run)
{
	const struct config *cfg = run->cfg;
	const char *output = run->ctx->common.output;
	return output && strcmp(output, "-") != 0 && !cfg->trace && !cfg->logits && !cfg->hidden && !cfg->imatrix &&
	       !cfg->ablate.replay;
}

static enum moe_status describe(struct run *run, const char *command, struct moe_err *err)
{
	const struct config *cfg = run->cfg;
	struct moe_buf values = { 0 };
	enum moe_status status = moe_meta_model(&run->meta, &run->setup, err);
	const char *evaluation = cfg->n_samples ? "samples" : cfg->choices ? "choices" : "exact";
	moe_meta_add(&run->meta, "mode", "%s", cfg->score ? "score" : evaluation);
	if (cfg->score && !cfg->ids) {
		moe_meta_add(&run->meta, "window", "%lld", (long long)run->window);
		moe_meta_add(&run->meta, "overlap", "%lld", (long long)cfg->overlap);
	}
	if (run->items.n)
		moe_meta_add(&run->meta, "items", "%lld", (long long)run->items.n);
	if (!status)
		status = moe_meta_input(&run->meta, &run->seqs, run->items.n ? &run->items : NULL, err);
	tool_values(run->ctx, not_compared, &values);
	if (!status)
		status = moe_buf_check(&values, err);
	if (!status)
		status = moe_meta_hash(&run->meta, "options", values.p, values.n, err);
	moe_buf_free(&values);
	moe_meta_command(&run->meta, command);
	return status;
}

/* Columns of numbers between the first of a result and the texts or lists at its end. */
static int count_numbers(const struct config *cfg)
{
	if (cfg->choices)
		return MOE_CHOICES_N_COLUMNS - 4;
	if (cfg->n_samples)
		return 2;
	if (cfg->exact)
		return 4;
	return (cfg->mtp ? MOE_SCORE_N_MTP_COLUMNS : MOE_SCORE_N_COLUMNS) - 1;
}

enum moe_status run_open_result(struct run *run, const char *columns, bool json, int64_t n_keys, const char *command,
                                int64_t *done, struct moe_err *err)
{
	const char *output = run->ctx->common.output;
	enum moe_status status = describe(run, command, err);
	const struct moe_result_opts opts = {
		.path = output ? output : "-",
		.flags = tool_out_flags(run->ctx) | (run->cfg->resume ? MOE_OUT_RESUME : 0),
		.json = json,
		.partial = run_is_resumable(run),
		.columns = columns,
		.n_numbers = count_numbers(run->cfg),
		.meta = &run->meta,
		.keys = run->keys,
		.n_keys = n_keys,
		.has_last = !run->cfg->n_samples,
	};
	if (!status)
		status = moe_result_open(&run->result, &opts, run->ctx->watch, err);
	if (status)
		return status;
	const char *partial = moe_result_partial(run->result);
	*done = moe_result_is_complete(run->result) ? n_keys : moe_result_done(run->result);
	if (moe_result_is_complete(run->result))
		tool_note(run->ctx, "%s: complete", opts.path);
	else if (*done)
		tool_note(run->ctx, "%s: %lld of %lld rows are there", partial, (long long)*done, (long long)n_keys);
	if (!partial)
		return MOE_OK;
	moe_buf_addf(&run->hint, "'%s' keeps what is done: the same command with --resume goes on", partial);
	tool_on_interrupt(run->ctx, run->hint.p);
	return moe_buf_check(&run->hint, err);
}
