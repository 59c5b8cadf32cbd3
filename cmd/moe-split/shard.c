/* A checkpoint cut by a plan: sizes, shards, their check. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moe-split/split.h"

static void advance(void *arg, uint64_t n_bytes) { tool_progress_add(arg, (int64_t)n_bytes); }

/* What the plan leaves open or takes from elsewhere, said aloud. */
static enum moe_status compare_plan(struct tool_ctx *ctx, const struct config *cfg, const struct moe_plan *plan,
                                    const struct moe_model *model, struct moe_err *err)
{
	const struct moe_config *c = &model->config;
	char hash[33];
	int64_t n;
	enum moe_status status = moe_ckpt_hash(model->ckpt, false, hash, err);

	if (status)
		return status;
	if (!strncmp(plan->model, "xxh3:", 5) && strcmp(plan->model + 5, hash))
		tool_warn(ctx, "%s was made from loads of model %s, this is xxh3:%s", cfg->plan, plan->model, hash);
	for (int32_t l = 0; l < c->n_layers + c->n_mtp_layers; l++)
		if (c->layers[l].ffn == MOE_FFN_MOE && !moe_plan_layer(plan, l, &n)) {
			if (c->layers[l].mtp)
				tool_detail(ctx, "%s does not name layer %d: contiguous", cfg->plan, l);
			else
				tool_note(ctx, "%s does not name layer %d: its experts are placed contiguously",
				          cfg->plan, l);
		}
	return MOE_OK;
}

/* Rows `rank bytes`, and the check of --fits. */
static enum moe_status print_sizes(struct tool_ctx *ctx, const struct config *cfg, const uint64_t *bytes,
                                   int32_t n_ranks, struct moe_err *err)
{
	static const char *const columns[] = {"rank", "bytes"};
	enum moe_status status;
	struct moe_buf text = {0};
	struct moe_rows rows;
	char a[24], b[24];

	moe_rows_begin(&rows, &text, ctx->common.json, columns, 2);
	for (int32_t r = 0; r < n_ranks; r++) {
		moe_rows_u64(&rows, (uint64_t)r);
		moe_rows_u64(&rows, bytes[r]);
	}
	status = split_write(ctx, &text, cfg->fits && !ctx->common.dry_run ? ctx->common.output : NULL, err);
	moe_buf_free(&text);
	for (int32_t r = 0; r < n_ranks && cfg->fits && !status; r++)
		if (bytes[r] > cfg->fits)
			status = moe_err_set(err, MOE_ECHECK, "rank %d needs %s, more than the %s of --fits", r,
			                     moe_format_bytes(a, (double)bytes[r]),
			                     moe_format_bytes(b, (double)cfg->fits));
	return status;
}

/* Files beside the checkpoint that a merge will not give back. */
static enum moe_status note_left_out(struct tool_ctx *ctx, const struct moe_model *model, struct moe_err *err)
{
	struct moe_buf names = {0};
	enum moe_status status = moe_shard_left_out(model, &names, err);

	if (!status && names.n)
		tool_note(ctx, "%s: not kept, because they are no part of the checkpoint and larger than 64 MiB: %s",
		          model->ckpt->path, names.p);
	moe_buf_free(&names);
	return status;
}

static enum moe_status shard_model(struct tool_ctx *ctx, const struct config *cfg, const struct moe_plan *plan,
                                   const struct moe_model *model, struct moe_err *err)
{
	uint64_t *bytes = calloc((size_t)plan->n_ranks, sizeof *bytes), total = 0;
	struct tool_progress progress;
	struct moe_shard_opts opts = {.plan = plan, .out = cfg->verify ? cfg->verify : ctx->common.output,
	                              .flags = tool_out_flags(ctx), .pool = ctx->pool, .watch = ctx->watch,
	                              .progress = advance, .progress_arg = &progress};
	struct moe_shard_done done = {0};
	enum moe_status status = MOE_OK;
	char a[24];

	if (!bytes)
		return moe_err_nomem(err, (size_t)plan->n_ranks * sizeof *bytes, "sizes of shards");
	if (cfg->verify) {
		status = moe_shard_verify(model, &opts, err);
		if (!status)
			tool_note(ctx, "%s: %d shards hold what plan and model say", cfg->verify, plan->n_ranks);
		goto out;
	}
	status = moe_shard_predict(model, plan, bytes, err);
	if (!status)
		status = note_left_out(ctx, model, err);
	for (int32_t r = 0; r < plan->n_ranks; r++)
		total += bytes[r];
	if (!status && (cfg->fits || ctx->common.dry_run)) {
		status = print_sizes(ctx, cfg, bytes, plan->n_ranks, err);
		goto out;
	}
	if (status)
		goto out;
	/* Every shard is open at once. */
	tool_raise_open_files();
	opts.resume = cfg->resume;
	opts.done = &done;
	if (cfg->resume)
		tool_on_interrupt(ctx, "what is complete is kept: the same command with --resume goes on with it");
	tool_progress_start(&progress, ctx, "writing shards", (int64_t)total, TOOL_BYTES);
	status = moe_shard_write(model, &opts, err);
	tool_progress_finish(&progress);
	tool_on_interrupt(ctx, NULL);
	if (status == MOE_EIO && cfg->resume) {
		const struct moe_err why = *err;

		status = moe_err_set(err, status, "%s; what is complete is kept: --resume goes on with it", why.text);
	}
	if (!status && done.complete)
		tool_note(ctx, "%s is complete: nothing was left to do", ctx->common.output);
	else if (!status && done.n_kept)
		tool_note(ctx, "%s: went on behind the %lld tensors that were there", ctx->common.output,
		          (long long)done.n_kept);
	if (!status && !done.complete)
		tool_note(ctx, "%s: %d shards, %s", ctx->common.output, plan->n_ranks,
		          moe_format_bytes(a, (double)total));
out:
	free(bytes);
	return status;
}

enum moe_status split_shard(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err)
{
	struct moe_ckpt *ckpt = NULL;
	struct moe_model *model = NULL;
	struct moe_plan plan = {0};
	struct moe_pool *pool;
	char *path = NULL;
	enum moe_status status;

	if (ctx->n_operands != 1)
		return moe_err_set(err, MOE_EUSAGE, "--plan takes one MODEL, found %d operands", ctx->n_operands);
	if (!ctx->common.output && !cfg->fits && !cfg->verify && !ctx->common.dry_run)
		return moe_err_set(err, MOE_EUSAGE, "-o DIR says where the shards go");
	status = tool_pool(ctx, &pool, err);
	if (!status)
		status = moe_plan_read(&plan, cfg->plan, err);
	if (!status)
		status = tool_model_path(ctx, ctx->operands[0], &path, err);
	if (!status)
		status = moe_ckpt_open(&ckpt, path, ctx->watch, err);
	if (!status)
		status = moe_model_bind(&model, ckpt, err);
	if (!status)
		status = compare_plan(ctx, cfg, &plan, model, err);
	if (!status)
		status = shard_model(ctx, cfg, &plan, model, err);
	moe_model_free(model);
	moe_ckpt_close(ckpt);
	free(path);
	moe_plan_free(&plan);
	return status;
}

enum moe_status split_merge(struct tool_ctx *ctx, struct moe_err *err)
{
	struct tool_progress progress;
	struct moe_shard_opts opts = {.out = ctx->common.output, .flags = tool_out_flags(ctx), .watch = ctx->watch,
	                              .progress = advance, .progress_arg = &progress};
	enum moe_status status;

	if (!ctx->n_operands)
		return moe_err_set(err, MOE_EUSAGE, "--merge takes the folder of all shards, or every shard");
	if (!ctx->common.output || !strcmp(ctx->common.output, "-"))
		return moe_err_set(err, MOE_EUSAGE, "-o OUT says where the merged checkpoint goes");
	if (ctx->common.dry_run)
		return moe_err_set(err, MOE_EUSAGE,
		                   "--merge has no --dry-run: what it writes is as large as the source was");
	status = tool_pool(ctx, &opts.pool, err);
	if (status)
		return status;
	tool_progress_start(&progress, ctx, "merging", 0, TOOL_BYTES);
	status = moe_shard_merge(ctx->operands, ctx->n_operands, &opts, err);
	tool_progress_finish(&progress);
	if (!status)
		tool_note(ctx, "%s: every file of the source, by its hash", ctx->common.output);
	return status;
}
