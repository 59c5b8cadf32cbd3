/* Decisions a second of each policy on one core, from logits in memory: rate_route [EXPERTS [TOP_K]]. A line for every
 * policy whose tokens do not depend on each other, a column for choosing token by token and for each kernel that this
 * processor can run; the median of several turns that alternate. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "route/route.h"

enum { TOKENS = 8192, TURNS = 9, MAX_WAYS = 8 };

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	const int32_t n = argc > 1 ? atoi(argv[1]) : 64, k = argc > 2 ? atoi(argv[2]) : 6;
	if (n < 1 || k < 1 || k > n)
		return 2;
	const struct moe_kernel *ways[MAX_WAYS] = { NULL };
	int n_ways = 1;
	printf("policy\tnone");
	for (size_t i = 0; moe_kernel_at(i) && n_ways < MAX_WAYS; i++)
		if (moe_kernel_usable(moe_kernel_at(i))) {
			ways[n_ways++] = moe_kernel_at(i);
			printf("\t%s", moe_kernel_name(moe_kernel_at(i)));
		}
	printf("\tunit\n");
	float *logits = malloc(TOKENS * (size_t)n * sizeof *logits), *weights = malloc(TOKENS * (size_t)k * 4);
	int32_t *ids = malloc(TOKENS * (size_t)k * sizeof *ids), tokens[TOKENS];
	int64_t positions[TOKENS];
	uint64_t keys[TOKENS];
	for (size_t i = 0; logits && i < TOKENS * (size_t)n; i++)
		logits[i] = (float)(6 * moe_rng_f64(1, 2, i) - 3);
	for (int64_t t = 0; t < TOKENS; t++) {
		tokens[t] = (int32_t)t;
		positions[t] = t;
		keys[t] = moe_token_key(1, 0, 0, t);
	}
	for (size_t i = 0; moe_policy_at(i); i++) {
		const struct moe_policy *policy = moe_policy_at(i);
		struct moe_policy_params p = { .n_experts = n, .top_k = k, .n_groups = 1, .top_groups = 1,
			                       .group_score = policy->group_score, .scale = 1, .normalize = true,
			                       .eps = policy->eps, .p_norm = policy->p_norm, .tokens = tokens,
			                       .positions = positions, .keys = keys };
		if (policy->reads & MOE_READS_GROUPS && n % 8 == 0 && k <= n / 2) {
			p.n_groups = 8;
			p.top_groups = 4;
		}
		if (!policy->rows || policy->reads & MOE_NEEDS_TOKENS)
			continue;
		float *scratch = calloc(policy->scratch(&p) + 1, sizeof *scratch);
		double took[MAX_WAYS][TURNS];
		for (int turn = 0; turn < TURNS; turn++)
			for (int way = 0; way < n_ways; way++) {
				p.kernel = ways[way];
				const double from = now();
				for (int again = 0; again < 8; again++)
					policy->rows(&p, logits, TOKENS, ids, weights, NULL, scratch);
				took[way][turn] = now() - from;
			}
		free(scratch);
		printf("%s", policy->name);
		for (int way = 0; way < n_ways; way++) {
			qsort(took[way], TURNS, sizeof **took, by_size);
			printf("\t%.1f", 8e-6 * TOKENS / took[way][TURNS / 2]);
		}
		printf("\tM decisions/s\n");
	}
	free(logits);
	free(weights);
	free(ids);
	return 0;
}
