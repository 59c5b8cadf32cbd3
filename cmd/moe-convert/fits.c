/* --fits: the memory of a rank, and with --info beside it what the model is. */
#include <stdlib.h>

#include "convert/fits.h"
#include "convert/info.h"
#include "convert/report.h"
#include "moe-convert/job.h"

/* What the options ask; rules belongs to the caller. */
static enum moe_status opts_of(struct moe_fits_opts *opts, struct moe_type_rules *rules, const struct config *cfg,
                               struct moe_err *err)
{
	enum moe_status st = MOE_OK;

	*opts = (struct moe_fits_opts){ .limit = cfg->fits, .n_ctx = cfg->ctx, .n_ranks = cfg->ranks ? cfg->ranks : 1,
	                                .kv = cfg->kv < 0 ? MOE_KV_BF16 : (enum moe_kv_type)cfg->kv,
	                                .drop_mtp = cfg->drop_mtp };
	opts->to = cfg->to ? moe_format_by_name(cfg->to) : NULL;
	if (cfg->to && !opts->to)
		return moe_err_set(err, MOE_EUSAGE, "--to: '%s' is no format; there are safetensors, gguf and deepseek",
		                   cfg->to);
	if (cfg->types) {
		st = moe_type_rules_parse(rules, cfg->types, err);
		opts->types = rules;
	}
	return st;
}

/* The table, or with --info its report and the table, or one object. */
static enum moe_status print(struct tool_ctx *ctx, const struct source *s, const struct moe_fits *fits,
                             const struct moe_fits_opts *opts, struct moe_err *err)
{
	const struct config *cfg = ctx->cfg;
	json_t *own = moe_fits_json(fits, opts), *info = NULL;
	struct moe_rows r;
	enum moe_status st = own ? MOE_OK : moe_err_nomem(err, 4096, "the report");

	if (!st && cfg->info)
		st = moe_info(&info, &s->config, s->ckpt, ctx->operands[0], err);
	if (!st && info && json_object_set(info, "fits", own))
		st = moe_err_nomem(err, 4096, "the report");
	if (!st)
		st = convert_rows_open(&r, ctx, ctx->common.output, err);
	if (!st) {
		char *text = ctx->common.json ? json_dumps(info ? info : own, JSON_COMPACT) : NULL;

		if (ctx->common.json)
			moe_buf_addf(&r.buf, "%s\n", text ? text : "null");
		else if (info)
			moe_info_text(&r.buf, info);
		if (!ctx->common.json)
			moe_fits_rows(&r.buf, fits, opts);
		free(text);
		st = convert_rows_close(&r, st, err);
	}
	json_decref(own);
	json_decref(info);
	return st;
}

static enum moe_status verdict(struct tool_ctx *ctx, const struct moe_fits *fits, const struct moe_fits_opts *opts,
                               struct moe_err *err)
{
	const double over = fits->fits ? (double)(opts->limit - fits->total) : (double)(fits->total - opts->limit);
	char total[24], limit[24], diff[24], longest[64] = "none would fit";

	moe_format_bytes(total, (double)fits->total);
	moe_format_bytes(limit, (double)opts->limit);
	moe_format_bytes(diff, over);
	if (fits->longest == INT64_MAX)
		snprintf(longest, sizeof longest, "any number would fit");
	else if (fits->longest)
		snprintf(longest, sizeof longest, "%lld would fit", (long long)fits->longest);
	if (!fits->fits)
		return moe_err_set(err, MOE_ECHECK, "%s: a rank needs %s with %lld positions, %s more than %s; %s",
		                   ctx->operands[0], total, (long long)fits->n_ctx, diff, limit, longest);
	tool_note(ctx, "%s: a rank needs %s with %lld positions, which leaves %s of %s; %s", ctx->operands[0], total,
	          (long long)fits->n_ctx, diff, limit, longest);
	return MOE_OK;
}

enum moe_status convert_fits(struct tool_ctx *ctx, struct moe_err *err)
{
	struct moe_type_rules rules = {0};
	struct moe_fits_opts opts;
	struct moe_fits fits;
	struct source s = {0};
	enum moe_status st = opts_of(&opts, &rules, ctx->cfg, err);

	if (!st)
		st = convert_source_open(&s, ctx, ctx->operands[0], err);
	if (st)
		goto out;
	if (s.ckpt && convert_is_whole(s.ckpt))
		st = moe_model_check(&s.config, s.ckpt, s.where, err);
	if (!st)
		st = moe_fits_of(&fits, &s.config, s.ckpt, &opts, s.where, err);
	if (!st && fits.n_ctx > s.config.max_positions)
		tool_warn(ctx, "%s: %lld positions are more than the %lld the model was made for", ctx->operands[0],
		          (long long)fits.n_ctx, (long long)s.config.max_positions);
	if (!st)
		st = print(ctx, &s, &fits, &opts, err);
	if (!st)
		st = verdict(ctx, &fits, &opts, err);
	convert_source_close(&s);
out:
	moe_type_rules_free(&rules);
	return st;
}
