/* Stored logits under another policy: a run in, the same tokens with new choices out. */
#ifndef MOE_TRACE_REROUTE_H
#define MOE_TRACE_REROUTE_H

#include "base/pool.h"
#include "trace/trace.h"

struct moe_reroute;

/* params.bias is not read: biases (borrowed, NULL: none) hold one row a layer. keep_logits: the result views the
 * logits of what it was made from. */
MOE_MUST_USE enum moe_status moe_reroute_new(struct moe_reroute **out, const struct moe_policy *policy,
                                             const struct moe_policy_params *params,
                                             const struct moe_bias *biases, bool margins, bool keep_logits,
                                             struct moe_pool *pool, struct moe_err *err);
/* *out is a view until the next call. Logits that are not numbers are an error with their place. */
MOE_MUST_USE enum moe_status moe_reroute_run(struct moe_reroute *reroute, const struct moe_trace_run *run,
                                             int32_t n_layers, const struct moe_trace_run **out,
                                             struct moe_err *err);
void moe_reroute_free(struct moe_reroute *reroute);   /* NULL is fine */

#endif
