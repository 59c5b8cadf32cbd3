/* Branch and bound, over numbers of copies and then over places.
 *
 * Numbers of copies are chosen item by item, the heaviest first. A choice is cut off where a copy alone is as heavy as
 * the best fullest bin so far, or where too few places are left to bring the others below it. For each choice copies
 * are placed by falling weight. Of bins with the same load, the same number of items and without the item at hand only
 * the first is tried: what follows is the same for all of them. A branch is cut off where a bin reaches the best
 * fullest bin, where filling it up with the lightest copies would, or where the room below it in all bins does not hold
 * what is left. */
#include "placement/exact.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "placement/bound.h"
#include "placement/pack.h"

#define LESS (1 - 1e-12)   /* better by more than rounding */

struct exact {
	const double *item_load;   /* [n] */
	int32_t n, n_bins, capacity;
	double bound;              /* nothing is better */
	double best;               /* fullest bin of the best packing so far */
	int32_t *best_bins;        /* [n_bins][capacity] */
	int32_t *by_load;          /* [n] items, heaviest first */
	int32_t *copies;           /* [n] */
	int32_t *order;            /* [n] items by falling weight */
	double *weight;            /* [n] of a copy */
	double *left;              /* [n + 1] by order: weight of the copies from this item on */
	int32_t *bins, *used;      /* [n_bins][capacity], [n_bins] */
	double *load;              /* [n_bins] */
};

static void exact_free(struct exact *x)
{
	free(x->by_load);
	free(x->copies);
	free(x->order);
	free(x->weight);
	free(x->left);
	free(x->bins);
	free(x->used);
	free(x->load);
}

static enum moe_status exact_new(struct exact *x, struct moe_err *err)
{
	const size_t n = (size_t)x->n, n_bins = (size_t)x->n_bins, n_places = n_bins * (size_t)x->capacity;

	x->by_load = calloc(n, sizeof *x->by_load);
	x->copies = calloc(n, sizeof *x->copies);
	x->order = calloc(n, sizeof *x->order);
	x->weight = calloc(n, sizeof *x->weight);
	x->left = calloc(n + 1, sizeof *x->left);
	x->bins = calloc(n_places, sizeof *x->bins);
	x->used = calloc(n_bins, sizeof *x->used);
	x->load = calloc(n_bins, sizeof *x->load);
	if (!x->by_load || !x->copies || !x->order || !x->weight || !x->left || !x->bins || !x->used || !x->load)
		return moe_err_nomem(err, n_places * sizeof *x->bins, "a packing");
	return MOE_OK;
}

/* Indices by falling keys. */
static void sort_by(int32_t *order, const double *key, int32_t n)
{
	for (int32_t i = 0; i < n; i++) {
		int32_t k = i;

		for (; k > 0 && key[order[k - 1]] < key[i]; k--)
			order[k] = order[k - 1];
		order[k] = i;
	}
}

static bool holds(const struct exact *x, int32_t bin, int32_t item)
{
	for (int32_t k = 0; k < x->used[bin]; k++)
		if (x->bins[bin * x->capacity + k] == item)
			return true;
	return false;
}

/* Can what is left, the lightest of it `least` heavy, go below the best? */
static bool has_room(const struct exact *x, double left, double least)
{
	const double best = x->best * LESS;
	double room = 0;

	for (int32_t b = 0; b < x->n_bins; b++) {
		const int32_t free_places = x->capacity - x->used[b];

		if (!free_places)
			continue;
		if (x->load[b] + free_places * least >= best)
			return false;
		room += best - x->load[b];
	}
	return room > left * LESS;
}

/* Is an earlier bin the same for the item at hand? */
static bool is_twin(const struct exact *x, int32_t bin, int32_t item)
{
	for (int32_t b = 0; b < bin; b++)
		if (x->load[b] == x->load[bin] && x->used[b] == x->used[bin] && !holds(x, b, item))
			return true;
	return false;
}

/* Copies number `copy` and on of the item at `at`, into bins from `from` on; then the other items. */
static void place(struct exact *x, int32_t at, int32_t copy, int32_t from)
{
	const int32_t item = at < x->n ? x->order[at] : -1;
	const double w = at < x->n ? x->weight[item] : 0;

	if (at == x->n) {
		double peak = 0;

		for (int32_t b = 0; b < x->n_bins; b++)
			peak = fmax(peak, x->load[b]);
		if (peak < x->best * LESS) {
			x->best = peak;
			memcpy(x->best_bins, x->bins,
			       (size_t)x->n_bins * (size_t)x->capacity * sizeof *x->bins);
		}
		return;
	}
	if (copy == x->copies[item]) {
		place(x, at + 1, 0, 0);
		return;
	}
	if (!has_room(x, x->left[at] - copy * w, x->weight[x->order[x->n - 1]]))
		return;
	for (int32_t b = from; b < x->n_bins && x->best > x->bound; b++) {
		const double before = x->load[b];

		if (x->used[b] == x->capacity || before + w >= x->best * LESS || is_twin(x, b, item))
			continue;
		x->bins[b * x->capacity + x->used[b]++] = item;
		x->load[b] = before + w;
		place(x, at, copy + 1, b + 1);
		x->load[b] = before;
		x->used[b]--;
	}
}

/* Numbers of copies from the item at `at` on, `spare` places beyond one for each of them. */
static void choose(struct exact *x, int32_t at, int32_t spare)
{
	int64_t needed = 0, most = 0;

	for (int32_t i = at; i < x->n; i++) {
		needed += (int64_t)(x->item_load[x->by_load[i]] / x->best);
		most += x->n_bins - 1;
	}
	if (needed > spare || most < spare)
		return;
	if (at == x->n) {
		for (int32_t i = 0; i < x->n; i++)
			x->weight[i] = x->item_load[i] / x->copies[i];
		sort_by(x->order, x->weight, x->n);
		x->left[x->n] = 0;
		for (int32_t i = x->n; i-- > 0;)
			x->left[i] = x->left[i + 1] + x->item_load[x->order[i]];
		place(x, 0, 0, 0);
		return;
	}
	for (int32_t more = spare < x->n_bins - 1 ? spare : x->n_bins - 1; more >= 0 && x->best > x->bound; more--) {
		const int32_t item = x->by_load[at];

		if (x->item_load[item] / (more + 1) >= x->best * LESS)
			break;
		x->copies[item] = more + 1;
		choose(x, at + 1, spare - more);
	}
}

/* Something to beat: as greedy packs. */
static enum moe_status start(struct exact *x, struct moe_err *err)
{
	enum moe_status status =
		moe_pack_replicate(x->item_load, x->n, x->n_bins * x->capacity, x->n_bins, x->copies, err);

	if (status)
		return status;
	for (int32_t i = 0; i < x->n; i++)
		x->weight[i] = x->item_load[i] / x->copies[i];
	status = moe_pack_fill(x->weight, x->copies, x->n, x->n_bins, x->capacity, x->best_bins, err);
	x->best = 0;
	for (int32_t b = 0; b < x->n_bins && !status; b++) {
		double sum = 0;

		for (int32_t k = 0; k < x->capacity; k++)
			sum += x->weight[x->best_bins[b * x->capacity + k]];
		x->best = fmax(x->best, sum);
	}
	return status;
}

enum moe_status moe_exact_bins(const double *load, int32_t n, int32_t n_bins, int32_t capacity, int32_t *bins,
                               double *peak, struct moe_err *err)
{
	struct exact x = {
		.item_load = load, .n = n, .n_bins = n_bins, .capacity = capacity, .best_bins = bins
	};
	enum moe_status status = exact_new(&x, err);

	if (!status)
		status = moe_bound_bins(load, n, n_bins, capacity, &x.bound, err);
	if (!status)
		status = start(&x, err);
	if (!status) {
		x.bound /= LESS;
		sort_by(x.by_load, load, n);
		if (x.best > x.bound)
			choose(&x, 0, n_bins * capacity - n);
		*peak = x.best;
	}
	exact_free(&x);
	return status;
}
