/* Choices read back from a trace, forced on a run of the same sequences. */
#ifndef MOE_EVAL_REPLAY_H
#define MOE_EVAL_REPLAY_H

#include "eval/sequences.h"
#include "forward/forward.h"
#include "trace/trace.h"

struct moe_replay;

/* The trace must be of a model with these routers; what it has of MTP layers is passed over. gates: weigh by the stored
 * gates, which must be f32. */
MOE_MUST_USE enum moe_status moe_replay_open(struct moe_replay **out, const char *path, const struct moe_config *config,
                                             bool gates, struct moe_pool *pool, struct moe_watch *watch,
                                             struct moe_err *err);
void moe_replay_close(struct moe_replay *replay);   /* NULL is fine */
/* Experts a token of the trace. */
int32_t moe_replay_top_k(const struct moe_replay *replay);
/* Reads the next sequence of the trace, whose first tokens must be those of seq. */
MOE_MUST_USE enum moe_status moe_replay_begin(struct moe_replay *replay, const struct moe_sequence *seq,
                                              struct moe_err *err);
/* For moe_ablation.forced; arg is the replay. */
enum moe_status moe_replay_forced(void *arg, int32_t layer, int64_t pos, int64_t n_tokens, const int32_t **ids,
                                  const float **weights, struct moe_err *err);

#endif
