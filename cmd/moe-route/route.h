/* What the files of moe-route share: its options, what is open, where runs end, and the three sources of runs. */
#ifndef MOE_CMD_ROUTE_ROUTE_H
#define MOE_CMD_ROUTE_ROUTE_H

#include "eval/record.h"
#include "forward/forward.h"
#include "tool.h"
#include "trace/adapt.h"
#include "trace/limit.h"
#include "trace/reroute.h"

struct config {
	struct moe_opt_list prompts;
	bool ids, logits, margin, print, mtp, normalize, no_normalize;
	int64_t window, overlap;
	int32_t gates, chunk, top_k, groups, top_groups, group_score;
	double scale, eps, p_norm, capacity, exempt, temperature, noise;
	int64_t capacity_tokens;
	int32_t drop, priority, devices, second, normalize_when;
	double adapt_bias;
	int64_t batch_tokens;
	int32_t adapt_rule, epochs;
	const char *batches, *hidden;
	const char *policy, *bias, *table, *counts, *capacity_group, *from, *to, *model_config, *device;
	int32_t layer, n_experts;
	bool lenient, list_policies;
};

/* No value given: a number no option takes. */
enum { UNSET = -1 };

struct route {
	struct tool_ctx *ctx;
	const struct config *cfg;
	const char *command;
	struct moe_pool *pool;
	struct moe_setup setup;
	struct moe_sequences seqs;
	struct moe_session *session;
	struct moe_record *record;
	struct moe_record_header described;
	struct moe_bias bias;
	struct moe_token_table table;
	struct moe_reroute *reroute;
	struct moe_limit *limit; /* NULL: no capacity, and no policy for groups */
	struct moe_adapt *adapt; /* NULL: biases stay as they are */
	int32_t adapt_top_k;
	struct moe_trace_header header; /* of what is written */
	struct moe_trace_out *trace;
	struct moe_out *out; /* --print, --to */
	const struct moe_export_ops *to; /* NULL: no --to */
	struct moe_export *export;
	struct tool_progress progress;
};

/* Where every run ends: in the trace, as text, or in the format of another tool. arg: the struct route. */
MOE_MUST_USE enum moe_status route_deliver(void *arg, const struct moe_trace_run *run, struct moe_err *err);
/* header: what the runs to come look like; its strings must outlive the output. arg: the struct route. */
MOE_MUST_USE enum moe_status route_open_output(void *arg, const struct moe_trace_header *header, struct moe_err *err);

/* The policy of --policy and its parameters: what is given, else what the trace says. *out: the header of what comes of
 * it. Opens route->reroute and route->limit. */
MOE_MUST_USE enum moe_status route_open_policy(struct route *route, const struct moe_trace_header *in,
                                               struct moe_trace_header *out, struct moe_err *err);
/* --adapt-bias: opens route->adapt, ... */
MOE_MUST_USE enum moe_status route_open_adapt(struct route *route, const struct moe_policy *policy,
                                              const struct moe_policy_params *params,
                                              const struct moe_trace_header *in, struct moe_err *err);
/* ... and, when it has all runs, writes what comes of it. */
MOE_MUST_USE enum moe_status route_finish_adapt(struct route *route, struct moe_err *err);
/* What was dropped, and how good an assignment is, on stderr. */
void route_tell_limit(struct route *route);

/* The operands are traces: as they are, or under another policy. */
MOE_MUST_USE enum moe_status route_traces(struct route *route, struct moe_err *err);
/* The operands are a model and texts. */
MOE_MUST_USE enum moe_status route_text(struct route *route, struct moe_err *err);
/* The operand is a model, of which one layer is given its inputs by --hidden. */
MOE_MUST_USE enum moe_status route_hidden(struct route *route, struct moe_err *err);
/* No operands: the policies that are known. */
MOE_MUST_USE enum moe_status route_list(struct tool_ctx *ctx, struct moe_err *err);
/* What --from and --to name; a sentence with all names where there is no such format. */
MOE_MUST_USE enum moe_status route_find_format(const char *option, const char *name, bool writes,
                                               const struct moe_import **out, struct moe_err *err);
/* The operands are files of another tool. */
MOE_MUST_USE enum moe_status route_import(struct route *route, struct moe_err *err);

#endif
