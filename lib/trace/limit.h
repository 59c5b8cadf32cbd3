/* A capacity on choices that were made: a stage behind a policy, between runs that are re-routed and the trace they go
 * to. */
#ifndef MOE_TRACE_LIMIT_H
#define MOE_TRACE_LIMIT_H

#include "trace/trace.h"

struct moe_limit;

/* header: of the runs to come, which keep weights. Runs leave through sink, their source and arrays views until it
 * returns. */
MOE_MUST_USE enum moe_status moe_limit_new(struct moe_limit **out, const struct moe_capacity *capacity,
                                           const struct moe_trace_header *header, const struct moe_run_sink *sink,
                                           struct moe_err *err);
/* Takes a run in. Where C is a share of the sequence, T is the number of its tokens that chose in the layer, so a
 * sequence is held until its last run is known to have come; then it leaves in the same runs. Where groups are
 * sequences, each must come in one piece, from position 0: else there is a sentence. */
MOE_MUST_USE enum moe_status moe_limit_run(struct moe_limit *limit, const struct moe_trace_run *run,
                                           struct moe_err *err);
/* No run follows. */
MOE_MUST_USE enum moe_status moe_limit_finish(struct moe_limit *limit, struct moe_err *err);
void moe_limit_free(struct moe_limit *limit);   /* NULL is fine */

#endif
