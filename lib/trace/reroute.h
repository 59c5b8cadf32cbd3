/* Stored logits under another policy: a run in, the same tokens with new choices out. */
#ifndef MOE_TRACE_REROUTE_H
#define MOE_TRACE_REROUTE_H

#include "base/pool.h"
#include "trace/trace.h"

struct moe_reroute;

struct moe_reroute_opts {
	struct moe_policy_params params; /* without what is known of single tokens: that comes from the runs */
	const struct moe_bias *biases;   /* one row a layer, in place of params.bias; borrowed, NULL: none */
	struct moe_adjust adjust;
	uint64_t seed;                   /* of noise and of policies that draw */
	bool margins;
	bool keep_logits;                /* the result views the logits of what it was made from */
};

/* A policy with a `group` leaves only who chooses: it is for the stage behind (limit.h) to say what. */
MOE_MUST_USE enum moe_status moe_reroute_new(struct moe_reroute **out, const struct moe_policy *policy,
                                             const struct moe_reroute_opts *opts, struct moe_pool *pool,
                                             struct moe_err *err);
/* *out is a view until the next call. Logits that are not numbers, and tokens that a table does not have, are an error
 * with their place. */
MOE_MUST_USE enum moe_status moe_reroute_run(struct moe_reroute *reroute, const struct moe_trace_run *run,
                                             int32_t n_layers, const struct moe_trace_run **out,
                                             struct moe_err *err);
void moe_reroute_free(struct moe_reroute *reroute);   /* NULL is fine */

#endif
