/* Two traces of the same tokens, read side by side. */
#ifndef MOE_STATS_PAIR_H
#define MOE_STATS_PAIR_H

#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "base/pool.h"
#include "trace/trace.h"

/* The other trace, as far as it was read, and a piece of a run with what the other one says of its tokens. */
struct moe_pair {
	const char *path;                   /* of the other trace; a view */
	struct moe_trace_in *in;
	const struct moe_trace_run *run;    /* of it, taken up to `at`; NULL: none yet, or the end */
	int64_t at;
	struct moe_routing *own, *other;    /* [n_layers] each */
	struct moe_trace_run piece;         /* tokens of the run given, layers in `own` */
};

/* Only choices are read of the other trace. Zero-initialise; closed by moe_pair_close also after a failure. */
MOE_MUST_USE enum moe_status moe_pair_open(struct moe_pair *pair, const char *path, struct moe_pool *pool,
                                           struct moe_watch *watch, struct moe_err *err);
/* Are the other trace's layers, experts and top_k these? Its model may be another. */
MOE_MUST_USE enum moe_status moe_pair_meet(const struct moe_pair *pair, const struct moe_trace_header *header,
                                           struct moe_err *err);
/* pair->piece becomes the tokens of run from `from` on that the other trace has in one run too, at least one, and
 * pair->other what it says of them. Tokens must come in the same order in both: part (counted over all files),
 * sequence, position and, where both know it, token id must agree. */
MOE_MUST_USE enum moe_status moe_pair_next(struct moe_pair *pair, int64_t part, const struct moe_trace_run *run,
                                           int64_t from, struct moe_err *err);
/* Fails if the other trace has more tokens. */
MOE_MUST_USE enum moe_status moe_pair_end(struct moe_pair *pair, struct moe_err *err);
void moe_pair_close(struct moe_pair *pair);

/* Tokens [from, from + n) of a run: *out, its layers in `layers` [n_layers]. A view of run. */
void moe_run_cut(const struct moe_trace_run *run, int32_t n_layers, int64_t from, int64_t n,
                 struct moe_routing *layers, struct moe_trace_run *out);

#endif
