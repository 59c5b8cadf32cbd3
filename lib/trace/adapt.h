/* Loss-free balancing replayed: stored logits again and again, batch by batch, under biases that follow the load. */
#ifndef MOE_TRACE_ADAPT_H
#define MOE_TRACE_ADAPT_H

#include "base/pool.h"
#include "trace/trace.h"

struct moe_adapt_opts {
	const struct moe_policy *policy;   /* one that reads biases */
	struct moe_policy_params params;
	double rate;                       /* of moe_bias_adapt, */
	int32_t rule;                      /* MOE_ADAPT_... */
	int64_t batch_tokens;
	int32_t epochs;                    /* how often all sequences come, each time in an order of its own */
	uint64_t seed;                     /* of that */
	const struct moe_bias *start;      /* a row for every layer; NULL: zeros */
};

struct moe_adapt;
MOE_MUST_USE enum moe_status moe_adapt_new(struct moe_adapt **out, const struct moe_adapt_opts *opts,
                                           const struct moe_trace_header *header, struct moe_pool *pool,
                                           struct moe_err *err);
/* Keeps a copy of the run's logits. Runs of a sequence follow each other. */
MOE_MUST_USE enum moe_status moe_adapt_add(struct moe_adapt *adapt, const struct moe_trace_run *run,
                                           struct moe_err *err);

/* How uneven a layer was: (largest - mean) / mean of its loads. */
struct moe_adapt_batch {
	int32_t epoch;   /* in which it ended, from 1 */
	const double *maxvio;   /* [n_layers] */
};
/* Batches go on from one epoch to the next; tokens that fill none at the very end change nothing. Fails where there is
 * not one batch. */
MOE_MUST_USE enum moe_status moe_adapt_run(struct moe_adapt *adapt, struct moe_err *err);
/* After that: the batches there were, in order; NULL past the end. */
const struct moe_adapt_batch *moe_adapt_batch_at(const struct moe_adapt *adapt, int64_t i);
/* MaxVio of all tokens, mean over layers: under the biases of the start, and under those of the end. */
double moe_adapt_before(const struct moe_adapt *adapt);
double moe_adapt_after(const struct moe_adapt *adapt);
/* About what MaxVio would be for n_tokens tokens of a router that chose all experts with the same chance: the largest
 * of n_experts normal deviations, sqrt(2 ln E) sqrt((1 - k/E) E / (k T)). */
double moe_maxvio_noise(int64_t n_tokens, int32_t n_experts, int32_t top_k);
int64_t moe_adapt_tokens(const struct moe_adapt *adapt);
const struct moe_bias *moe_adapt_bias(const struct moe_adapt *adapt);
void moe_adapt_free(struct moe_adapt *adapt);   /* NULL is fine */

#endif
