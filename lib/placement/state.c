/* Packings that are being changed. Loads of bins are summed anew after every change, so that no errors pile up and
 * equal packings have equal loads. */
#include "placement/state.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum moe_status moe_state_new(struct moe_state *s, const double *item_load, int32_t n, int32_t n_bins,
                              int32_t capacity, const int32_t *bins, struct moe_err *err)
{
	const size_t n_places = (size_t)n_bins * (size_t)capacity;

	*s = (struct moe_state){
		.n = n, .n_bins = n_bins, .capacity = capacity, .item_load = item_load, .n_words = (n + 63) / 64
	};
	s->bins = calloc(n_places, sizeof *s->bins);
	s->load = calloc((size_t)n_bins, sizeof *s->load);
	s->weight = calloc((size_t)n, sizeof *s->weight);
	s->copies = calloc((size_t)n, sizeof *s->copies);
	s->first = calloc((size_t)n, sizeof *s->first);
	s->next = calloc(n_places, sizeof *s->next);
	s->bin = calloc(n_places, sizeof *s->bin);
	s->held = calloc((size_t)n_bins * (size_t)s->n_words, sizeof *s->held);
	if (!s->bins || !s->load || !s->weight || !s->copies || !s->first || !s->next || !s->bin || !s->held) {
		moe_state_free(s);
		return moe_err_nomem(err, n_places * sizeof *s->bins, "a packing");
	}
	moe_state_set(s, bins);
	return MOE_OK;
}

void moe_state_free(struct moe_state *s)
{
	free(s->bins);
	free(s->load);
	free(s->weight);
	free(s->copies);
	free(s->first);
	free(s->next);
	free(s->bin);
	free(s->held);
	*s = (struct moe_state){0};
}

/* Heavier first; the lower index of two that weigh the same. */
static bool before(const struct moe_state *s, int32_t x, int32_t y)
{
	return s->weight[x] != s->weight[y] ? s->weight[x] > s->weight[y] : x < y;
}

static void sift(const struct moe_state *s, int32_t *heap, int32_t n, int32_t i)
{
	for (;;) {
		int32_t child = 2 * i + 1;
		const int32_t item = heap[i];

		if (child >= n)
			return;
		if (child + 1 < n && before(s, heap[child], heap[child + 1]))
			child++;
		if (!before(s, item, heap[child]))
			return;
		heap[i] = heap[child];
		heap[child] = item;
		i = child;
	}
}

/* Heap sort: any order. */
static void sort_bin(const struct moe_state *s, int32_t bin)
{
	int32_t *b = s->bins + (int64_t)bin * s->capacity;

	for (int32_t i = s->capacity / 2; i-- > 0;)
		sift(s, b, s->capacity, i);
	for (int32_t n = s->capacity - 1; n > 0; n--) {
		const int32_t item = b[0];

		b[0] = b[n];
		b[n] = item;
		sift(s, b, n, 0);
	}
}

/* Insertion sort: few are out of place. Sums the load. */
static void settle(const struct moe_state *s, int32_t bin)
{
	int32_t *b = s->bins + (int64_t)bin * s->capacity;
	double sum = 0;

	for (int32_t i = 1; i < s->capacity; i++) {
		const int32_t item = b[i];
		int32_t k = i;

		for (; k > 0 && before(s, item, b[k - 1]); k--)
			b[k] = b[k - 1];
		b[k] = item;
	}
	for (int32_t i = 0; i < s->capacity; i++)
		sum += s->weight[b[i]];
	s->load[bin] = sum;
}

static void flip(struct moe_state *s, int32_t bin, int32_t item)
{
	s->held[(int64_t)bin * s->n_words + (item >> 6)] ^= UINT64_C(1) << (item & 63);
}

void moe_state_set(struct moe_state *s, const int32_t *bins)
{
	const size_t n_places = (size_t)s->n_bins * (size_t)s->capacity;

	memcpy(s->bins, bins, n_places * sizeof *bins);
	memset(s->copies, 0, (size_t)s->n * sizeof *s->copies);
	memset(s->first, 0xff, (size_t)s->n * sizeof *s->first);
	memset(s->held, 0, (size_t)s->n_bins * (size_t)s->n_words * sizeof *s->held);
	for (size_t i = n_places; i-- > 0;) {
		const int32_t item = bins[i];

		s->copies[item]++;
		s->bin[i] = (int32_t)(i / (size_t)s->capacity);
		s->next[i] = s->first[item];
		s->first[item] = (int32_t)i;
		flip(s, s->bin[i], item);
	}
	for (int32_t i = 0; i < s->n; i++)
		s->weight[i] = s->item_load[i] / s->copies[i];
	for (int32_t b = 0; b < s->n_bins; b++) {
		sort_bin(s, b);
		settle(s, b);
	}
}

int32_t moe_state_fullest(const struct moe_state *s)
{
	int32_t h = 0;

	for (int32_t b = 1; b < s->n_bins; b++)
		h = s->load[b] > s->load[h] ? b : h;
	return h;
}

/* The cell of an item in a bin. */
static int32_t *cell_of(struct moe_state *s, int32_t item, int32_t bin)
{
	int32_t *cell = &s->first[item];

	while (s->bin[*cell] != bin)
		cell = &s->next[*cell];
	return cell;
}

/* y takes the place of x in the bin; order and load are not right afterwards. */
static void put(struct moe_state *s, int32_t bin, int32_t x, int32_t y)
{
	int32_t *b = s->bins + (int64_t)bin * s->capacity, k = 0;

	assert(moe_state_holds(s, bin, x) && !moe_state_holds(s, bin, y));
	while (b[k] != x)
		k++;
	b[k] = y;
	flip(s, bin, x);
	flip(s, bin, y);
}

void moe_state_exchange(struct moe_state *s, int32_t a, int32_t x, int32_t b, int32_t y)
{
	put(s, a, x, y);
	put(s, b, y, x);
	s->bin[*cell_of(s, x, a)] = b;
	s->bin[*cell_of(s, y, b)] = a;
	settle(s, a);
	settle(s, b);
}

void moe_state_replace(struct moe_state *s, int32_t bin, int32_t x, int32_t y)
{
	int32_t *from = cell_of(s, x, bin), cell = *from;

	assert(s->copies[x] > 1);
	put(s, bin, x, y);
	*from = s->next[cell];
	s->next[cell] = s->first[y];
	s->first[y] = cell;
	s->weight[x] = s->item_load[x] / --s->copies[x];
	s->weight[y] = s->item_load[y] / ++s->copies[y];
	for (int32_t c = s->first[x]; c >= 0; c = s->next[c])
		settle(s, s->bin[c]);
	for (int32_t c = s->first[y]; c >= 0; c = s->next[c])
		settle(s, s->bin[c]);
}

double moe_state_peak_of_replace(const struct moe_state *s, int32_t h, int32_t r, int32_t x, int32_t y, double limit)
{
	const double more = s->item_load[x] / (s->copies[x] - 1) - s->weight[x];
	const double new_y = s->item_load[y] / (s->copies[y] + 1), less = s->weight[y] - new_y;
	double peak = s->load[r] - s->weight[x] + new_y;

	for (int32_t c = s->first[x]; c >= 0 && peak < limit; c = s->next[c]) {
		const int32_t b = s->bin[c];

		if (b != r)
			peak = fmax(peak, s->load[b] + more - (moe_state_holds(s, b, y) ? less : 0));
	}
	if (h != r && !moe_state_holds(s, h, x))
		peak = fmax(peak, s->load[h] - (moe_state_holds(s, h, y) ? less : 0));
	return peak;
}
