/* --verify: whether a model is whole, and how far it is from another. */
#include <stdlib.h>

#include "convert/manifest.h"
#include "convert/report.h"
#include "moe-convert/job.h"

static enum moe_status verify_views(struct tool_ctx *ctx, const struct moe_view *view, const struct moe_view *ref,
                                    struct moe_err *err)
{
	const struct config *cfg = ctx->cfg;
	const double tolerance = cfg->tolerance > 0 ? cfg->tolerance : 0;
	struct moe_verdict v = {0};
	struct moe_rows r;
	struct moe_pool *pool;
	enum moe_status st = tool_pool(ctx, &pool, err);

	if (!st && moe_ckpt_check_replicas(view->ckpt, err))
		return err->status = MOE_ECHECK;
	if (!st && ref)
		st = moe_ckpt_check_replicas(ref->ckpt, err);
	if (!st)
		st = convert_rows_open(&r, ctx, ctx->common.output, err);
	if (!st)
		st = convert_rows_close(&r, moe_verify_rows(&r, view, ref, tolerance, cfg->by == 1, pool, &v, err),
		                        err);
	if (st)
		return st;
	if (v.n_nan || v.n_inf)
		return moe_err_set(err, MOE_ECHECK, "%s: %lld values are NaN and %lld infinite", view->ckpt->path,
		                   (long long)v.n_nan, (long long)v.n_inf);
	if (v.n_different)
		return moe_err_set(err, MOE_ECHECK,
		                   "%s: %lld of %zu tensors differ from %s by more than %g, '%s' most, by %g",
		                   view->ckpt->path, (long long)v.n_different, view->n, ref->ckpt->path, tolerance,
		                   v.worst, v.max);
	tool_note(ctx, "%s: all %zu tensors are there, of the right shape, without NaN or infinity%s%s",
	          view->ckpt->path, view->n, ref ? ", and agree with " : "", ref ? ref->ckpt->path : "");
	return MOE_OK;
}

/* --verify --manifest: are files and tensors what was written down? */
static enum moe_status verify_manifest(struct tool_ctx *ctx, const char *manifest, struct moe_err *err)
{
	struct moe_ckpt *ckpt = NULL;
	struct moe_pool *pool;
	struct moe_rows r;
	int64_t n = 0, n_different = 0;
	char *path = NULL;
	enum moe_status st = tool_model_path(ctx, ctx->operands[0], &path, err);

	if (!st)
		st = moe_watch_add_input(ctx->watch, manifest, err);
	if (!st)
		st = moe_ckpt_open(&ckpt, path, ctx->watch, err);
	if (!st)
		st = tool_pool(ctx, &pool, err);
	if (!st)
		st = convert_rows_open(&r, ctx, ctx->common.output, err);
	if (!st) {
		st = moe_manifest_verify(&r, ckpt, manifest, pool, &n, &n_different, err);
		st = convert_rows_close(&r, st, err);
	}
	if (!st && n_different)
		st = moe_err_set(err, MOE_ECHECK, "%s: %lld files and tensors are not as %s has them", path,
		                 (long long)n_different, manifest);
	if (!st)
		tool_note(ctx, "%s: all %lld files and tensors are as %s has them", path, (long long)n, manifest);
	moe_ckpt_close(ckpt);
	free(path);
	return st;
}

enum moe_status convert_verify(struct tool_ctx *ctx, struct moe_err *err)
{
	const struct config *cfg = ctx->cfg;

	struct source s, ref;
	struct moe_view view, ref_view;
	const bool with_ref = ctx->n_operands == 2;

	if (cfg->manifest && with_ref)
		return moe_err_set(err, MOE_EUSAGE, "--verify --manifest: expected one model, found REF beside it");
	if (cfg->manifest)
		return verify_manifest(ctx, cfg->manifest, err);
	enum moe_status st = convert_source_view(&s, &view, ctx, ctx->operands[0], err);

	if (st)
		return st;
	if (with_ref)
		st = convert_source_view(&ref, &ref_view, ctx, ctx->operands[1], err);
	if (!st) {
		st = verify_views(ctx, &view, with_ref ? &ref_view : NULL, err);
		if (with_ref) {
			moe_view_free(&ref_view);
			convert_source_close(&ref);
		}
	}
	moe_view_free(&view);
	convert_source_close(&s);
	return st;
}
