/* What the files of moe-convert share: its options, where rows go, models that are looked at, the work of each mode. */
#ifndef MOE_CMD_CONVERT_JOB_H
#define MOE_CMD_CONVERT_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "convert/convert.h"
#include "convert/rows.h"
#include "convert/view.h"
#include "tool.h"

struct config {
	bool info, list, hash, verify, diff, families, drop_mtp, dequantize, resume;
	const char *to, *types, *type_map, *imatrix;
	int64_t imatrix_tokens;   /* -1: not given */
	int32_t experts;    /* enum moe_experts_layout - 1; -1: not given */
	int32_t fp8_scales; /* enum moe_scales_form - 1; -1: not given */
	struct moe_surgery_opts surgery;
	uint64_t shard_bytes;     /* UINT64_MAX: not given */
	int32_t model_parallel;   /* 0: not given */
	bool sha256;
	const char *command;      /* the command line, as it can be typed again */
	const char *manifest;     /* written by a conversion, read by --verify */
	const char *config;       /* of a model that has none */
	double tolerance;   /* -1: not given */
	int32_t by;         /* of --verify: 0 tensors, 1 roles; -1: not given */
	const char *only;   /* of --diff */
	uint64_t fits;      /* 0: not given */
	int64_t ctx;        /* of --fits, as those below; 0: not given */
	int32_t ranks;      /* 0: not given */
	int32_t kv;         /* enum moe_kv_type; -1: not given */
};

/* Rows of a report on path; NULL: stdout. */
MOE_MUST_USE enum moe_status convert_rows_open(struct moe_rows *r, struct tool_ctx *ctx, const char *path,
                                               struct moe_err *err);
/* Commits, or gives up after a failure. */
MOE_MUST_USE enum moe_status convert_rows_close(struct moe_rows *r, enum moe_status st, struct moe_err *err);

/* Opens a checkpoint, with --config where it has none. */
MOE_MUST_USE enum moe_status convert_ckpt_open(struct moe_ckpt **ckpt, struct tool_ctx *ctx, const char *path,
                                               struct moe_err *err);

/* Should the config's tensors all be there? Not beside a config alone, in one rank's shard, or where every weight has
 * its scales. */
bool convert_is_whole(const struct moe_ckpt *ckpt);

struct source {
	struct moe_ckpt *ckpt;       /* NULL: a bare config.json */
	json_t *json;
	struct moe_config config;
	char where[1024];
};
MOE_MUST_USE enum moe_status convert_source_open(struct source *s, struct tool_ctx *ctx, const char *name,
                                                 struct moe_err *err);
/* Opens a model, checks that it is whole, and looks at it under Hugging Face names. */
MOE_MUST_USE enum moe_status convert_source_view(struct source *s, struct moe_view *view, struct tool_ctx *ctx,
                                                 const char *name, struct moe_err *err);
void convert_source_close(struct source *s);

/* The work of a mode: its operands are counted before. */
MOE_MUST_USE enum moe_status convert_info(struct tool_ctx *ctx, struct moe_err *err);
MOE_MUST_USE enum moe_status convert_fits(struct tool_ctx *ctx, struct moe_err *err);
MOE_MUST_USE enum moe_status convert_list(struct tool_ctx *ctx, struct moe_err *err);
MOE_MUST_USE enum moe_status convert_hash(struct tool_ctx *ctx, struct moe_err *err);
MOE_MUST_USE enum moe_status convert_verify(struct tool_ctx *ctx, struct moe_err *err);
MOE_MUST_USE enum moe_status convert_diff(struct tool_ctx *ctx, struct moe_err *err);
MOE_MUST_USE enum moe_status convert_families(struct tool_ctx *ctx, struct moe_err *err);
MOE_MUST_USE enum moe_status convert_write(struct tool_ctx *ctx, const char *src, const char *dst,
                                           struct moe_err *err);

#endif
