/* Group-limited choice: DeepSeek-V2 report section 2.2.2 (maximum), DeepSeek-V3 report section 2.1.2 (two best). */
#include "route/group.h"

#include <math.h>
#include <string.h>

size_t moe_groups_scratch(const struct moe_policy_params *params) { return 2 * (size_t)params->n_groups; }

static float score_of(const float *scores, int32_t n, int32_t rule)
{
	float best = -INFINITY, second = -INFINITY;
	for (int32_t i = 0; i < n; i++) {
		if (scores[i] > best) {
			second = best;
			best = scores[i];
		} else if (scores[i] > second) {
			second = scores[i];
		}
	}
	return rule == MOE_GROUP_TOP2 ? best + second : best;
}

float moe_groups_limit(const struct moe_policy_params *params, float *scores, float *scratch)
{
	const int32_t n_groups = params->n_groups, group = params->n_experts / n_groups;
	if (params->top_groups >= n_groups)
		return INFINITY;
	float *group_scores = scratch, *kept = scratch + n_groups;   /* kept: 0 or 1 */
	for (int32_t g = 0; g < n_groups; g++) {
		group_scores[g] = score_of(scores + g * group, group, params->group_score);
		kept[g] = 0;
	}
	float last = INFINITY, next = -INFINITY;
	for (int32_t i = 0; i < params->top_groups; i++) {
		int32_t best = -1;
		for (int32_t g = 0; g < n_groups; g++)
			if (kept[g] == 0 && (best < 0 || group_scores[g] > group_scores[best]))
				best = g;
		last = group_scores[best];
		kept[best] = 1;
	}
	for (int32_t g = 0; g < n_groups; g++) {
		if (kept[g] != 0)
			continue;
		next = group_scores[g] > next ? group_scores[g] : next;
		for (int32_t i = 0; i < group; i++)
			scores[g * group + i] = -INFINITY;
	}
	return last - next;
}

float moe_choice_margin(const float *scores, int32_t n, const int32_t *ids, int32_t k)
{
	if (ids[k - 1] < 0)
		return INFINITY;
	const float last = scores[ids[k - 1]];
	float next = -INFINITY;
	for (int32_t i = 0; i < n; i++) {
		/* Whoever scores above the last chosen is chosen; of equals the list tells. */
		if (scores[i] > last || scores[i] <= next)
			continue;
		bool chosen = false;
		for (int32_t j = k - 1; j >= 0 && scores[ids[j]] == scores[i] && !chosen; j--)
			chosen = ids[j] == i;
		if (!chosen)
			next = scores[i];
	}
	return next > -INFINITY ? last - next : INFINITY;
}

float moe_choose(const struct moe_policy_params *params, int64_t t, float *choice, const float *scores, float *groups,
                 int32_t *ids, float *weights, float *margins)
{
	const int32_t k = params->top_k;
	float sum = 0;
	moe_choice_mask(params, t, choice);
	const float group_margin = groups ? moe_groups_limit(params, choice, groups) : INFINITY;
	moe_top_k(choice, params->n_experts, k, ids);
	for (int32_t i = 0; i < k; i++) {
		weights[i] = ids[i] < 0 ? 0 : scores[ids[i]];
		sum += weights[i];
	}
	if (margins)
		margins[t] = fminf(group_margin, moe_choice_margin(choice, params->n_experts, ids, k));
	return sum;
}
