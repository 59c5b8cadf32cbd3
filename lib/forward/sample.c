/* Sampling in double precision over candidates sorted by falling logit, ties by id. */
#include "forward/sample.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"

struct candidate {
	float logit;
	int32_t id;
	double p;
};

static int by_logit(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	if (x->logit != y->logit)
		return x->logit < y->logit ? 1 : -1;
	return x->id < y->id ? -1 : 1;
}

static int32_t largest(const float *logits, int32_t n)
{
	int32_t best = 0;
	for (int32_t i = 1; i < n; i++)
		if (logits[i] > logits[best])
			best = i;
	return best;
}

/* How many of the sorted candidates stay. */
static int32_t cut(const struct moe_sampling *s, struct candidate *c, int32_t n)
{
	double sum = 0, so_far = 0;
	if (s->top_k > 0 && s->top_k < n)
		n = s->top_k;
	for (int32_t i = 0; i < n; i++) {
		c[i].p = exp(((double)c[i].logit - c[0].logit) / s->temp);
		sum += c[i].p;
	}
	while (n > 1 && c[n - 1].p < s->min_p * c[0].p)
		sum -= c[--n].p;
	if (s->top_p >= 1)
		return n;
	for (int32_t i = 0; i < n; i++) {
		so_far += c[i].p;
		if (so_far >= s->top_p * sum)
			return i + 1;
	}
	return n;
}

enum moe_status moe_sample(const struct moe_sampling *s, const float *logits, int32_t n, uint64_t sequence,
                           uint64_t position, int32_t *token, struct moe_err *err)
{
	for (int32_t i = 0; i < n; i++)
		if (isnan(logits[i]))
			return moe_err_set(err, MOE_EFORMAT, "the logits at position %llu are not numbers",
			                   (unsigned long long)position);
	if (s->temp <= 0) {
		*token = largest(logits, n);
		return MOE_OK;
	}
	struct candidate *c = malloc((size_t)n * sizeof *c);
	if (!c)
		return moe_err_nomem(err, (size_t)n * sizeof *c, "sampling");
	for (int32_t i = 0; i < n; i++)
		c[i] = (struct candidate){ logits[i], i, 0 };
	qsort(c, (size_t)n, sizeof *c, by_logit);
	const int32_t kept = cut(s, c, n);
	double sum = 0;
	for (int32_t i = 0; i < kept; i++)
		sum += c[i].p;
	double u = moe_rng_f64(s->seed, sequence, position) * sum;
	int32_t at = 0;
	while (at + 1 < kept && (u -= c[at].p) >= 0)
		at++;
	*token = c[at].id;
	free(c);
	return MOE_OK;
}
