/* Kernels of all instruction sets against token-by-token choosing: the same ids, weights and margins, bit for bit, for
 * any number of experts, with ties, numbers that are not finite, biases and groups; and e^x against the library's. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../tap.h"
#include "base/rng.h"
#include "route/exp.h"
#include "route/kernel.h"
#include "route/route.h"

enum { TOKENS = 83 };   /* whole vectors and a rest */

struct result {
	int32_t *ids;
	float *weights, *margins;
};

static struct result route(const struct moe_policy *policy, struct moe_policy_params p, const float *logits,
                           const struct moe_kernel *kernel, bool margins)
{
	const size_t n = TOKENS * (size_t)p.top_k;
	struct result r = { calloc(n, sizeof *r.ids), calloc(n, sizeof *r.weights), calloc(TOKENS, sizeof *r.margins) };
	float *scratch = calloc(policy->scratch(&p) + 1, sizeof *scratch);
	p.kernel = kernel;
	policy->rows(&p, logits, TOKENS, r.ids, r.weights, margins ? r.margins : NULL, scratch);
	free(scratch);
	return r;
}

static void drop(struct result *r)
{
	free(r->ids);
	free(r->weights);
	free(r->margins);
}

/* Logits of several kinds, by token: wide, narrow with many ties, of one value, with what is not finite. */
static void fill(float *logits, int32_t n, uint64_t seed)
{
	for (int64_t t = 0; t < TOKENS; t++)
		for (int32_t e = 0; e < n; e++) {
			const double u = moe_rng_f64(seed, (uint64_t)t, (uint64_t)e);
			float x = (float)(6 * u - 3);
			if (t % 7 == 1)
				x = (float)(int)(4 * u) - 2;
			if (t % 7 == 2)
				x *= 60;
			if (t == 20)
				x = 0;
			if (t == 21)
				x = u < .5 ? -0.0f : 0.0f;
			if (t == 40 && e % 3 == 1)
				x = -INFINITY;
			if (t == 50 && e == n / 2)
				x = NAN;
			if (t == 70 && e == 0)
				x = INFINITY;
			if (t == 82 && e == n - 1)
				x = NAN;
			logits[t * n + e] = x;
		}
}

static int64_t compare(const struct moe_policy *policy, const struct moe_policy_params *p, const float *logits,
                       const struct moe_kernel *kernel)
{
	const size_t n = TOKENS * (size_t)p->top_k;
	int64_t n_other = 0;
	for (int margins = 0; margins < 2; margins++) {
		struct result want = route(policy, *p, logits, NULL, margins);
		struct result found = route(policy, *p, logits, kernel, margins);
		n_other += memcmp(want.ids, found.ids, n * sizeof *want.ids) != 0;
		for (size_t i = 0; i < n; i++)   /* one NaN is as good as another */
			n_other += memcmp(&want.weights[i], &found.weights[i], sizeof *want.weights) != 0 &&
			           !(isnan(want.weights[i]) && isnan(found.weights[i]));
		for (size_t t = 0; t < TOKENS; t++)
			n_other += memcmp(&want.margins[t], &found.margins[t], sizeof *want.margins) != 0 &&
			           !(isnan(want.margins[t]) && isnan(found.margins[t]));
		drop(&want);
		drop(&found);
	}
	return n_other;
}

static void test_kernel(const struct moe_kernel *kernel)
{
	static const struct { int32_t n_experts, top_k, n_groups, top_groups; } shapes[] = {
		{ 8, 2, 1, 1 }, { 3, 3, 1, 1 }, { 60, 4, 4, 2 }, { 64, 6, 1, 1 }, { 64, 8, 8, 3 }, { 128, 8, 1, 1 },
		{ 160, 6, 8, 3 }, { 256, 8, 8, 4 }, { 257, 9, 1, 1 }, { 384, 8, 1, 1 }, { 512, 22, 2, 1 },
		{ 300, 32, 1, 1 }, { 300, 33, 1, 1 }, { 4096, 5, 1, 1 },
	};
	int64_t n_policies = 0;
	for (size_t i = 0; moe_policy_at(i); i++) {
		const struct moe_policy *policy = moe_policy_at(i);
		int64_t n_other = 0;
		if (!policy->rows || (policy->reads & (MOE_NEEDS_TOKENS | MOE_NEEDS_PLACE | MOE_READS_SECOND)))
			continue;
		n_policies++;
		for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
			const int32_t n = shapes[s].n_experts;
			float *logits = malloc(TOKENS * (size_t)n * sizeof *logits), *bias = malloc((size_t)n * 4);
			struct moe_policy_params p = { .n_experts = n, .top_k = shapes[s].top_k, .n_groups = 1,
				                       .top_groups = 1, .scale = 2.5, .eps = policy->eps,
				                       .group_score = policy->group_score,
				                       .p_norm = policy->p_norm };
			if (policy->reads & MOE_READS_GROUPS) {
				p.n_groups = shapes[s].n_groups;
				p.top_groups = shapes[s].top_groups;
			}
			fill(logits, n, s);
			for (int32_t e = 0; e < n; e++)
				bias[e] = (float)(moe_rng_f64(9, s, (uint64_t)e) - .5) * .2f;
			for (int way = 0; way < 4; way++) {
				p.normalize = way & 1;
				p.bias = way & 2 && policy->reads & MOE_READS_BIAS ? bias : NULL;
				if (way < 2 || p.bias)
					n_other += compare(policy, &p, logits, kernel);
			}
			free(logits);
			free(bias);
		}
		is_i64(n_other, 0, "%s: %s chooses as one token at a time does", moe_kernel_name(kernel), policy->name);
	}
	ok(n_policies >= 12, "policies were compared (%d)", (int)n_policies);
}

static void test_exp(void)
{
	double worst = 0;
	for (int64_t i = -10500; i < 8872; i++) {
		const float x = (float)i / 100;
		const double want = exp((double)x), error = fabs((double)moe_exp(x) - want) / fmax(want, 0x1p-126);
		worst = fmax(worst, error);
	}
	ok(worst < 1.3e-7, "e^x is right to a unit in the last place: %g", worst);
	ok(moe_exp(0) == 1 && moe_exp(-0.0f) == 1, "e^0");
	ok(moe_exp(-INFINITY) == 0 && moe_exp(-200) == 0 && isinf(moe_exp(INFINITY)) && isinf(moe_exp(100)),
	   "beyond the range");
	ok(isnan(moe_exp(NAN)), "NaN stays NaN");
	float last = 0;
	int n_falls = 0;
	for (int64_t i = -1000000; i < 100000; i++) {
		const float y = moe_exp((float)i / 10000);
		n_falls += y < last;
		last = y;
	}
	is_i64(n_falls, 0, "it never falls");
}

static void test_sqrtsoftplus(void)
{
	double worst = 0;
	for (int64_t i = -8000; i < 20000; i++) {
		const float x = (float)i / 100;
		const double want = sqrt((x > 0 ? (double)x : 0) + log1p(exp(-fabs((double)x))));
		worst = fmax(worst, fabs((double)moe_sqrtsoftplus(x) - want) / want);
	}
	ok(worst < 2e-7, "the root of ln(1 + e^x) is right to two units in the last place: %g", worst);
	ok(moe_sqrtsoftplus(-INFINITY) == 0 && isinf(moe_sqrtsoftplus(INFINITY)) && isnan(moe_sqrtsoftplus(NAN)),
	   "and at what is not finite");
}

/* Probabilities of many experts are as right as those of few. */
static void test_softmax(void)
{
	enum { N = 8192 };
	float logits[N], found[N];
	double sum = 0, worst = 0;
	for (int32_t i = 0; i < N; i++) {
		logits[i] = (float)((i * 7) % 13) * 0.37f;
		sum += exp((double)logits[i]);
	}
	moe_softmax(logits, N, found);
	for (int32_t i = 0; i < N; i++)
		worst = fmax(worst, fabs((double)found[i] * sum / exp((double)logits[i]) - 1));
	ok(worst < 1e-6, "softmax of %d experts is off by %g", N, worst);
}

int main(void)
{
	test_exp();
	test_sqrtsoftplus();
	test_softmax();
	for (size_t i = 0; moe_kernel_at(i); i++) {
		if (moe_kernel_at(i)->usable())
			test_kernel(moe_kernel_at(i));
		else
			ok(true, "%s # SKIP this processor has none", moe_kernel_name(moe_kernel_at(i)));
	}
	setenv("MOE_CPU", "generic", 1);
	is_str(moe_kernel_name(moe_kernel_best()), "generic", "MOE_CPU bars better ones");
	return done();
}
