/* What the files of moe-split share: its options and the work of each mode. */
#ifndef MOE_CMD_SPLIT_SPLIT_H
#define MOE_CMD_SPLIT_SPLIT_H

#include "model/model.h"
#include "placement/batches.h"
#include "placement/cost.h"
#include "placement/pin.h"
#include "placement/planner.h"
#include "placement/shard.h"
#include "placement/traffic.h"
#include "plan/plan.h"
#include "plan/topology.h"
#include "stats/gather.h"
#include "stats/rows.h"
#include "tool.h"

struct config {
	int32_t ranks, nodes, groups, slots, replicas, time_ms, max_moves;
	const char *topology, *planner, *from, *plan, *verify, *import, *export, *layers, *pin, *cost,
	           *rebalance, *patch;
	int32_t stages, micro_batches;
	struct moe_opt_list evaluate, test;
	int64_t batch_tokens;   /* 0: not asked */
	int64_t hidden_size;    /* 0: nobody asks for bytes */
	int32_t element_bytes, expert_width;
	double flops, gbps, slack;   /* slack < 0: not given */
	bool list, list_forms, merge, ci, resume, links;
	uint64_t fits, max_bytes, expert_bytes;
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

/* Bytes of all tokens and layers, as moe-stats counts them: H B for each (token, other rank), 4 H for each choice made
 * there. */
struct split_bytes {
	double rank, node;      /* that leave a rank; a node */
	double once;            /* that leave a node if a token's row is sent to each other node once */
	double n_ranks, n_nodes, n_rows;   /* that hold a token's experts, summed over rows: tokens and layers */
	double n_tokens;
};
struct split_bytes split_bytes_of(const struct config *cfg, const struct moe_fan *fans, int32_t n_layers);
/* One layer in a step of split_step_tokens: the busiest rank, of so many choices in the traffic that the bytes are of,
 * computes 6 H W operations for each, and then what leaves nodes goes over the links of all ranks evenly. */
double split_step_seconds(const struct config *cfg, double busiest, int32_t n_ranks, const struct split_bytes *bytes);
int64_t split_step_tokens(const struct config *cfg);
/* Between which values the mean peak-to-average of the plan lies in 95 % of resamples of the traffic's sequences. */
MOE_MUST_USE enum moe_status split_interval(struct tool_ctx *ctx, const struct moe_traffic *traffic,
                                            const struct moe_plan *plan, const struct moe_load *load, double *low,
                                            double *high, struct moe_err *err);
/* Which experts the operands choose together; of parity 0 or 1 in one half of them. */
MOE_MUST_USE enum moe_status split_together(struct tool_ctx *ctx, const struct moe_gather *gather, int parity,
                                            bool by_part, struct moe_together ***together, struct moe_err *err);
/* A second plan, made on one half of the traces, judged on the other; on stderr. */
MOE_MUST_USE enum moe_status split_hold_out(struct tool_ctx *ctx, const struct config *cfg,
                                            const struct moe_planner *planner, const struct moe_planner_opts *opts,
                                            const struct moe_gather *gather, struct moe_err *err);
/* The plan judged on --test; on stderr. */
MOE_MUST_USE enum moe_status split_judge_test(struct tool_ctx *ctx, const struct config *cfg,
                                              const struct moe_plan *plan, const struct moe_topology *topology,
                                              const struct moe_load *load, struct moe_err *err);
/* What --batch-tokens asks, on stderr. `what` is the name of the traffic. */
MOE_MUST_USE enum moe_status split_note_batches(struct tool_ctx *ctx, const struct config *cfg,
                                                const struct moe_plan *plan, const struct moe_load *load,
                                                const char *what, char *const *paths, int n_paths,
                                                struct moe_err *err);

/* The table, or a JSON object a row. */
void split_print_plan(const struct moe_plan *plan, bool json, struct moe_buf *out);

MOE_MUST_USE enum moe_status split_import(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err);
MOE_MUST_USE enum moe_status split_export(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err);
MOE_MUST_USE enum moe_status split_stages(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err);
MOE_MUST_USE enum moe_status split_list_forms(struct tool_ctx *ctx, struct moe_err *err);
MOE_MUST_USE enum moe_status split_plan(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err);
MOE_MUST_USE enum moe_status split_evaluate(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err);
/* With --plan: shards, --verify, --fits or their sizes. */
MOE_MUST_USE enum moe_status split_shard(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err);
/* From the plan of --rebalance to the operand's: the list of moves, or --patch. */
MOE_MUST_USE enum moe_status split_rebalance(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err);
MOE_MUST_USE enum moe_status split_merge(struct tool_ctx *ctx, struct moe_err *err);

#endif
