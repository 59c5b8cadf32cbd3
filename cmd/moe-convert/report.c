/* Reports on one model: --info, --list, --hash; and --list-families. */
#include <stdlib.h>

#include "base/sha256.h"
#include "convert/info.h"
#include "convert/report.h"
#include "moe-convert/job.h"

bool convert_is_whole(const struct moe_ckpt *ckpt)
{
	for (size_t i = 0; i < ckpt->n_tensors; i++)
		if (ckpt->tensors[i].codec->scaled)
			return false;
	return ckpt->n_tensors > 0 && !json_object_get(ckpt->metadata, "moe.rank");
}

enum moe_status convert_info(struct tool_ctx *ctx, struct moe_err *err)
{
	struct source s;
	struct moe_rows r;
	json_t *info = NULL;
	enum moe_status st = convert_source_open(&s, ctx, ctx->operands[0], err);

	if (st)
		return st;
	if (s.ckpt && convert_is_whole(s.ckpt))
		st = moe_model_check(&s.config, s.ckpt, s.where, err);
	if (!st)
		st = moe_info(&info, &s.config, s.ckpt, ctx->operands[0], err);
	if (!st)
		st = convert_rows_open(&r, ctx, ctx->common.output, err);
	if (!st) {
		if (ctx->common.json) {
			char *text = json_dumps(info, JSON_COMPACT);
			moe_buf_addf(&r.buf, "%s\n", text ? text : "null");
			free(text);
		} else {
			moe_info_text(&r.buf, info);
		}
		st = convert_rows_close(&r, st, err);
	}
	json_decref(info);
	convert_source_close(&s);
	return st;
}

/* Needs no known family: without one, the last three columns are empty. */
enum moe_status convert_list(struct tool_ctx *ctx, struct moe_err *err)
{
	struct moe_ckpt *ckpt = NULL;
	struct moe_config config = {0};
	struct moe_err unknown = {0};
	struct moe_rows r;
	char *path = NULL;
	enum moe_status st = tool_model_path(ctx, ctx->operands[0], &path, err);

	if (!st)
		st = convert_ckpt_open(&ckpt, ctx, path, err);
	if (!st) {
		const bool known = !moe_config_of(&config, ckpt, &unknown);
		if (!known)
			tool_note(ctx, "%s", unknown.text);
		st = convert_rows_open(&r, ctx, ctx->common.output, err);
		if (!st)
			st = convert_rows_close(&r, moe_report_tensors(&r, ckpt, known ? &config : NULL, err), err);
	}
	moe_config_free(&config);
	moe_ckpt_close(ckpt);
	free(path);
	return st;
}

enum moe_status convert_hash(struct tool_ctx *ctx, struct moe_err *err)
{
	const struct config *cfg = ctx->cfg;
	struct source s;
	struct moe_view view;
	struct moe_rows r;
	struct moe_pool *pool;
	enum moe_status st = cfg->sha256 ? moe_sha256_check(err) : MOE_OK;

	if (!st)
		st = convert_source_view(&s, &view, ctx, ctx->operands[0], err);

	if (st)
		return st;
	st = tool_pool(ctx, &pool, err);
	if (!st)
		st = moe_ckpt_check_replicas(s.ckpt, err);
	if (!st)
		st = convert_rows_open(&r, ctx, ctx->common.output, err);
	if (!st)
		st = convert_rows_close(&r, moe_hash_rows(&r, &view, cfg->sha256, pool, err), err);
	moe_view_free(&view);
	convert_source_close(&s);
	return st;
}

enum moe_status convert_families(struct tool_ctx *ctx, struct moe_err *err)
{
	struct moe_rows r;
	enum moe_status st = convert_rows_open(&r, ctx, ctx->common.output, err);

	if (st)
		return st;
	for (size_t i = 0; moe_family_at(i) && !st; i++) {
		const struct moe_family *f = moe_family_at(i);
		const struct moe_cell cells[] = {{"family", f->name, false},
		                                 {"architecture", f->architectures[0], false},
		                                 {"models", f->help, false},
		                                 {"traits", f->traits, false},
		                                 {NULL, NULL, false}};
		st = moe_rows_add(&r, cells, err);
	}
	return convert_rows_close(&r, st, err);
}
