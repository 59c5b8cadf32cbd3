/* The table of policies, and the pieces they share. */
#include "route/route.h"

#include <math.h>
#include <string.h>

#include "route/exp.h"

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

/* By insertion, for any n and k. */
static void top_k_any(const float *scores, int32_t n, int32_t k, int32_t *ids)
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

/* Sixteen scores at a time, in registers of four: no branch below depends on one score. */
enum { LANES = 16, N_REGISTERS = LANES / 4 };
typedef float floats __attribute__((vector_size(16)));
typedef int32_t ints __attribute__((vector_size(16)));

/* A number that at least k of the scores reach, k <= LANES: the k-th largest of the maxima of LANES columns. */
static float low_mark(const float *scores, int32_t n, int32_t k)
{
	const floats least = { -INFINITY, -INFINITY, -INFINITY, -INFINITY };
	floats max[N_REGISTERS] = { least, least, least, least };
	ints above[N_REGISTERS] = { { 0 } }; /* minus the number of maxima above this one */
	float mark = INFINITY;
	for (int32_t i = 0; i < n - n % LANES; i += LANES)
		for (int32_t r = 0; r < N_REGISTERS; r++) {
			floats x;
			memcpy(&x, scores + i + 4 * r, sizeof x);
			const ints larger = x > max[r];
			max[r] = (floats)(((ints)x & larger) | ((ints)max[r] & ~larger));
		}
	for (int32_t b = 0; b < LANES; b++) {
		const float one = max[b / 4][b % 4];
		const floats all = { one, one, one, one };
		for (int32_t r = 0; r < N_REGISTERS; r++)
			above[r] += all > max[r];
	}
	for (int32_t a = 0; a < LANES; a++) {
		const float candidate = above[a / 4][a % 4] > -k ? max[a / 4][a % 4] : INFINITY;
		mark = candidate < mark ? candidate : mark;
	}
	return mark;
}

/* Which of the first n <= 64 scores reach the mark: a bit for each. */
static uint64_t reach(const float *scores, int32_t n, float mark)
{
	static const ints bit[N_REGISTERS] = { { 1, 2, 4, 8 }, { 16, 32, 64, 128 }, { 256, 512, 1024, 2048 },
		                               { 4096, 8192, 16384, 32768 } };
	const floats all = { mark, mark, mark, mark };
	uint64_t bits = 0;
	int32_t i = 0;
	for (; i + LANES <= n; i += LANES) {
		ints found = { 0 };
		for (int32_t r = 0; r < N_REGISTERS; r++) {
			floats x;
			memcpy(&x, scores + i + 4 * r, sizeof x);
			found |= (x >= all) & bit[r];
		}
		bits |= (uint64_t)(uint32_t)(found[0] | found[1] | found[2] | found[3]) << i;
	}
	for (; i < n; i++)
		bits |= (uint64_t)(scores[i] >= mark) << i;
	return bits;
}

/* Puts at [n], of which the scores are x [LANES], in their order; of equal ones the first comes first. */
static void sort_lanes(const float *scores, const int32_t *at, int32_t n, int32_t *sorted)
{
	static const ints lane[N_REGISTERS] = { { 0, 1, 2, 3 }, { 4, 5, 6, 7 }, { 8, 9, 10, 11 }, { 12, 13, 14, 15 } };
	ints rank[N_REGISTERS] = { { 0 } };
	float x[LANES];
	floats columns[N_REGISTERS];
	for (int32_t a = 0; a < LANES; a++)
		x[a] = a < n ? scores[at[a]] : -INFINITY;
	memcpy(columns, x, sizeof columns);
	for (int32_t b = 0; b < n; b++) {
		const floats all = { x[b], x[b], x[b], x[b] };
		const ints here = { b, b, b, b };
		for (int32_t r = 0; r < N_REGISTERS; r++)
			rank[r] -= (all > columns[r]) | ((all == columns[r]) & (here < lane[r]));
	}
	for (int32_t a = 0; a < n; a++)
		sorted[rank[a / 4][a % 4]] = at[a];
}

void moe_top_k(const float *scores, int32_t n, int32_t k, int32_t *ids)
{
	int32_t at[LANES + 1], sorted[LANES], n_at = 0;
	const float mark = k > 0 && k <= LANES && n >= 2 * LANES ? low_mark(scores, n, k) : -INFINITY;
	if (!(mark > -INFINITY)) {
		top_k_any(scores, n, k, ids);
		return;
	}
	/* those that reach the mark: few more than k, but for ties */
	for (int32_t i = 0; i < n && n_at <= LANES; i += 64)
		for (uint64_t bits = reach(scores + i, n - i < 64 ? n - i : 64, mark); bits && n_at <= LANES;
		     bits &= bits - 1)
			at[n_at++] = i + __builtin_ctzll(bits);
	if (n_at > LANES) {
		top_k_any(scores, n, k, ids);
		return;
	}
	sort_lanes(scores, at, n_at, sorted);
	memcpy(ids, sorted, (size_t)k * sizeof *ids);
}

bool moe_logits_good(const float *logits, int64_t n)
{
	int32_t n_bad = 0;
	for (int64_t i = 0; i < n; i++)
		n_bad |= !(logits[i] < INFINITY);
	return n_bad == 0;
}

void moe_softmax(const float *logits, int32_t n, float *out)
{
	float max = logits[0], sum = 0;
	for (int32_t i = 1; i < n; i++)
		max = logits[i] > max ? logits[i] : max;
	for (int32_t from = 0; from < n; from += MOE_SUM_RUN) {
		float run = 0;
		for (int32_t i = from; i < n && i < from + MOE_SUM_RUN; i++) {
			out[i] = moe_exp(logits[i] - max);
			run += out[i];
		}
		sum += run;
	}
	const float part = 1.0f / sum;
	for (int32_t i = 0; i < n; i++)
		out[i] *= part;
}

void moe_sigmoid(const float *logits, int32_t n, float *out)
{
	for (int32_t i = 0; i < n; i++)
		out[i] = 1.0f / (1.0f + moe_exp(-logits[i]));
}
