/* Choosing for several tokens at once: the one place of routing where instruction sets differ. Members: route/kernel/.
 *
 * A token has a lane of its own, and in it the same operations in the same order as moe_choose_rows has for one token:
 * every member gives the same bits. */
#ifndef MOE_ROUTE_KERNEL_H
#define MOE_ROUTE_KERNEL_H

#include "route/route.h"

enum moe_rule_score {
	MOE_RULE_LOGIT,
	MOE_RULE_SOFTMAX,
	MOE_RULE_SIGMOID,
	MOE_RULE_SQRTSOFTPLUS,
	MOE_RULE_NEAR,   /* a weight only: sparsemixer's, of `one` */
};

/* What most policies are made of: scores, a bias and groups for the choice, and weights. */
struct moe_rule {
	enum moe_rule_score score;
	enum moe_rule_score weigh;   /* what is made of the scores of the chosen; LOGIT: nothing */
	bool biased, grouped;
	/* Chooses for token t where it is not made of these alone: ids and weights [top_k], margins NULL or [n_tokens].
	 * NULL: it is. */
	void (*one)(const struct moe_policy_params *params, int64_t t, const float *logits, int32_t *ids,
	            float *weights, float *margins, float *scratch);
	bool clear;                  /* weights of what was not chosen are 0 again behind `finish` */
	/* Weights [n_tokens][top_k] as the policy has them, of those above and their sums [n_tokens]. NULL: as is. */
	void (*finish)(const struct moe_policy_params *params, int64_t n_tokens, const float *sums, float *weights);
};

enum { MOE_KERNEL_EXPERTS = 4096, MOE_KERNEL_TOP_K = 32, MOE_KERNEL_LANES = 16 };   /* the most there may be */

struct moe_kernel {
	const char *name;   /* "generic", "avx2": what MOE_CPU names */
	int rank;           /* the highest usable one wins */
	bool (*usable)(void);
	int32_t lanes;
	/* Chooses for `lanes` tokens: ids and weights [lanes][top_k], sums [lanes]; margins NULL or [lanes]. False, and
	 * nothing but room changed, where a number is not finite. room: lanes (2 n_experts + 2 n_groups) floats. */
	bool (*choose)(const struct moe_policy_params *params, const struct moe_rule *rule, const float *logits,
	               int32_t *ids, float *weights, float *sums, float *margins, float *room);
};

/* Floats of scratch that moe_choose_rows needs. */
size_t moe_choose_scratch(const struct moe_policy_params *params);
/* The rows() of a policy with this rule: by params->kernel as far as it goes, else token by token. */
void moe_choose_rows(const struct moe_policy_params *params, const struct moe_rule *rule, const float *logits,
                     int64_t n_tokens, int32_t *ids, float *weights, float *margins, float *scratch);

#endif
