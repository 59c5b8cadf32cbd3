/* Greedy replication and packing.
 *
 * Packing takes the copies heaviest first and puts each onto the least loaded bin that has room and does not hold the
 * item (Graham's LPT rule with a limit on the number of jobs). Where all bins with room hold the item already, one of
 * them, f, swaps: some bin r is full and lacks the item (copies <= bins); r holds `capacity` other items and f at most
 * capacity - 1, the item itself among them, so r has an item that f lacks. It moves to f and the copy takes its place.
 *
 * Exchanges then take the fullest bin h and the pair (x in h, y in another bin r) that brings the larger of both new
 * loads lowest: weight[x] - weight[y] as near to half the difference of the loads as can be found. */
#include "placement/pack.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Pairs looked at in one packing: bounds the time of huge ones. */
#define EXCHANGE_BUDGET 3000000

static bool more_urgent(const double *load, const int32_t *copies, int32_t a, int32_t b)
{
	double la = load[a] / copies[a], lb = load[b] / copies[b];

	if (la != lb)
		return la > lb;
	if (copies[a] != copies[b])
		return copies[a] < copies[b];
	return a < b;
}

static void sift_items(int32_t *heap, int32_t n, int32_t i, const double *load, const int32_t *copies)
{
	for (;;) {
		int32_t child = 2 * i + 1, item = heap[i];

		if (child >= n)
			return;
		if (child + 1 < n && more_urgent(load, copies, heap[child + 1], heap[child]))
			child++;
		if (!more_urgent(load, copies, heap[child], item))
			return;
		heap[i] = heap[child];
		heap[child] = item;
		i = child;
	}
}

enum moe_status moe_pack_replicate(const double *load, int32_t n, int32_t n_copies, int32_t max_copies,
                                   int32_t *copies, struct moe_err *err)
{
	int32_t *heap = calloc((size_t)n, sizeof *heap), n_heap = n;

	assert(n > 0 && n <= n_copies && n_copies <= (int64_t)n * max_copies);
	if (!heap)
		return moe_err_nomem(err, (size_t)n * sizeof *heap, "replication");
	for (int32_t i = 0; i < n; i++) {
		copies[i] = 1;
		heap[i] = i;
	}
	if (max_copies == 1)
		n_heap = 0;
	for (int32_t i = n_heap / 2; i-- > 0;)
		sift_items(heap, n_heap, i, load, copies);
	for (int32_t made = n; made < n_copies; made++) {
		if (++copies[heap[0]] == max_copies)
			heap[0] = heap[--n_heap];
		sift_items(heap, n_heap, 0, load, copies);
	}
	free(heap);
	return MOE_OK;
}

/* A packing under way. */
struct pack {
	const double *weight;
	const int32_t *copies;
	int32_t n, n_bins, capacity;
	int32_t *bins;      /* [n_bins][capacity] */
	int32_t *used;      /* [n_bins] */
	double *load;       /* [n_bins] */
	int32_t *heap;      /* [n_bins] bins with room, least loaded on top */
	int32_t n_heap;
	int64_t *start;     /* [n] first entry of an item in `where` */
	int32_t *placed;    /* [n] copies placed */
	int32_t *where;     /* [n_bins * capacity] the bins of each item */
	int32_t *order;     /* [n] heaviest first */
	uint8_t *mark;      /* [n] scratch */
};

static bool emptier(const struct pack *p, int32_t a, int32_t b)
{
	if (p->load[a] != p->load[b])
		return p->load[a] < p->load[b];
	if (p->used[a] != p->used[b])
		return p->used[a] < p->used[b];
	return a < b;
}

static void sift_down(struct pack *p, int32_t i)
{
	for (;;) {
		int32_t child = 2 * i + 1, bin = p->heap[i];

		if (child >= p->n_heap)
			return;
		if (child + 1 < p->n_heap && emptier(p, p->heap[child + 1], p->heap[child]))
			child++;
		if (!emptier(p, p->heap[child], bin))
			return;
		p->heap[i] = p->heap[child];
		p->heap[child] = bin;
		i = child;
	}
}

static int32_t pop(struct pack *p)
{
	int32_t top = p->heap[0];

	p->heap[0] = p->heap[--p->n_heap];
	sift_down(p, 0);
	return top;
}

static void push(struct pack *p, int32_t bin)
{
	int32_t i = p->n_heap++;

	p->heap[i] = bin;
	while (i > 0 && emptier(p, p->heap[i], p->heap[(i - 1) / 2])) {
		int32_t up = (i - 1) / 2, t = p->heap[i];

		p->heap[i] = p->heap[up];
		p->heap[up] = t;
		i = up;
	}
}

static bool holds(const struct pack *p, int32_t bin, int32_t item)
{
	for (int32_t k = 0; k < p->placed[item]; k++)
		if (p->where[p->start[item] + k] == bin)
			return true;
	return false;
}

/* One copy of item leaves bin `from` for bin `to` in the books of the item. */
static void moved(struct pack *p, int32_t item, int32_t from, int32_t to)
{
	int64_t k = p->start[item];

	while (p->where[k] != from)
		k++;
	p->where[k] = to;
}

static void put(struct pack *p, int32_t bin, int32_t item)
{
	p->bins[(int64_t)bin * p->capacity + p->used[bin]++] = item;
	p->load[bin] += p->weight[item];
	p->where[p->start[item] + p->placed[item]++] = bin;
}

/* Makes room for item where every bin with room holds it: see the head of this file. */
static void put_by_swap(struct pack *p, int32_t item)
{
	int32_t f = -1, best_bin = -1, best_place = -1, tries = 0;
	double best = 0;

	for (int32_t b = 0; b < p->n_bins; b++)
		if (p->used[b] < p->capacity && (f < 0 || emptier(p, b, f)))
			f = b;
	assert(f >= 0);
	for (int32_t i = 0; i < p->used[f]; i++)
		p->mark[p->bins[(int64_t)f * p->capacity + i]] = 1;
	for (int32_t r = 0; r < p->n_bins && tries < 8; r++) {
		if (r == f || holds(p, r, item))
			continue;
		tries++;
		for (int32_t i = 0; i < p->used[r]; i++) {
			int32_t x = p->bins[(int64_t)r * p->capacity + i];
			double a = p->load[r] - p->weight[x] + p->weight[item], b = p->load[f] + p->weight[x];
			double cost = a > b ? a : b;

			if (!p->mark[x] && (best_bin < 0 || cost < best)) {
				best = cost;
				best_bin = r;
				best_place = i;
			}
		}
	}
	for (int32_t i = 0; i < p->used[f]; i++)
		p->mark[p->bins[(int64_t)f * p->capacity + i]] = 0;
	assert(best_bin >= 0);
	int32_t *place = &p->bins[(int64_t)best_bin * p->capacity + best_place], x = *place;
	p->bins[(int64_t)f * p->capacity + p->used[f]++] = x;
	p->load[f] += p->weight[x];
	moved(p, x, best_bin, f);
	*place = item;
	p->load[best_bin] += p->weight[item] - p->weight[x];
	p->where[p->start[item] + p->placed[item]++] = best_bin;
}

/* Rebuilds the heap: bins with room only. */
static void refill_heap(struct pack *p)
{
	p->n_heap = 0;
	for (int32_t b = 0; b < p->n_bins; b++)
		if (p->used[b] < p->capacity)
			push(p, b);
}

/* Weight and index of an item, for sorting. */
struct keyed {
	double weight;
	int32_t item;
};

static int heavier(const void *pa, const void *pb)
{
	const struct keyed *a = pa, *b = pb;

	if (a->weight != b->weight)
		return a->weight > b->weight ? -1 : 1;
	return (a->item > b->item) - (a->item < b->item);
}

static enum moe_status sort_items(struct pack *p, struct moe_err *err)
{
	struct keyed *keys = calloc((size_t)p->n, sizeof *keys);

	if (!keys)
		return moe_err_nomem(err, (size_t)p->n * sizeof *keys, "packing");
	for (int32_t i = 0; i < p->n; i++)
		keys[i] = (struct keyed){ p->weight[i], i };
	qsort(keys, (size_t)p->n, sizeof *keys, heavier);
	for (int32_t i = 0; i < p->n; i++)
		p->order[i] = keys[i].item;
	free(keys);
	return MOE_OK;
}

/* All copies, heaviest first. Copies of one item go to different bins because a bin that was popped comes back only
 * after the last of them. */
static void place_all(struct pack *p)
{
	refill_heap(p);
	for (int32_t k = 0; k < p->n; k++) {
		int32_t item = p->order[k], direct = p->copies[item] < p->n_heap ? p->copies[item] : p->n_heap;

		for (int32_t c = 0; c < direct; c++)
			put(p, pop(p), item);
		if (direct < p->copies[item]) {
			for (int32_t c = direct; c < p->copies[item]; c++)
				put_by_swap(p, item);
			refill_heap(p);
			continue;
		}
		for (int32_t c = 0; c < direct; c++)
			if (p->used[p->where[p->start[item] + c]] < p->capacity)
				push(p, p->where[p->start[item] + c]);
	}
}

/* Insertion sort of a bin by falling weight from position i on, one element out of order. */
static void settle(const struct pack *p, int32_t bin, int32_t i)
{
	int32_t *b = p->bins + (int64_t)bin * p->capacity, item = b[i];

	for (; i > 0 && p->weight[b[i - 1]] < p->weight[item]; i--)
		b[i] = b[i - 1];
	for (; i + 1 < p->capacity && p->weight[b[i + 1]] > p->weight[item]; i++)
		b[i] = b[i + 1];
	b[i] = item;
}

/* The best exchange found so far between h and some r. */
struct exchange {
	double peak;            /* larger of both new loads */
	int32_t r, i, j;        /* place i of h with place j of r */
};

static void try_pair(const struct pack *p, int32_t h, int32_t r, int32_t i, int32_t j, struct exchange *best)
{
	int32_t x = p->bins[(int64_t)h * p->capacity + i], y = p->bins[(int64_t)r * p->capacity + j];
	double d = p->weight[x] - p->weight[y], a = p->load[h] - d, b = p->load[r] + d, peak = a > b ? a : b;

	if (d <= 0 || peak >= best->peak || holds(p, r, x) || holds(p, h, y))
		return;
	*best = (struct exchange){ peak, r, i, j };
}

/* Best exchange between h and r; both bins are sorted by falling weight. Returns the pairs looked at. */
static int64_t search_pair(const struct pack *p, int32_t h, int32_t r, struct exchange *best)
{
	const int32_t *bh = p->bins + (int64_t)h * p->capacity, *br = p->bins + (int64_t)r * p->capacity;
	double half = (p->load[h] - p->load[r]) / 2;
	int32_t j = 0, n = p->capacity;

	for (int32_t i = 0; i < n; i++) {
		while (j < n && p->weight[br[j]] > p->weight[bh[i]] - half)
			j++;
		for (int32_t k = j - 2 < 0 ? 0 : j - 2; k < n && k < j + 2; k++)
			try_pair(p, h, r, i, k, best);
	}
	return (int64_t)n * 4;
}

/* Sorts every bin by falling weight. */
static enum moe_status sort_bins(struct pack *p, struct moe_err *err)
{
	struct keyed *keys = calloc((size_t)p->capacity, sizeof *keys);

	if (!keys)
		return moe_err_nomem(err, (size_t)p->capacity * sizeof *keys, "packing");
	for (int32_t b = 0; b < p->n_bins; b++) {
		int32_t *bin = p->bins + (int64_t)b * p->capacity;

		for (int32_t i = 0; i < p->capacity; i++)
			keys[i] = (struct keyed){ p->weight[bin[i]], bin[i] };
		qsort(keys, (size_t)p->capacity, sizeof *keys, heavier);
		for (int32_t i = 0; i < p->capacity; i++)
			bin[i] = keys[i].item;
	}
	free(keys);
	return MOE_OK;
}

/* Lowers the fullest bin as long as one exchange can. */
static void exchange_pairs(struct pack *p)
{
	double total = 0, floor;
	int64_t budget = EXCHANGE_BUDGET;

	for (int32_t b = 0; b < p->n_bins; b++)
		total += p->load[b];
	floor = total / p->n_bins * (1 + 1e-6);
	while (budget > 0) {
		struct exchange best;
		int32_t h = 0;

		for (int32_t b = 1; b < p->n_bins; b++)
			h = p->load[b] > p->load[h] ? b : h;
		if (p->load[h] <= floor)
			return;
		best = (struct exchange){ p->load[h] * (1 - 1e-9), -1, 0, 0 };
		for (int32_t r = 0; r < p->n_bins && budget > 0; r++)
			if (p->load[r] < best.peak)
				budget -= search_pair(p, h, r, &best);
		if (best.r < 0)
			return;
		int32_t *px = &p->bins[(int64_t)h * p->capacity + best.i],
			*py = &p->bins[(int64_t)best.r * p->capacity + best.j];
		int32_t x = *px, y = *py;
		*px = y;
		*py = x;
		moved(p, x, h, best.r);
		moved(p, y, best.r, h);
		p->load[h] += p->weight[y] - p->weight[x];
		p->load[best.r] += p->weight[x] - p->weight[y];
		settle(p, h, best.i);
		settle(p, best.r, best.j);
	}
}

static int ascending(const void *a, const void *b)
{
	int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

	return (x > y) - (x < y);
}

enum moe_status moe_pack_fill(const double *weight, const int32_t *copies, int32_t n, int32_t n_bins, int32_t capacity,
                              int32_t *bins, struct moe_err *err)
{
	struct pack p = {
		.weight = weight, .copies = copies, .n = n, .n_bins = n_bins, .capacity = capacity, .bins = bins
	};
	size_t n_places = (size_t)n_bins * (size_t)capacity;
	enum moe_status status = MOE_OK;
	int64_t sum = 0;

	p.used = calloc((size_t)n_bins, sizeof *p.used);
	p.load = calloc((size_t)n_bins, sizeof *p.load);
	p.heap = calloc((size_t)n_bins, sizeof *p.heap);
	p.start = calloc((size_t)n, sizeof *p.start);
	p.placed = calloc((size_t)n, sizeof *p.placed);
	p.where = calloc(n_places, sizeof *p.where);
	p.order = calloc((size_t)n, sizeof *p.order);
	p.mark = calloc((size_t)n, 1);
	if (!p.used || !p.load || !p.heap || !p.start || !p.placed || !p.where || !p.order || !p.mark) {
		status = moe_err_nomem(err, n_places * sizeof *p.where, "packing");
		goto out;
	}
	for (int32_t i = 0; i < n; i++) {
		p.start[i] = sum;
		sum += copies[i];
		assert(copies[i] >= 1 && copies[i] <= n_bins);
	}
	assert((size_t)sum == n_places);
	status = sort_items(&p, err);
	if (status)
		goto out;
	place_all(&p);
	status = sort_bins(&p, err);
	if (status)
		goto out;
	exchange_pairs(&p);
	for (int32_t b = 0; b < n_bins; b++)
		qsort(bins + (int64_t)b * capacity, (size_t)capacity, sizeof *bins, ascending);
out:
	free(p.mark);
	free(p.order);
	free(p.where);
	free(p.placed);
	free(p.start);
	free(p.heap);
	free(p.load);
	free(p.used);
	return status;
}
