/* Exchanges that take copies apart and level ranks. That a double can always be taken apart is shown in spread.c. */
#include "placement/level.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PAIRS 4000000         /* exchanges looked at: bounds the time of huge layers */
#define LESS (1 - 1e-9)           /* an exchange must gain more than rounding does */

struct level {
	int32_t n_ranks, capacity;
	const double *weight;     /* [n_experts] */
	int32_t *at;              /* [n_ranks][capacity] experts */
	double *w;                /* [n_ranks][capacity] their weights */
	double *load;             /* [n_ranks] */
	int64_t n_pairs;
};

struct exchange {
	double peak;              /* of both ranks afterwards */
	int32_t i, r, k;          /* place i of the rank at hand with place k of rank r */
};

bool moe_level_meets(const struct moe_plan_entry *entries, const int32_t *ranks, int32_t n_ranks, int32_t capacity,
                     int32_t *last, int32_t n_experts)
{
	memset(last, 0xff, (size_t)n_experts * sizeof *last);
	for (int32_t i = 0; i < n_ranks; i++)
		for (int32_t k = 0; k < capacity; k++) {
			const int32_t e = entries[(int64_t)ranks[i] * capacity + k].expert;

			if (last[e] == i)
				return true;
			last[e] = i;
		}
	return false;
}

static int32_t count(const struct level *v, int32_t rank, int32_t expert)
{
	const int32_t *at = v->at + (int64_t)rank * v->capacity;
	int32_t n = 0;

	for (int32_t k = 0; k < v->capacity; k++)
		n += at[k] == expert;
	return n;
}

static void sum_up(const struct level *v, int32_t rank)
{
	const double *w = v->w + (int64_t)rank * v->capacity;
	double sum = 0;

	for (int32_t k = 0; k < v->capacity; k++)
		sum += w[k];
	v->load[rank] = sum;
}

static void take(const struct level *v, int32_t h, const struct exchange *x)
{
	const int64_t a = (int64_t)h * v->capacity + x->i, b = (int64_t)x->r * v->capacity + x->k;
	const int32_t expert = v->at[a];

	v->at[a] = v->at[b];
	v->at[b] = expert;
	v->w[a] = v->weight[v->at[a]];
	v->w[b] = v->weight[expert];
	sum_up(v, h);
	sum_up(v, x->r);
}

/* The best exchange of place i of rank h with any of rank r. The other's expert may come where h does not hold it;
 * apart: also where r holds it twice. */
static void try_rank(struct level *v, int32_t h, int32_t i, int32_t r, bool apart, struct exchange *best)
{
	const int64_t a = (int64_t)h * v->capacity, b = (int64_t)r * v->capacity;
	const int32_t x = v->at[a + i];
	const double wx = v->w[a + i], rest = v->load[h] - wx, add = v->load[r] + wx;
	int32_t lacks = -1;

	v->n_pairs += v->capacity;
	for (int32_t k = 0; k < v->capacity; k++) {
		const double y = v->w[b + k], one = rest + y, two = add - y, peak = one > two ? one : two;

		if (peak >= best->peak)
			continue;
		if (lacks < 0)
			lacks = !count(v, r, x);
		if (!lacks)
			return;
		if (!count(v, h, v->at[b + k]) || (apart && count(v, r, v->at[b + k]) > 1))
			*best = (struct exchange){ peak, i, r, k };
	}
}

/* Every step lowers the number of doubles, whichever exchange it is. */
static void take_apart(struct level *v)
{
	for (bool again = true; again;) {
		again = false;
		for (int32_t h = 0; h < v->n_ranks; h++)
			for (int32_t i = 0; i < v->capacity; i++) {
				struct exchange best = { INFINITY, 0, -1, 0 };

				if (count(v, h, v->at[(int64_t)h * v->capacity + i]) < 2)
					continue;
				again = true;
				for (int32_t r = 0; r < v->n_ranks; r++)
					if (r != h)
						try_rank(v, h, i, r, true, &best);
				assert(best.r >= 0);
				take(v, h, &best);
			}
	}
}

static void lower(struct level *v, double limit)
{
	while (v->n_pairs < MAX_PAIRS) {
		struct exchange best = { 0, 0, -1, 0 };
		int32_t h = 0;

		for (int32_t r = 1; r < v->n_ranks; r++)
			h = v->load[r] > v->load[h] ? r : h;
		if (v->load[h] <= limit)
			return;
		best.peak = v->load[h] * LESS;
		for (int32_t r = 0; r < v->n_ranks; r++)
			for (int32_t i = 0; i < v->capacity && v->load[r] < best.peak; i++)
				if (r != h)
					try_rank(v, h, i, r, false, &best);
		if (best.r < 0)
			return;
		take(v, h, &best);
	}
}

enum moe_status moe_level_copies(struct moe_plan_entry *entries, const int32_t *ranks, int32_t n_ranks,
                                 int32_t capacity, const double *weight, double limit,
                                 struct moe_err *err)
{
	const size_t n = (size_t)n_ranks * (size_t)capacity;
	struct level v = { .n_ranks = n_ranks, .capacity = capacity, .weight = weight };
	enum moe_status status = MOE_OK;

	v.at = malloc(n * sizeof *v.at);
	v.w = malloc(n * sizeof *v.w);
	v.load = malloc((size_t)n_ranks * sizeof *v.load);
	if (!v.at || !v.w || !v.load) {
		status = moe_err_nomem(err, n * sizeof *v.w, "a plan");
		goto out;
	}
	for (int32_t r = 0; r < n_ranks; r++) {
		for (int32_t k = 0; k < capacity; k++) {
			const int64_t i = (int64_t)r * capacity + k;

			v.at[i] = entries[(int64_t)ranks[r] * capacity + k].expert;
			v.w[i] = weight[v.at[i]];
		}
		sum_up(&v, r);
	}
	take_apart(&v);
	lower(&v, limit);
	for (int32_t r = 0; r < n_ranks; r++)
		for (int32_t k = 0; k < capacity; k++)
			entries[(int64_t)ranks[r] * capacity + k].expert = v.at[(int64_t)r * capacity + k];
out:
	free(v.at);
	free(v.w);
	free(v.load);
	return status;
}
