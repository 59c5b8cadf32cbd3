/* Balanced assignment of tokens to experts, with a proof. */
#ifndef MOE_ROUTE_ASSIGN_H
#define MOE_ROUTE_ASSIGN_H

#include "route/route.h"

/* Each of n_tokens tokens gets top_k different experts, each expert floor(n_tokens top_k / n_experts) tokens or one
 * more, so that the sum of the affinities [n_tokens][n_experts], all finite, is the largest there is. They count in
 * units of 2^-40 of the power of two above the largest: of what is rounded so, the result is exact. ids [n_tokens]
 * [top_k], of one token by descending affinity. certificate: added to; the bound is what the prices of the experts
 * allow, without a look at the assignment. */
MOE_MUST_USE enum moe_status moe_assign(const float *affinities, int64_t n_tokens, int32_t n_experts, int32_t top_k,
                                        int32_t *ids, struct moe_certificate *certificate, struct moe_err *err);

#endif
