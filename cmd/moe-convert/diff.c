/* --diff: what two checkpoints differ in. */
#include "convert/report.h"
#include "moe-convert/job.h"

static enum moe_status diff_rows(struct tool_ctx *ctx, const struct source s[2], const struct moe_view view[2],
                                 unsigned what, struct moe_err *err)
{
	struct moe_differences d = {0};
	struct moe_rows r;
	struct moe_pool *pool;
	enum moe_status st = tool_pool(ctx, &pool, err);

	for (int i = 0; i < 2 && !st && (what & MOE_DIFF_VALUES); i++)
		st = moe_ckpt_check_replicas(s[i].ckpt, err);
	if (!st)
		st = convert_rows_open(&r, ctx, ctx->common.output, err);
	if (st)
		return st;
	if (what & MOE_DIFF_CONFIG)
		st = moe_diff_configs(&r, s[0].json, s[1].json, &d, err);
	if (!st && what != MOE_DIFF_CONFIG)
		st = moe_diff_tensors(&r, &view[0], &view[1], what, pool, &d, err);
	st = convert_rows_close(&r, st, err);
	if (st)
		return st;
	if (d.n_config || d.n_names || d.n_shapes || d.n_types || d.n_values)
		return moe_err_set(err, MOE_ECHECK, "%s and %s differ: %lld config keys, %lld tensors that one of them "
		                   "has, %lld shapes, %lld types, values of %lld tensors", s[0].ckpt->path,
		                   s[1].ckpt->path, (long long)d.n_config, (long long)d.n_names,
		                   (long long)d.n_shapes, (long long)d.n_types, (long long)d.n_values);
	tool_note(ctx, "%s and %s do not differ", s[0].ckpt->path, s[1].ckpt->path);
	return MOE_OK;
}

enum moe_status convert_diff(struct tool_ctx *ctx, struct moe_err *err)
{
	const struct config *cfg = ctx->cfg;
	unsigned what = MOE_DIFF_ALL;
	struct source s[2];
	struct moe_view view[2];
	int n = 0;
	enum moe_status st = cfg->only ? moe_diff_parse(&what, cfg->only, err) : MOE_OK;

	while (!st && n < 2) {
		st = convert_source_view(&s[n], &view[n], ctx, ctx->operands[n], err);
		n += !st;
	}
	if (!st)
		st = diff_rows(ctx, s, view, what, err);
	while (n-- > 0) {
		moe_view_free(&view[n]);
		convert_source_close(&s[n]);
	}
	return st;
}
