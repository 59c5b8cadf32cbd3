/* Lower bounds of packings, and budgets of work. */
#include "placement/bound.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "placement/pack.h"

#define STEPS_PER_LOOK 20000   /* between two looks at the clock */

static int falling(const void *pa, const void *pb)
{
	const double a = *(const double *)pa, b = *(const double *)pb;

	return (a < b) - (a > b);
}

/* One place for every item: sorted [n] by falling load, n == n_bins * capacity. */
static double bound_without_copies(const double *sorted, int32_t n, int32_t n_bins, int32_t capacity)
{
	double best = 0, heavy = 0, light = 0, lightest = 0;
	int32_t n_light = 0;

	for (int32_t i = 0; i < capacity - 2; i++)
		lightest += sorted[n - 1 - i];
	for (int32_t k = 1; k <= n_bins; k++) {
		double apart, meet = INFINITY;

		heavy += sorted[k - 1];
		for (; n_light < (int64_t)k * (capacity - 1); n_light++)
			light += sorted[n - 1 - n_light];
		apart = (heavy + light) / k;
		if (k > 1 && capacity > 1)
			meet = sorted[k - 2] + sorted[k - 1] + lightest;
		best = fmax(best, fmin(apart, meet));
	}
	return best;
}

/* The capacity - 1 smallest loads per copy that any numbers of copies can give. */
static double lightest_beside(const double *sorted, int32_t n, int32_t n_bins, int32_t capacity)
{
	const int64_t spare = (int64_t)n_bins * capacity - n + 1;
	const double most = (double)(spare < n_bins ? spare : n_bins);
	double sum = 0;

	for (int32_t i = 0; i < capacity - 1; i++)
		sum += sorted[n - 1 - i] / most;
	return sum;
}

enum moe_status moe_bound_bins(const double *load, int32_t n, int32_t n_bins, int32_t capacity, double *bound,
                               struct moe_err *err)
{
	double *sorted = calloc((size_t)n, sizeof *sorted), total = 0, most = 0;
	int32_t *copies = calloc((size_t)n, sizeof *copies);
	enum moe_status status;

	if (!sorted || !copies) {
		status = moe_err_nomem(err, (size_t)n * sizeof *sorted, "a bound");
		goto out;
	}
	status = moe_pack_replicate(load, n, n_bins * capacity, n_bins, copies, err);
	if (status)
		goto out;
	for (int32_t i = 0; i < n; i++) {
		total += load[i];
		most = fmax(most, load[i] / copies[i]);
		sorted[i] = load[i];
	}
	qsort(sorted, (size_t)n, sizeof *sorted, falling);
	*bound = fmax(total / n_bins, most + lightest_beside(sorted, n, n_bins, capacity));
	if (n == n_bins * capacity)
		*bound = fmax(*bound, bound_without_copies(sorted, n, n_bins, capacity));
out:
	free(copies);
	free(sorted);
	return status;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct moe_work moe_work_start(int64_t n_steps, double seconds)
{
	if (seconds > 0)
		return (struct moe_work){ STEPS_PER_LOOK, now() + seconds };
	return (struct moe_work){ n_steps, 0 };
}

bool moe_work_spend(struct moe_work *work, int64_t n)
{
	work->left -= n;
	if (work->left > 0)
		return true;
	if (work->deadline <= 0 || now() >= work->deadline) {
		work->left = 0;
		return false;
	}
	work->left = STEPS_PER_LOOK;
	return true;
}
