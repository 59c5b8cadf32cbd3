/* What the files of moe-split share: its options and the work of each mode. */
#ifndef MOE_CMD_SPLIT_SPLIT_H
#define MOE_CMD_SPLIT_SPLIT_H

#include "model/model.h"
#include "placement/batches.h"
#include "placement/cost.h"
#include "placement/planner.h"
#include "placement/shard.h"
#include "plan/plan.h"
#include "plan/topology.h"
#include "stats/gather.h"
#include "stats/rows.h"
#include "tool.h"

struct config {
	int32_t ranks, nodes, groups, slots, replicas, time_ms, max_moves;
	const char *topology, *planner, *from, *plan, *verify, *import, *export, *layers;
	struct moe_opt_list evaluate, test;
	int64_t batch_tokens;   /* 0: not asked */
	bool list, list_forms, merge;
	uint64_t fits;
	double max_imbalance; /* 0: not asked */
};

MOE_MUST_USE enum moe_status split_write(struct tool_ctx *ctx, const struct moe_buf *text, const char *path,
                                         struct moe_err *err);
/* The operands, or stdin, as one load. quarters: also by halves, for a held-out figure. */
MOE_MUST_USE enum moe_status split_gather(struct tool_ctx *ctx, bool quarters, struct moe_gather *gather,
                                          struct moe_err *err);
/* The files, or stdin where there are none, as one load. */
MOE_MUST_USE enum moe_status split_gather_files(struct tool_ctx *ctx, char *const *paths, int n_paths, bool quarters,
                                                struct moe_gather *gather, struct moe_err *err);
/* What --batch-tokens asks of the traces under these plans, every layer of the load placed: *batches
 * [n_plans][n_layers], malloc'd; NULL where it is not asked. */
MOE_MUST_USE enum moe_status split_batches(struct tool_ctx *ctx, const struct config *cfg, const struct moe_load *load,
                                           const struct moe_plan *plans, int n_plans, char *const *paths,
                                           int n_paths, struct moe_batch_cost **batches, struct moe_err *err);
/* MOE_ECHECK if a layer of this plan is beyond --max-imbalance. */
MOE_MUST_USE enum moe_status split_check_imbalance(const struct config *cfg, const struct moe_cost_sum *v,
                                                   const char *plan, struct moe_err *err);

/* The table, or a JSON object a row. */
void split_print_plan(const struct moe_plan *plan, bool json, struct moe_buf *out);

MOE_MUST_USE enum moe_status split_import(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err);
MOE_MUST_USE enum moe_status split_export(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err);
MOE_MUST_USE enum moe_status split_list_forms(struct tool_ctx *ctx, struct moe_err *err);
MOE_MUST_USE enum moe_status split_plan(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err);
MOE_MUST_USE enum moe_status split_evaluate(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err);
/* With --plan: shards, --verify, --fits or their sizes. */
MOE_MUST_USE enum moe_status split_shard(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err);
MOE_MUST_USE enum moe_status split_merge(struct tool_ctx *ctx, struct moe_err *err);

#endif
