/* Resampling sequences. */
#include "stats/bootstrap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

enum moe_status moe_bootstrap_new(struct moe_bootstrap **out, int32_t n_layers, int32_t n_experts, uint64_t seed,
                                  struct moe_err *err)
{
	struct moe_bootstrap *b = calloc(1, sizeof *b);

	*out = NULL;
	if (!b)
		return moe_err_nomem(err, sizeof *b, "resamples");
	b->seed = seed;
	b->n_layers = n_layers;
	b->n_experts = n_experts;
	b->n_pairs = (size_t)n_layers * (size_t)n_experts;
	b->counts = calloc(MOE_RESAMPLES, b->n_pairs * sizeof *b->counts);
	b->run = calloc(b->n_pairs, sizeof *b->run);
	if (!b->counts || !b->run) {
		moe_err_nomem(err, (MOE_RESAMPLES + 1) * b->n_pairs * sizeof *b->run, "resamples");
		moe_bootstrap_free(b);
		return MOE_EIO;
	}
	*out = b;
	return MOE_OK;
}

/* Poisson with mean 1, by inversion. */
static uint64_t weight_of(const struct moe_bootstrap *b, int resample, int64_t part, int64_t seq)
{
	uint64_t stream = moe_rng_u64(b->seed, (uint64_t)resample, (uint64_t)part);
	double u = moe_rng_f64(b->seed, stream, (uint64_t)seq), mass = exp(-1.0), sum = mass;
	uint64_t n = 0;

	while (u >= sum && n < 20) {
		mass /= (double)++n;
		sum += mass;
	}
	return n;
}

void moe_bootstrap_add(struct moe_bootstrap *b, int64_t part, const struct moe_trace_run *run)
{
	memset(b->run, 0, b->n_pairs * sizeof *b->run);
	for (int32_t l = 0; l < b->n_layers; l++) {
		const struct moe_routing *r = &run->layers[l];

		for (int64_t i = 0; i < r->n_tokens * r->top_k; i++)
			if (r->ids[i] >= 0)
				b->run[(size_t)l * (size_t)b->n_experts + (size_t)r->ids[i]]++;
	}
	for (int i = 0; i < MOE_RESAMPLES; i++) {
		uint64_t weight = weight_of(b, i, part, run->seq), *counts = b->counts + (size_t)i * b->n_pairs;

		for (size_t p = 0; p < b->n_pairs && weight > 0; p++)
			counts[p] += weight * b->run[p];
	}
}

void moe_bootstrap_keep(struct moe_bootstrap *b, const bool *marks)
{
	const size_t n = (size_t)b->n_experts;
	uint64_t *to = b->counts;

	for (int i = 0; i < MOE_RESAMPLES; i++)
		for (size_t l = 0; l < (size_t)b->n_layers; l++)
			if (marks[l]) {
				memmove(to, b->counts + (size_t)i * b->n_pairs + l * n, n * sizeof *to);
				to += n;
			}
	b->n_pairs = (size_t)(to - b->counts) / MOE_RESAMPLES;
	b->n_layers = (int32_t)(b->n_pairs / n);
}

void moe_bootstrap_free(struct moe_bootstrap *b)
{
	if (!b)
		return;
	free(b->counts);
	free(b->run);
	free(b);
}

static int rising(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double quantile(const double *sorted, int n, double q)
{
	double at = q * (n - 1), below = floor(at);
	int i = (int)below;

	return i + 1 < n ? sorted[i] + (at - below) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

void moe_bootstrap_interval(double *values, int n, double *low, double *high)
{
	int n_known = 0;

	for (int i = 0; i < n; i++)
		if (!isnan(values[i]))
			values[n_known++] = values[i];
	qsort(values, (size_t)n_known, sizeof *values, rising);
	*low = n_known ? quantile(values, n_known, 0.025) : (double)NAN;
	*high = n_known ? quantile(values, n_known, 0.975) : (double)NAN;
}
