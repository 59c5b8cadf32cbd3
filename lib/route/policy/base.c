/* BASE layers (Lewis et al. 2021): a group of tokens is shared out so that all experts get the same number and the sum
 * of the logits is the largest there is (section 3.1); weighed by the sigmoid of the logit. A group of one token takes
 * its best, as that model does when it is trained (section 3.2). */
#include <math.h>

#include "route/assign.h"
#include "route/exp.h"
#include "route/group.h"

static size_t scratch_floats(const struct moe_policy_params *params)
{
	(void)params;
	return 0;
}

static enum moe_status route_group(const struct moe_policy_params *p, const float *logits, int64_t n_tokens,
                                   int32_t *ids, float *weights, struct moe_certificate *certificate,
                                   struct moe_err *err)
{
	const int32_t n = p->n_experts, k = p->top_k;
	enum moe_status status = moe_assign(logits, n_tokens, n, k, ids, certificate, err);
	for (int64_t t = 0; t < n_tokens && !status; t++)
		for (int32_t c = 0; c < k; c++)
			weights[t * k + c] = 1.0f / (1.0f + moe_exp(-logits[t * n + ids[t * k + c]]));
	return status;
}

const struct moe_policy moe_policy_base = {
	.name = "base",
	.help = "the best assignment in which all experts get the same number of a group's tokens",
	.scoring = "sigmoid",
	.source = "BASE Layers (Lewis et al. 2021), section 3",
	.reads = 0,
	.top_k = 1,
	.scratch = scratch_floats,
	.group = route_group,
};
