/* Models that are looked at, and where the rows of a report go. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "moe-convert/job.h"

enum moe_status convert_rows_open(struct moe_rows *r, struct tool_ctx *ctx, const char *path, struct moe_err *err)
{
	*r = (struct moe_rows){ .json = ctx->common.json };
	return moe_out_open(&r->out, path ? path : "-", tool_out_flags(ctx), ctx->watch, err);
}

/* Commits, or gives up after a failure. */
enum moe_status convert_rows_close(struct moe_rows *r, enum moe_status st, struct moe_err *err)
{
	if (!st)
		st = moe_rows_flush(r, err);
	moe_buf_free(&r->buf);
	if (!st)
		return moe_out_commit(r->out, err);
	moe_out_abort(r->out);
	return st;
}

void convert_source_close(struct source *s)
{
	moe_config_free(&s->config);
	json_decref(s->json);
	moe_ckpt_close(s->ckpt);
}

enum moe_status convert_ckpt_open(struct moe_ckpt **ckpt, struct tool_ctx *ctx, const char *path,
                                  struct moe_err *err)
{
	const struct config *cfg = ctx->cfg;
	enum moe_status st = moe_ckpt_open(ckpt, path, ctx->watch, err);

	if (st || !cfg->config)
		return st;
	if ((*ckpt)->config || (*ckpt)->format->naming != MOE_NAMING_HF)
		tool_note(ctx, "%s has a config of its own: --config is not for it", path);
	else
		st = moe_ckpt_give_config(*ckpt, cfg->config, err);
	if (st) {
		moe_ckpt_close(*ckpt);
		*ckpt = NULL;
	}
	return st;
}

enum moe_status convert_source_open(struct source *s, struct tool_ctx *ctx, const char *name, struct moe_err *err)
{
	const struct config *cfg = ctx->cfg;
	const size_t n = strlen(name);
	char *path = NULL;
	enum moe_status st = tool_model_path(ctx, name, &path, err);

	*s = (struct source){0};
	if (!st)
		st = moe_watch_add_input(ctx->watch, path, err);
	if (st) {
		free(path);
		return st;
	}
	if ((cfg->info || cfg->fits) && n > 5 && !strcmp(name + n - 5, ".json") &&
	    moe_is_file(path)) {
		snprintf(s->where, sizeof s->where, "%s", path);
		st = moe_json_load(&s->json, path, (size_t)1 << 24, err);
		if (!st)
			st = moe_ckpt_translate(&s->json, path, err);
	} else {
		st = convert_ckpt_open(&s->ckpt, ctx, path, err);
		if (!st)
			st = moe_config_json_of(&s->json, s->ckpt, NULL, s->where, err);
	}
	free(path);
	if (!st)
		st = moe_config_parse(&s->config, s->json, s->where, err);
	if (st)
		convert_source_close(s);
	return st;
}

enum moe_status convert_source_view(struct source *s, struct moe_view *view, struct tool_ctx *ctx, const char *name,
                                   struct moe_err *err)
{
	enum moe_status st = convert_source_open(s, ctx, name, err);

	if (st)
		return st;
	st = moe_model_check(&s->config, s->ckpt, s->where, err);
	if (!st)
		st = moe_view_make(view, s->ckpt, &s->config, MOE_NAMING_HF, err);
	if (st)
		convert_source_close(s);
	return st;
}
