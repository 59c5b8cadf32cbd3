/* What happens to groups of tokens: a stage behind a policy, between runs that are re-routed and the trace they go to.
 * Policies whose tokens depend on each other choose here, and capacities drop choices that were made. */
#ifndef MOE_TRACE_LIMIT_H
#define MOE_TRACE_LIMIT_H

#include "trace/trace.h"

struct moe_limit;

struct moe_limit_opts {
	struct moe_capacity capacity;
	const struct moe_policy *policy; /* with a `group` that chooses; NULL or without one: choices were made */
	struct moe_policy_params params; /* of that one; its capacity is set here, from `capacity` or from top_k */
	struct moe_adjust adjust;        /* of the logits that it, or a priority, goes by */
	uint64_t seed;
	bool keep_logits;                /* the runs that leave have those that came */
};

/* What was dropped. */
struct moe_limit_counts {
	int64_t n_choices, n_dropped;  /* over all layers */
	int64_t n_tokens, n_bare;      /* tokens that chose, over all layers, and those left without any choice */
	struct moe_certificate certificate;
	int64_t n_groups;
};

/* header: of the runs to come, which keep weights, and logits where a policy or priority needs them. Runs leave by the
 * sink, their source and arrays views until it returns. */
MOE_MUST_USE enum moe_status moe_limit_new(struct moe_limit **out, const struct moe_limit_opts *opts,
                                           const struct moe_trace_header *header, const struct moe_run_sink *sink,
                                           struct moe_pool *pool, struct moe_err *err);
/* Takes a run in. T of a sequence is the number of its tokens that chose in the layer. Runs are held until the groups
 * of all their tokens are whole, then leave as they came; capacities given as a number or for groups of tokens hold
 * none where choices queue by position. Where groups are sequences, each must come in one piece, from position 0: else
 * there is a sentence. */
MOE_MUST_USE enum moe_status moe_limit_run(struct moe_limit *limit, const struct moe_trace_run *run,
                                           struct moe_err *err);
/* No run follows: groups that are not full are taken as they are. */
MOE_MUST_USE enum moe_status moe_limit_finish(struct moe_limit *limit, struct moe_err *err);
void moe_limit_count(const struct moe_limit *limit, struct moe_limit_counts *out);
void moe_limit_free(struct moe_limit *limit);   /* NULL is fine */

#endif
