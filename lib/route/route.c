/* The table of policies, and the pieces they share. */
#include "route/route.h"

#include <math.h>
#include <string.h>

#define X(name) extern const struct moe_policy moe_policy_##name;
#include "gen/route_policy.h"
#undef X

static const struct moe_policy *const policies[] = {
#define X(name) &moe_policy_##name,
#include "gen/route_policy.h"
#undef X
};

const struct moe_policy *moe_policy_at(size_t i)
{
	return i < sizeof policies / sizeof *policies ? policies[i] : NULL;
}

const struct moe_policy *moe_policy_by_name(const char *name)
{
	for (size_t i = 0; moe_policy_at(i); i++)
		if (strcmp(policies[i]->name, name) == 0)
			return policies[i];
	return NULL;
}

enum moe_status moe_policy_check(const struct moe_policy *policy, const struct moe_policy_params *p,
                                 struct moe_err *err)
{
	if (p->n_experts < 1 || p->top_k < 1 || p->top_k > p->n_experts)
		return moe_err_set(err, MOE_EUSAGE,
		                   "policy %s: top_k is %d, expected 1 to the %d experts of the layer", policy->name,
		                   (int)p->top_k, (int)p->n_experts);
	if (p->table && (p->table->top_k != p->top_k || p->table->n_experts != p->n_experts))
		return moe_err_set(err, MOE_EUSAGE,
		                   "policy %s: the table has %d of %d experts for a token, expected %d of %d",
		                   policy->name, (int)p->table->top_k, (int)p->table->n_experts, (int)p->top_k,
		                   (int)p->n_experts);
	if (!(policy->reads & MOE_READS_GROUPS))
		return MOE_OK;
	if (p->n_groups < 1 || p->n_experts % p->n_groups)
		return moe_err_set(err, MOE_EUSAGE, "policy %s: %d groups do not divide %d experts", policy->name,
		                   (int)p->n_groups, (int)p->n_experts);
	if (p->top_groups < 1 || p->top_groups > p->n_groups)
		return moe_err_set(err, MOE_EUSAGE, "policy %s: %d groups are to be kept, expected 1 to %d",
		                   policy->name, (int)p->top_groups, (int)p->n_groups);
	const int32_t group = p->n_experts / p->n_groups;
	if (p->top_k > (int64_t)group * p->top_groups)
		return moe_err_set(err, MOE_EUSAGE, "policy %s: top_k is %d, but %d kept groups hold %d experts",
		                   policy->name, (int)p->top_k, (int)p->top_groups, (int)(group * p->top_groups));
	if (p->n_groups > 1 && p->group_score == MOE_GROUP_TOP2 && group < 2)
		return moe_err_set(err, MOE_EUSAGE, "policy %s: groups of 1 expert have no two best to sum",
		                   policy->name);
	return MOE_OK;
}

void moe_top_k(const float *scores, int32_t n, int32_t k, int32_t *ids)
{
	int32_t found = 0;
	for (int32_t i = 0; i < n && k > 0; i++) {
		if (!(scores[i] > -INFINITY) || (found == k && !(scores[i] > scores[ids[k - 1]])))
			continue;
		int32_t at = found < k ? found++ : k - 1;
		for (; at > 0 && scores[i] > scores[ids[at - 1]]; at--)
			ids[at] = ids[at - 1];
		ids[at] = i;
	}
	for (; found < k; found++)
		ids[found] = -1;
}

void moe_softmax(const float *logits, int32_t n, float *out)
{
	float max = logits[0], sum = 0;
	for (int32_t i = 1; i < n; i++)
		max = logits[i] > max ? logits[i] : max;
	for (int32_t i = 0; i < n; i++) {
		out[i] = expf(logits[i] - max);
		sum += out[i];
	}
	for (int32_t i = 0; i < n; i++)
		out[i] /= sum;
}

void moe_sigmoid(const float *logits, int32_t n, float *out)
{
	for (int32_t i = 0; i < n; i++)
		out[i] = 1.0f / (1.0f + expf(-logits[i]));
}
