/* The conversion itself: what the options mean, what is said of the plan, and its running. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/sha256.h"
#include "base/str.h"
#include "convert/manifest.h"
#include "moe-convert/job.h"

static const struct moe_format *format_of(const struct config *cfg, const char *dst, struct moe_err *err)
{
	const char *base = moe_path_base(dst), *dot = strrchr(base, '.');
	const struct moe_format *format = cfg->to ? moe_format_by_name(cfg->to) : NULL;

	if (cfg->to && !format)
		moe_err_set(err, MOE_EUSAGE, "--to: '%s' is no format; there are safetensors, gguf and deepseek",
		            cfg->to);
	if (cfg->to)
		return format;
	for (size_t i = 0; dot && moe_format_at(i) && !format; i++)
		if (!strcasecmp(dot + 1, moe_format_at(i)->name))
			format = moe_format_at(i);
	for (size_t i = 0; moe_format_at(i) && !format; i++)   /* a directory, then */
		if (moe_format_at(i)->is_default)
			format = moe_format_at(i);
	if (dot && format->naming == MOE_NAMING_HF && !strcasecmp(dot + 1, format->name)) {
		moe_err_set(err, MOE_EUSAGE, "%s: %s output is a directory: leave the ending off, or say --to", dst,
		            format->name);
		return NULL;
	}
	return format;
}

static enum moe_status check_dst(struct tool_ctx *ctx, const struct moe_format *format, const char *dst,
                                 struct moe_err *err)
{
	/* what is there may be the finished output: the library looks into it */
	if (((const struct config *)ctx->cfg)->resume)
		return format->naming == MOE_NAMING_HF ? moe_outdir_check(dst, MOE_OUT_FORCE, ctx->watch, err)
		                                       : moe_out_check(dst, MOE_OUT_FORCE, ctx->watch, err);
	return format->naming == MOE_NAMING_HF ? tool_out_dir(ctx, dst, err)
	                                       : tool_files(ctx, ctx->n_operands, &dst, 1, err);
}

static void say_lines(struct tool_ctx *ctx, const char *lines, void (*say)(struct tool_ctx *, const char *, ...))
{
	struct moe_str rest = moe_str_of(lines), line;

	while (moe_str_next(&rest, '\n', &line))
		if (line.n)
			say(ctx, "%.*s", (int)line.n, line.p);
}

struct file_rows {
	struct moe_rows rows;
	const char *dst;
	enum moe_status status;
	struct moe_err *err;
};

static void file_row(void *arg, const char *name, uint64_t n_bytes)
{
	struct file_rows *r = arg;
	char *path = *name ? moe_path_join(r->dst, name) : NULL, bytes[32];
	const struct moe_cell cells[] = {{"file", *name ? path : r->dst, false},
	                                 {"bytes", moe_cell_int(bytes, (int64_t)n_bytes), true}, {NULL, NULL, false}};

	if (!r->status)
		r->status = *name && !path ? moe_err_nomem(r->err, strlen(name), "a path")
		                           : moe_rows_add(&r->rows, cells, r->err);
	free(path);
}

static enum moe_status dry_run(struct tool_ctx *ctx, const struct moe_convert *conv, const char *dst, int n_threads,
                               struct moe_err *err)
{
	struct file_rows r = { .dst = dst, .err = err };
	const double memory = (double)moe_convert_memory(conv, n_threads);
	char text[24];
	enum moe_status st = convert_rows_open(&r.rows, ctx, NULL, err);

	if (st)
		return st;
	st = moe_convert_files(conv, file_row, &r, err);
	st = convert_rows_close(&r.rows, st ? st : r.status, err);
	if (!st)
		tool_note(ctx, "%zu tensors, %llu bytes; peak memory %s beside the mapped source; nothing was written",
		          moe_convert_tensors(conv), (unsigned long long)moe_convert_bytes(conv),
		          moe_format_bytes(text, memory));
	return st;
}

static void on_progress(void *arg, size_t n_bytes) { tool_progress_add(arg, (int64_t)n_bytes); }

/* Is there what --resume goes on with? */
static bool something_kept(const char *dst)
{
	char *partial = moe_partial_path(dst, "partial");
	const bool kept = partial && access(partial, F_OK) == 0;

	free(partial);
	return kept;
}

static enum moe_status write_all(struct tool_ctx *ctx, struct moe_convert *conv, const char *dst, struct moe_pool *pool,
                                 struct moe_err *err)
{
	const struct config *cfg = ctx->cfg;
	struct tool_progress progress;
	enum moe_status st;

	if (cfg->resume)
		tool_on_interrupt(ctx, "what is complete is kept: the same command with --resume goes on with it");
	tool_progress_start(&progress, ctx, "converting", (int64_t)moe_convert_bytes(conv), TOOL_BYTES);
	st = moe_convert_run(conv, pool, on_progress, &progress, err);
	tool_progress_finish(&progress);
	tool_on_interrupt(ctx, NULL);
	if (st == MOE_EIO && cfg->resume && something_kept(dst)) {
		const struct moe_err why = *err;
		return moe_err_set(err, st, "%s; what is complete is kept: --resume goes on with it", why.text);
	}
	if (!st && moe_convert_complete(conv))
		tool_note(ctx, "%s is complete: nothing was left to do", dst);
	else if (!st && moe_convert_kept(conv))
		tool_note(ctx, "%s: went on behind the %zu tensors that were there", dst, moe_convert_kept(conv));
	return st;
}

/* A manifest that is there may be replaced with --force; with --resume also, as it is of the run before. */
static unsigned manifest_flags(const struct tool_ctx *ctx)
{
	static const char *const heads[] = {"#manifest=", "{\"kind\":\""};
	const struct config *cfg = ctx->cfg;
	unsigned flags = tool_out_flags(ctx);
	FILE *file = cfg->resume && moe_is_file(cfg->manifest) ? fopen(cfg->manifest, "rbe") : NULL;
	char head[16] = "";

	if (!file)
		return flags;
	if (fread(head, 1, sizeof head - 1, file) > 0)
		for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
			if (!strncmp(head, heads[i], strlen(heads[i])))
				flags |= MOE_OUT_FORCE;
	fclose(file);
	return flags;
}

/* Writes down what the files that were just written hold. */
static enum moe_status write_manifest(struct tool_ctx *ctx, const char *dst, struct moe_pool *pool,
                                      struct moe_err *err)
{
	const struct config *cfg = ctx->cfg;
	struct moe_ckpt *made = NULL;
	struct moe_rows r;
	enum moe_status st = moe_ckpt_open(&made, dst, ctx->watch, err);

	r = (struct moe_rows){ .json = ctx->common.json };
	if (!st)
		st = moe_out_open(&r.out, cfg->manifest, manifest_flags(ctx), ctx->watch, err);
	if (!st) {
		if (!r.json)
			moe_buf_addf(&r.buf, "#manifest=1 #version=" MOE_VERSION "\n#command=%s\n",
			             cfg->command ? cfg->command : "");
		st = moe_manifest_rows(&r, made, cfg->sha256, pool, err);
		st = convert_rows_close(&r, st, err);
	}
	moe_ckpt_close(made);
	return st;
}

/* Is the manifest's folder there, and no part of the destination? That one may be replaced as a whole, and all its
 * files are in the table. */
static enum moe_status check_folder(const char *path, const char *dst, struct moe_err *err)
{
	const char *base = moe_path_base(path);
	char *folder = base == path ? strdup(".") : strndup(path, (size_t)(base - path));
	char *real = folder ? realpath(folder, NULL) : NULL, *to = realpath(dst, NULL);
	const size_t n = to ? strlen(to) : 0;
	enum moe_status st = folder ? MOE_OK : moe_err_nomem(err, strlen(path), "a path");

	if (!st && (!real || !moe_is_dir(folder)))
		st = moe_err_set(err, MOE_EIO, "--manifest: '%s' cannot be written: there is no folder '%s'", path,
		                 folder);
	else if (!st && to && !strncmp(real, to, n) && (real[n] == '/' || !real[n]))
		st = moe_err_set(err, MOE_EUSAGE, "--manifest: '%s' lies inside '%s', which it is about: name a place "
		                 "beside it", path, dst);
	free(folder);
	free(real);
	free(to);
	return st;
}

/* May --manifest be written, and is it no part of the destination? */
static enum moe_status check_manifest(struct tool_ctx *ctx, const char *dst, struct moe_err *err)
{
	const struct config *cfg = ctx->cfg;
	enum moe_status st = cfg->sha256 ? moe_sha256_check(err) : MOE_OK;

	if (st)
		return st;
	if (!cfg->manifest)
		return cfg->sha256 ? moe_err_set(err, MOE_EUSAGE, "--sha256 goes with --hash or --manifest") : MOE_OK;
	if (!strcmp(dst, "-"))
		return moe_err_set(err, MOE_EUSAGE, "--manifest: what goes to stdout cannot be read again");
	st = moe_out_distinct(cfg->manifest, dst, err);
	if (!st && strcmp(cfg->manifest, "-"))
		st = check_folder(cfg->manifest, dst, err);
	return st ? st : moe_out_check(cfg->manifest, manifest_flags(ctx), ctx->watch, err);
}

/* No output may be a table that is read. */
static enum moe_status add_tables(struct tool_ctx *ctx, struct moe_err *err)
{
	const struct config *cfg = ctx->cfg;
	const char *const tables[] = {cfg->type_map, cfg->imatrix, cfg->surgery.keep, cfg->surgery.drop,
	                              cfg->surgery.order, cfg->surgery.merge};
	enum moe_status st = MOE_OK;

	for (size_t i = 0; i < sizeof tables / sizeof tables[0] && !st; i++)
		st = moe_watch_add_input(ctx->watch, tables[i], err);
	return st;
}

enum moe_status convert_write(struct tool_ctx *ctx, const char *src, const char *dst, struct moe_err *err)
{
	const struct config *cfg = ctx->cfg;
	struct moe_type_rules rules = {0};
	struct moe_ckpt *ckpt = NULL;
	struct moe_convert *conv = NULL;
	struct moe_pool *pool;
	char *path = NULL;
	struct moe_convert_opts opts = {
		.dst = dst, .flags = tool_out_flags(ctx), .drop_mtp = cfg->drop_mtp, .dequantize = cfg->dequantize,
		.shard_bytes = cfg->shard_bytes == UINT64_MAX ? UINT64_C(5) << 30 : cfg->shard_bytes,
		.experts = (enum moe_experts_layout)(cfg->experts + 1), .surgery = cfg->surgery, .resume = cfg->resume,
		.imatrix = cfg->imatrix, .imatrix_tokens = cfg->imatrix_tokens < 0 ? 32 : cfg->imatrix_tokens,
		.scales = (enum moe_scales_form)(cfg->fp8_scales + 1),
		.watch = ctx->watch,
	};

	opts.surgery.seed = ctx->common.seed;
	enum moe_status st = MOE_OK;

	if (cfg->imatrix_tokens >= 0 && !cfg->imatrix)
		return moe_err_set(err, MOE_EUSAGE, "--imatrix-tokens goes with --imatrix");
	opts.n_ranks = cfg->model_parallel ? cfg->model_parallel : 1;
	opts.to = format_of(cfg, dst, err);
	if (!opts.to)
		return MOE_EUSAGE;
	if (cfg->model_parallel && !opts.to->rank_name)
		return moe_err_set(err, MOE_EUSAGE, "--model-parallel: %s has no files for ranks: say --to deepseek",
		                   opts.to->name);
	if (cfg->shard_bytes != UINT64_MAX && (opts.to->naming != MOE_NAMING_HF || opts.to->rank_name))
		return moe_err_set(err, MOE_EUSAGE, "--shard-size: %s is not written in shards", opts.to->name);
	st = moe_watch_add_input(ctx->watch, src, err);
	if (!st)
		st = check_manifest(ctx, dst, err);
	if (!st)
		st = check_dst(ctx, opts.to, dst, err);
	if (st)
		return st;
	if (cfg->types) {
		st = moe_type_rules_parse(&rules, cfg->types, err);
		opts.types = &rules;
	}
	if (!st)
		st = add_tables(ctx, err);
	if (!st && cfg->type_map) {
		st = moe_type_rules_map(&rules, cfg->type_map, err);
		opts.types = &rules;
	}
	if (!st)
		st = tool_model_path(ctx, src, &path, err);
	if (!st)
		st = convert_ckpt_open(&ckpt, ctx, path, err);
	if (!st)
		st = check_dst(ctx, opts.to, dst, err);
	if (!st)
		st = tool_pool(ctx, &pool, err);
	if (!st)
		st = moe_convert_plan(&conv, ckpt, &opts, err);
	if (!st) {
		say_lines(ctx, moe_convert_notes(conv, false), tool_note);
		say_lines(ctx, moe_convert_notes(conv, true), tool_detail);
		st = ctx->common.dry_run ? dry_run(ctx, conv, dst, moe_pool_threads(pool), err)
		                         : write_all(ctx, conv, dst, pool, err);
	}
	if (!st && cfg->manifest && !ctx->common.dry_run)
		st = write_manifest(ctx, dst, pool, err);
	moe_convert_free(conv);
	moe_type_rules_free(&rules);
	moe_ckpt_close(ckpt);
	free(path);
	return st;
}
