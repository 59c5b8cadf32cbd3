/* Container, storage type and layout of a checkpoint -> another; what it holds, what it costs, whether it is whole. */
#include <string.h>

#include "eval/record.h"
#include "moe-convert/job.h"

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
	MOE_OPT_ENUM(0, "by", "tensor|role", struct config, by, "--verify: what a row is about [tensor]"),
	MOE_OPT_FLAG(0, "diff", struct config, diff, "what two checkpoints differ in; status 3 if in anything"),
	MOE_OPT_STR(0, "only", "WHAT,...", struct config, only, "--diff: config, names, shapes, types, values [all]"),
	MOE_OPT_FLAG(0, "sha256", struct config, sha256, "--hash, --manifest: SHA-256 too"),
	MOE_OPT_FILE(0, "manifest", "TSV", struct config, manifest,
	             "hashes of files and tensors: what --verify compares, or a conversion writes"),
	MOE_OPT_BYTES(0, "fits", "SIZE", struct config, fits,
	              "memory that a rank needs, by part; status 3 if it is more"),
	MOE_OPT_I64(0, "ctx", "N", struct config, ctx, 1, INT64_C(1) << 31,
	            "--fits: positions of a sequence [the model's]"),
	MOE_OPT_INT(0, "ranks", "N", struct config, ranks, 1, 1 << 16, "--fits: share the experts among N ranks [1]"),
	MOE_OPT_ENUM(0, "kv", "bf16|f32|q8_0", struct config, kv, "--fits: type of cached keys and values [bf16]"),
	MOE_OPT_FLAG(0, "list-families", struct config, families, "the model families that are known"),
	MOE_OPT_GROUP("Conversion"),
	MOE_OPT_LISTED(0, "to", "FORMAT", format_word, struct config, to,
	               "safetensors, gguf or deepseek [from DST's name]"),
	MOE_OPT_LISTED(0, "type", "RULES", type_word, struct config, types,
	               "bf16, or exps=q8_0,attn=bf16,*=f16 [as stored]"),
	MOE_OPT_FILE(0, "type-map", "TSV", struct config, type_map,
	             "pattern and type of single tensors, before --type"),
	MOE_OPT_ENUM(0, "fp8-scales", "f32|pow2|e8m0", struct config, fp8_scales,
	             "f8_e4m3: scales of blocks, any, powers of two, or those in a byte [as stored]"),
	MOE_OPT_FLAG(0, "dequantize", struct config, dequantize,
	             "bf16 for types of fewer than 16 bits, unless --type says f16 or f32"),
	MOE_OPT_FILE(0, "imatrix", "FILE", struct config, imatrix,
	             "columns matter as a table of moe-run --imatrix or llama-imatrix says"),
	MOE_OPT_I64(0, "imatrix-tokens", "N", struct config, imatrix_tokens, 0, INT32_MAX,
	            "experts that saw fewer tokens take weights from the others of their layer [32]"),
	MOE_OPT_BYTES(0, "shard-size", "SIZE", struct config, shard_bytes,
	              "safetensors: begin a new file there, 0: one file [5G]"),
	MOE_OPT_INT(0, "model-parallel", "N", struct config, model_parallel, 1, 1 << 16,
	            "deepseek: a file for each of N ranks [1]"),
	MOE_OPT_ENUM(0, "experts", "split|stacked", struct config, experts,
	             "safetensors: a tensor for each, or stacks [as published]"),
	MOE_OPT_FLAG(0, "drop-mtp", struct config, drop_mtp, "leave out multi-token-prediction layers"),
	MOE_OPT_GROUP("Models"),
	MOE_OPT_FILE(0, "config", "JSON", struct config, config,
	             "of a model without config.json, as of DeepSeek's ranks"),
	MOE_OPT_GROUP("Experts (one of these at a time)"),
	MOE_OPT_INT(0, "segment", "M", struct config, surgery.segment, 2, 1 << 20,
	            "cut every expert into M finer ones; the outputs stay"),
	MOE_OPT_FILE(0, "keep-experts", "TSV", struct config, surgery.keep, "keep only these experts: layer, expert"),
	MOE_OPT_FILE(0, "drop-experts", "TSV", struct config, surgery.drop, "keep all but these experts"),
	MOE_OPT_FILE(0, "order", "TSV", struct config, surgery.order, "put the experts of a layer in this order"),
	MOE_OPT_FILE(0, "merge-experts", "TSV", struct config, surgery.merge,
	             "weighted averages of experts: layer, new, old, weight"),
	MOE_OPT_INT(0, "upcycle", "E", struct config, surgery.upcycle, 1, 1 << 20,
	            "make a dense model's networks E experts each; the outputs stay"),
	MOE_OPT_INT(0, "upcycle-top-k", "K", struct config, surgery.upcycle_top_k, 1, 1 << 20,
	            "--upcycle: experts that a token chooses [2]"),
	MOE_OPT_FLAG(0, "upcycle-shared", struct config, surgery.upcycle_shared,
	             "--upcycle: keep the network as a shared expert; the others begin at zero"),
	MOE_OPT_F64(0, "upcycle-noise", "SIGMA", struct config, surgery.upcycle_noise, 0, 1e6,
	            "--upcycle: add noise of this deviation to the experts, by --seed [0]"),
	MOE_OPT_GROUP("Interruptions"),
	MOE_OPT_FLAG(0, "resume", struct config, resume, "go on where an earlier run with --resume was interrupted"),
	MOE_OPT_END
};

static const struct tool tool = {
	"moe-convert",
	"[options] SRC DST\n--info|--list|--hash MODEL\n--fits SIZE [--ctx N] [--ranks N] MODEL\n"
	"--verify MODEL [REF]\n--diff A B\n--list-families",
	"Convert a Mixture-of-Experts checkpoint, or report what it holds.",
	options
};

/* A mode beside conversion: the option that asks for it where it is not zero, and how many operands it takes. */
struct mode {
	const char *option;
	size_t offset, n_bytes;
	enum moe_status (*run)(struct tool_ctx *ctx, struct moe_err *err);
	int least, most;
};

#define MODE(field) offsetof(struct config, field), sizeof ((struct config *)0)->field

static const struct mode modes[] = {
	{"--fits", MODE(fits), convert_fits, 1, 1},
	{"--info", MODE(info), convert_info, 1, 1},
	{"--list", MODE(list), convert_list, 1, 1},
	{"--hash", MODE(hash), convert_hash, 1, 1},
	{"--verify", MODE(verify), convert_verify, 1, 2},
	{"--diff", MODE(diff), convert_diff, 2, 2},
	{"--list-families", MODE(families), convert_families, 0, 0},
};

/* The mode that is asked for, or NULL; *second: another one that is. */
static const struct mode *find_mode(const struct config *cfg, const struct mode **second)
{
	const struct mode *found = NULL;

	*second = NULL;
	for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
		static const char zeros[sizeof(uint64_t)];

		if (!memcmp((const char *)cfg + modes[i].offset, zeros, modes[i].n_bytes))
			continue;
		if (found && found->run == convert_fits && modes[i].run == convert_info)
			continue;   /* one report with both */
		if (found)
			*second = &modes[i];
		else
			found = &modes[i];
	}
	return found;
}

/* An option that was given and says how to convert, or NULL; --fits asks what some of them would give. */
static const char *find_conversion(const struct config *cfg)
{
	const struct { const char *option; bool given; } options_of[] = {
		{"--to", cfg->to && !cfg->fits}, {"--type", cfg->types && !cfg->fits}, {"--type-map", cfg->type_map},
		{"--imatrix", cfg->imatrix}, {"--imatrix-tokens", cfg->imatrix_tokens >= 0},
		{"--experts", cfg->experts >= 0}, {"--fp8-scales", cfg->fp8_scales >= 0},
		{"--model-parallel", cfg->model_parallel}, {"--shard-size", cfg->shard_bytes != UINT64_MAX},
		{"--drop-mtp", cfg->drop_mtp && !cfg->fits}, {"--resume", cfg->resume},
		{"--segment", cfg->surgery.segment}, {"--keep-experts", cfg->surgery.keep},
		{"--drop-experts", cfg->surgery.drop}, {"--order", cfg->surgery.order},
		{"--merge-experts", cfg->surgery.merge}, {"--upcycle", cfg->surgery.upcycle},
		{"--upcycle-top-k", cfg->surgery.upcycle_top_k}, {"--upcycle-shared", cfg->surgery.upcycle_shared},
		{"--upcycle-noise", cfg->surgery.upcycle_noise > 0}, {"--dequantize", cfg->dequantize},
	};

	for (size_t i = 0; i < sizeof options_of / sizeof options_of[0]; i++)
		if (options_of[i].given)
			return options_of[i].option;
	return NULL;
}

/* Runs a mode; misuse is MOE_EUSAGE with a sentence. */
static enum moe_status run_mode(struct tool_ctx *ctx, const struct mode *mode, struct moe_err *err)
{
	const struct config *cfg = ctx->cfg;
	const char *report = ctx->common.output, *conversion = find_conversion(cfg);
	const int n = ctx->n_operands;
	enum moe_status st = tool_files(ctx, n, &report, 1, err);

	if (st)
		return st;
	if (conversion)
		return moe_err_set(err, MOE_EUSAGE, "%s is for conversions, %s reports", conversion, mode->option);
	if (cfg->manifest && !cfg->verify)
		return moe_err_set(err, MOE_EUSAGE, "--manifest is for --verify and conversions, not for %s",
		                   mode->option);
	if (cfg->sha256 && !cfg->hash)
		return moe_err_set(err, MOE_EUSAGE, "--sha256 is for --hash and conversions, not for %s", mode->option);
	if (n < mode->least || n > mode->most)
		return moe_err_set(err, MOE_EUSAGE, "%s: expected %s, found %d operands", mode->option,
		                   mode->most == 0 ? "no operand" : mode->most == 1 ? "one model"
		                   : mode->least == 1 ? "one model and REF at most" : "two models", n);
	return mode->run(ctx, err);
}

static enum moe_status run(struct tool_ctx *ctx, struct moe_err *err)
{
	const struct config *cfg = ctx->cfg;
	const struct mode *second, *mode = find_mode(cfg, &second);
	const int n = ctx->n_operands;

	if (second)
		return moe_err_set(err, MOE_EUSAGE, "%s and %s exclude each other", mode->option, second->option);
	if (cfg->by >= 0 && !cfg->verify)
		return moe_err_set(err, MOE_EUSAGE, "--by goes with --verify");
	if (cfg->tolerance >= 0 && (!cfg->verify || n != 2))
		return moe_err_set(err, MOE_EUSAGE, "--tolerance goes with --verify MODEL REF");
	if (cfg->only && !cfg->diff)
		return moe_err_set(err, MOE_EUSAGE, "--only goes with --diff");
	if (!cfg->fits && (cfg->ctx || cfg->ranks || cfg->kv >= 0))
		return moe_err_set(err, MOE_EUSAGE, "--%s goes with --fits",
		                   cfg->ctx ? "ctx" : cfg->ranks ? "ranks" : "kv");
	if (mode)
		return run_mode(ctx, mode, err);
	if (n != (ctx->common.output ? 1 : 2))
		return moe_err_set(err, MOE_EUSAGE, "expected SRC and DST%s, found %d operands",
		                   ctx->common.output ? " (which -o gives)" : "", n);
	return convert_write(ctx, ctx->operands[0], ctx->common.output ? ctx->common.output : ctx->operands[1], err);
}

int main(int argc, char **argv)
{
	struct config cfg = { .experts = -1, .fp8_scales = -1, .by = -1, .kv = -1, .imatrix_tokens = -1,
	                      .shard_bytes = UINT64_MAX, .tolerance = -1 };
	struct tool_ctx ctx;
	struct moe_err err = {0};
	struct moe_arena arena = {0};
	int status;

	cfg.command = moe_command_line(&arena, argc, argv, NULL);
	tool_start(argc, argv, &tool, &cfg, &ctx);
	status = run(&ctx, &err) ? tool_fail(&ctx, &err) : tool_end(&ctx);
	moe_arena_free(&arena);
	return status;
}
