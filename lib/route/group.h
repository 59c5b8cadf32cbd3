/* Groups of experts: which are kept, and how narrowly; and the choice itself. Shared by the policies. */
#ifndef MOE_ROUTE_GROUP_H
#define MOE_ROUTE_GROUP_H

#include "route/route.h"

/* Floats of scratch that moe_groups_limit needs. */
size_t moe_groups_scratch(const struct moe_policy_params *params);

/* Sets the scores [n_experts] outside the top_groups best groups to -infinity. A group's score is its largest score or
 * the sum of its two largest (params->group_score); equal groups: the lower one. Returns the difference between the
 * last group kept and the best one left out; infinity where none is left out. */
float moe_groups_limit(const struct moe_policy_params *params, float *scores, float *scratch);

/* Bars the experts that params->mask bars for token t from `choice` [n_experts]. */
static inline void moe_choice_mask(const struct moe_policy_params *params, int64_t t, float *choice)
{
	for (int32_t i = 0; params->mask && i < params->n_experts; i++)
		choice[i] += params->mask[t * params->n_experts + i];
}

/* Chooses for token t by `choice` and weighs by `scores`, both [n_experts]: ids [top_k] as moe_top_k gives them,
 * weights [top_k] (0 for id -1). What params->mask bars leaves `choice` first, then, where `groups` is not NULL
 * (scratch of moe_groups_scratch floats), what lies outside the best groups. margins: NULL, or [n_tokens], of which t
 * is set. Returns the sum of the weights. */
float moe_choose(const struct moe_policy_params *params, int64_t t, float *choice, const float *scores, float *groups,
                 int32_t *ids, float *weights, float *margins);

/* The experts that params->table has for token t: ids [top_k], -1 where it has none. */
static inline void moe_choice_table(const struct moe_policy_params *params, int64_t t, int32_t *ids)
{
	const int32_t *row = params->table ? moe_token_table_at(params->table, params->tokens[t]) : NULL;
	for (int32_t i = 0; i < params->top_k; i++)
		ids[i] = row ? row[i] : -1;
}

/* Weight 0 where no expert was chosen (outputs that are not numbers), whatever the policy computed there. */
static inline void moe_clear_unchosen(const int32_t *ids, int32_t k, float *weights)
{
	for (int32_t i = 0; i < k; i++)
		weights[i] = ids[i] < 0 ? 0 : weights[i];
}

/* Score of the last chosen minus the best of the others above -infinity; infinity where there are none. */
float moe_choice_margin(const float *scores, int32_t n, const int32_t *ids, int32_t k);

#endif
