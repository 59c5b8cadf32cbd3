/* Container, storage type and layout of a checkpoint -> another; what it holds, what it costs, whether it is whole. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "convert/convert.h"
#include "convert/info.h"
#include "convert/report.h"
#include "tool.h"

struct config {
	bool info, list, hash, verify, families, drop_mtp, resume;
	const char *to, *types, *type_map;
	int32_t experts;    /* enum moe_experts_layout - 1; -1: not given */
	struct moe_surgery_opts surgery;
	uint64_t shard_bytes;
	double tolerance;
};

/* Words that the shell completes: the types that --type may write. */
static const char *type_word(size_t i)
{
	const struct moe_codec *codec;

	for (size_t k = 0; (codec = moe_codec_at(k)); k++)
		if (moe_type_writable(codec) && i-- == 0)
			return codec->name;
	return NULL;
}

static const char *format_word(size_t i)
{
	const struct moe_format *format = moe_format_at(i);
	return format ? format->name : NULL;
}

static const struct moe_opt options[] = {
	MOE_OPT_GROUP("Reports (instead of converting)"),
	MOE_OPT_FLAG(0, "info", struct config, info, "family, parameters, operations, cache; a config.json is enough"),
	MOE_OPT_FLAG(0, "list", struct config, list, "a row per tensor: type, shape, place, role"),
	MOE_OPT_FLAG(0, "hash", struct config, hash, "a row per tensor: hash of its bytes, hash of its values"),
	MOE_OPT_FLAG(0, "verify", struct config, verify,
	             "all there, right shapes, no NaN; with REF: the error per tensor"),
	MOE_OPT_F64(0, "tolerance", "X", struct config, tolerance, 0, 1e300,
	            "--verify: difference allowed from REF [0]"),
	MOE_OPT_FLAG(0, "list-families", struct config, families, "the model families that are known"),
	MOE_OPT_GROUP("Conversion"),
	MOE_OPT_LISTED(0, "to", "FORMAT", format_word, struct config, to, "safetensors or gguf [from DST's name]"),
	MOE_OPT_LISTED(0, "type", "RULES", type_word, struct config, types,
	               "bf16, or exps=q8_0,attn=bf16,*=f16 [as stored]"),
	MOE_OPT_FILE(0, "type-map", "TSV", struct config, type_map,
	             "pattern and type of single tensors, before --type"),
	MOE_OPT_BYTES(0, "shard-size", "SIZE", struct config, shard_bytes,
	              "safetensors: begin a new file there, 0: one file [5G]"),
	MOE_OPT_ENUM(0, "experts", "split|stacked", struct config, experts,
	             "safetensors: a tensor for each, or stacks [as published]"),
	MOE_OPT_FLAG(0, "drop-mtp", struct config, drop_mtp, "leave out multi-token-prediction layers"),
	MOE_OPT_GROUP("Experts (one of these at a time)"),
	MOE_OPT_INT(0, "segment", "M", struct config, surgery.segment, 2, 1 << 20,
	            "cut every expert into M finer ones; the outputs stay"),
	MOE_OPT_FILE(0, "keep-experts", "TSV", struct config, surgery.keep, "keep only these experts: layer, expert"),
	MOE_OPT_FILE(0, "drop-experts", "TSV", struct config, surgery.drop, "keep all but these experts"),
	MOE_OPT_FILE(0, "order", "TSV", struct config, surgery.order, "put the experts of a layer in this order"),
	MOE_OPT_GROUP("Interruptions"),
	MOE_OPT_FLAG(0, "resume", struct config, resume, "go on where an earlier run with --resume was interrupted"),
	MOE_OPT_END
};

static const struct tool tool = {
	"moe-convert",
	"[options] SRC DST\n--info|--list|--hash MODEL\n--verify MODEL [REF]",
	"Convert a Mixture-of-Experts checkpoint, or report what it holds.",
	options
};

/* ---- where rows go ---- */

static enum moe_status rows_open(struct moe_rows *r, struct tool_ctx *ctx, const char *path, struct moe_err *err)
{
	*r = (struct moe_rows){ .json = ctx->common.json };
	return moe_out_open(&r->out, path ? path : "-", tool_out_flags(ctx), ctx->watch, err);
}

/* Commits, or gives up after a failure. */
static enum moe_status rows_close(struct moe_rows *r, enum moe_status st, struct moe_err *err)
{
	if (!st)
		st = moe_rows_flush(r, err);
	moe_buf_free(&r->buf);
	if (!st)
		return moe_out_commit(r->out, err);
	moe_out_abort(r->out);
	return st;
}

/* ---- models ---- */

struct source {
	struct moe_ckpt *ckpt;       /* NULL: a bare config.json */
	json_t *json;
	struct moe_config config;
	char where[1024];
};

static void source_close(struct source *s)
{
	moe_config_free(&s->config);
	json_decref(s->json);
	moe_ckpt_close(s->ckpt);
}

static enum moe_status source_open(struct source *s, struct tool_ctx *ctx, const char *name, struct moe_err *err)
{
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
	if (ctx->cfg && ((struct config *)ctx->cfg)->info && n > 5 && !strcmp(name + n - 5, ".json") &&
	    moe_is_file(path)) {
		snprintf(s->where, sizeof s->where, "%s", path);
		st = moe_json_load(&s->json, path, (size_t)1 << 24, err);
	} else {
		st = moe_ckpt_open(&s->ckpt, path, ctx->watch, err);
		if (!st)
			st = moe_config_json_of(&s->json, s->ckpt, NULL, s->where, err);
	}
	free(path);
	if (!st)
		st = moe_config_parse(&s->config, s->json, s->where, err);
	if (st)
		source_close(s);
	return st;
}

/* Opens a model, checks that it is whole, and looks at it under Hugging Face names. */
static enum moe_status source_view(struct source *s, struct moe_view *view, struct tool_ctx *ctx, const char *name,
                                   struct moe_err *err)
{
	enum moe_status st = source_open(s, ctx, name, err);

	if (st)
		return st;
	st = moe_model_check(&s->config, s->ckpt, s->where, err);
	if (!st)
		st = moe_view_make(view, s->ckpt, &s->config, MOE_NAMING_HF, err);
	if (st)
		source_close(s);
	return st;
}

/* ---- reports ---- */

/* Should the config's tensors all be there? Not beside a config alone, in one rank's shard, or where every weight has
 * its scales. */
static bool is_whole(const struct moe_ckpt *ckpt)
{
	for (size_t i = 0; i < ckpt->n_tensors; i++)
		if (ckpt->tensors[i].codec->scaled)
			return false;
	return ckpt->n_tensors > 0 && !json_object_get(ckpt->metadata, "moe.rank");
}

static enum moe_status do_info(struct tool_ctx *ctx, struct moe_err *err)
{
	struct source s;
	struct moe_rows r;
	json_t *info = NULL;
	enum moe_status st = source_open(&s, ctx, ctx->operands[0], err);

	if (st)
		return st;
	if (s.ckpt && is_whole(s.ckpt))
		st = moe_model_check(&s.config, s.ckpt, s.where, err);
	if (!st)
		st = moe_info(&info, &s.config, s.ckpt, ctx->operands[0], err);
	if (!st)
		st = rows_open(&r, ctx, ctx->common.output, err);
	if (!st) {
		if (ctx->common.json) {
			char *text = json_dumps(info, JSON_COMPACT);
			moe_buf_addf(&r.buf, "%s\n", text ? text : "null");
			free(text);
		} else {
			moe_info_text(&r.buf, info);
		}
		st = rows_close(&r, st, err);
	}
	json_decref(info);
	source_close(&s);
	return st;
}

/* Needs no known family: without one, the last three columns are empty. */
static enum moe_status do_list(struct tool_ctx *ctx, struct moe_err *err)
{
	struct moe_ckpt *ckpt = NULL;
	struct moe_config config = {0};
	struct moe_err unknown = {0};
	struct moe_rows r;
	char *path = NULL;
	enum moe_status st = tool_model_path(ctx, ctx->operands[0], &path, err);

	if (!st)
		st = moe_ckpt_open(&ckpt, path, ctx->watch, err);
	if (!st) {
		const bool known = !moe_config_of(&config, ckpt, &unknown);
		if (!known)
			tool_note(ctx, "%s", unknown.text);
		st = rows_open(&r, ctx, ctx->common.output, err);
		if (!st)
			st = rows_close(&r, moe_report_tensors(&r, ckpt, known ? &config : NULL, err), err);
	}
	moe_config_free(&config);
	moe_ckpt_close(ckpt);
	free(path);
	return st;
}

static enum moe_status do_hash(struct tool_ctx *ctx, struct moe_err *err)
{
	struct source s;
	struct moe_view view;
	struct moe_rows r;
	struct moe_pool *pool;
	enum moe_status st = source_view(&s, &view, ctx, ctx->operands[0], err);

	if (st)
		return st;
	st = tool_pool(ctx, &pool, err);
	if (!st)
		st = rows_open(&r, ctx, ctx->common.output, err);
	if (!st)
		st = rows_close(&r, moe_hash_rows(&r, &view, pool, err), err);
	moe_view_free(&view);
	source_close(&s);
	return st;
}

/* ---- --verify ---- */

static enum moe_status verify_views(struct tool_ctx *ctx, const struct moe_view *view, const struct moe_view *ref,
                                    struct moe_err *err)
{
	const double tolerance = ((struct config *)ctx->cfg)->tolerance;
	struct moe_verdict v = {0};
	struct moe_rows r;
	struct moe_pool *pool;
	enum moe_status st = tool_pool(ctx, &pool, err);

	if (!st)
		st = rows_open(&r, ctx, ctx->common.output, err);
	if (!st)
		st = rows_close(&r, moe_verify_rows(&r, view, ref, tolerance, pool, &v, err), err);
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

static enum moe_status do_verify(struct tool_ctx *ctx, struct moe_err *err)
{
	struct source s, ref;
	struct moe_view view, ref_view;
	const bool with_ref = ctx->n_operands == 2;
	enum moe_status st = source_view(&s, &view, ctx, ctx->operands[0], err);

	if (st)
		return st;
	if (with_ref)
		st = source_view(&ref, &ref_view, ctx, ctx->operands[1], err);
	if (!st) {
		st = verify_views(ctx, &view, with_ref ? &ref_view : NULL, err);
		if (with_ref) {
			moe_view_free(&ref_view);
			source_close(&ref);
		}
	}
	moe_view_free(&view);
	source_close(&s);
	return st;
}

static enum moe_status do_families(struct tool_ctx *ctx, struct moe_err *err)
{
	struct moe_rows r;
	enum moe_status st = rows_open(&r, ctx, ctx->common.output, err);

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
	return rows_close(&r, st, err);
}

/* ---- conversion ---- */

static const struct moe_format *format_of(const struct config *cfg, const char *dst, struct moe_err *err)
{
	const char *base = moe_path_base(dst), *dot = strrchr(base, '.');
	const struct moe_format *format = cfg->to ? moe_format_by_name(cfg->to) : NULL;

	if (cfg->to && !format)
		moe_err_set(err, MOE_EUSAGE, "--to: '%s' is no format; there are safetensors and gguf", cfg->to);
	if (cfg->to)
		return format;
	if (dot && moe_format_by_name(dot + 1))
		format = moe_format_by_name(dot + 1);
	for (size_t i = 0; moe_format_at(i) && !format; i++)   /* a directory, then */
		if (moe_format_at(i)->naming == MOE_NAMING_HF)
			format = moe_format_at(i);
	if (dot && format->naming == MOE_NAMING_HF && !strcmp(dot + 1, format->name)) {
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
	enum moe_status st = rows_open(&r.rows, ctx, NULL, err);

	if (st)
		return st;
	st = moe_convert_files(conv, file_row, &r, err);
	st = rows_close(&r.rows, st ? st : r.status, err);
	if (!st)
		tool_note(ctx, "%zu tensors, %llu bytes; peak memory %s beside the mapped source; nothing was written",
		          moe_convert_tensors(conv), (unsigned long long)moe_convert_bytes(conv),
		          moe_format_bytes(text, memory));
	return st;
}

static void on_progress(void *arg, size_t n_bytes) { tool_progress_add(arg, (int64_t)n_bytes); }

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
	if (st == MOE_EIO && cfg->resume) {
		const struct moe_err why = *err;
		return moe_err_set(err, st, "%s; what is complete is kept: --resume goes on with it", why.text);
	}
	if (!st && moe_convert_complete(conv))
		tool_note(ctx, "%s is complete: nothing was left to do", dst);
	else if (!st && moe_convert_kept(conv))
		tool_note(ctx, "%s: went on behind the %zu tensors that were there", dst, moe_convert_kept(conv));
	return st;
}

/* No output may be a table that is read. */
static enum moe_status add_tables(struct tool_ctx *ctx, struct moe_err *err)
{
	const struct config *cfg = ctx->cfg;
	const char *const tables[] = {cfg->type_map, cfg->surgery.keep, cfg->surgery.drop, cfg->surgery.order};
	enum moe_status st = MOE_OK;

	for (size_t i = 0; i < sizeof tables / sizeof tables[0] && !st; i++)
		st = moe_watch_add_input(ctx->watch, tables[i], err);
	return st;
}

static enum moe_status do_convert(struct tool_ctx *ctx, const char *src, const char *dst, struct moe_err *err)
{
	const struct config *cfg = ctx->cfg;
	struct moe_type_rules rules = {0};
	struct moe_ckpt *ckpt = NULL;
	struct moe_convert *conv = NULL;
	struct moe_pool *pool;
	char *path = NULL;
	struct moe_convert_opts opts = {
		.dst = dst, .shard_bytes = cfg->shard_bytes, .flags = tool_out_flags(ctx), .drop_mtp = cfg->drop_mtp,
		.experts = (enum moe_experts_layout)(cfg->experts + 1), .surgery = cfg->surgery, .resume = cfg->resume,
		.watch = ctx->watch,
	};
	enum moe_status st = MOE_OK;

	opts.to = format_of(cfg, dst, err);
	if (!opts.to)
		return MOE_EUSAGE;
	st = moe_watch_add_input(ctx->watch, src, err);
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
		st = moe_ckpt_open(&ckpt, path, ctx->watch, err);
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
	moe_convert_free(conv);
	moe_type_rules_free(&rules);
	moe_ckpt_close(ckpt);
	free(path);
	return st;
}

/* Runs what was asked for; misuse is MOE_EUSAGE with a sentence. */
static enum moe_status run(struct tool_ctx *ctx, struct moe_err *err)
{
	const struct config *cfg = ctx->cfg;
	const int n_modes = cfg->info + cfg->list + cfg->hash + cfg->verify + cfg->families;
	const int n = ctx->n_operands;

	const char *report = ctx->common.output;
	enum moe_status st = n_modes ? tool_files(ctx, ctx->n_operands, &report, 1, err) : MOE_OK;

	if (st)
		return st;
	if (n_modes > 1)
		return moe_err_set(err, MOE_EUSAGE,
		                   "--info, --list, --hash, --verify and --list-families exclude each other");
	if (n_modes && (cfg->to || cfg->types || cfg->type_map || cfg->drop_mtp || cfg->resume || cfg->experts >= 0 ||
	                cfg->surgery.segment || cfg->surgery.keep || cfg->surgery.drop || cfg->surgery.order))
		return moe_err_set(err, MOE_EUSAGE, "--to, --type, --type-map, --experts, --drop-mtp, --resume, "
		                   "--segment, --keep-experts, --drop-experts and --order are for conversions");
	if (cfg->families)
		return n ? moe_err_set(err, MOE_EUSAGE, "--list-families takes no operand") : do_families(ctx, err);
	if (n_modes && (n < 1 || n > 1 + cfg->verify))
		return moe_err_set(err, MOE_EUSAGE, "expected one model%s, found %d operands",
		                   cfg->verify ? " and REF at most" : "", n);
	if (cfg->info)
		return do_info(ctx, err);
	if (cfg->list)
		return do_list(ctx, err);
	if (cfg->hash)
		return do_hash(ctx, err);
	if (cfg->verify)
		return do_verify(ctx, err);
	if (n != (ctx->common.output ? 1 : 2))
		return moe_err_set(err, MOE_EUSAGE, "expected SRC and DST%s, found %d operands",
		                   ctx->common.output ? " (which -o gives)" : "", n);
	return do_convert(ctx, ctx->operands[0], ctx->common.output ? ctx->common.output : ctx->operands[1], err);
}

int main(int argc, char **argv)
{
	struct config cfg = { .experts = -1, .shard_bytes = UINT64_C(5) << 30 };
	struct tool_ctx ctx;
	struct moe_err err = {0};

	tool_start(argc, argv, &tool, &cfg, &ctx);
	if (run(&ctx, &err))
		return tool_fail(&ctx, &err);
	return tool_end(&ctx);
}
