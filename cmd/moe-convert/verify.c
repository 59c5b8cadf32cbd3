/* --verify: whether a model is whole, and how far it is from another. */
#include "convert/report.h"
#include "moe-convert/job.h"

static enum moe_status verify_views(struct tool_ctx *ctx, const struct moe_view *view, const struct moe_view *ref,
                                    struct moe_err *err)
{
	const struct config *cfg = ctx->cfg;
	const double tolerance = cfg->tolerance;
	struct moe_verdict v = {0};
	struct moe_rows r;
	struct moe_pool *pool;
	enum moe_status st = tool_pool(ctx, &pool, err);

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

enum moe_status convert_verify(struct tool_ctx *ctx, struct moe_err *err)
{
	struct source s, ref;
	struct moe_view view, ref_view;
	const bool with_ref = ctx->n_operands == 2;
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
