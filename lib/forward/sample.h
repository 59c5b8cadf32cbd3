/* From logits to a token. */
#ifndef MOE_FORWARD_SAMPLE_H
#define MOE_FORWARD_SAMPLE_H

#include <stdint.h>

#include "base/err.h"

/* temp 0: the largest logit, ties to the lower id. Otherwise softmax(logits / temp), cut down in this order: the top_k
 * largest (0: all), those at or above min_p times the largest probability, the fewest whose sum reaches top_p. */
struct moe_sampling {
	double temp, top_p, min_p;
	int32_t top_k;
	uint64_t seed;
};

/* The draw is a function of (seed, sequence, position) alone. *token is the choice among n logits. */
MOE_MUST_USE enum moe_status moe_sample(const struct moe_sampling *sampling, const float *logits, int32_t n,
                                        uint64_t sequence, uint64_t position, int32_t *token, struct moe_err *err);

#endif
