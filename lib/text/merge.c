/* Short pieces look for the next pair by scanning, long ones by a heap, so that a line of ten megabytes without a space
 * takes n log n. */
#include "text/merge.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { SCAN_MAX = 48 };   /* symbols */

#define NO_RANK UINT32_MAX

/* The pair left, right becomes id. An empty slot: rank is NO_RANK. */
struct merge {
	int32_t left, right, id;
	uint32_t rank;
};

/* A pair that may still be there: whether it is, the symbols tell when its turn comes. */
struct candidate {
	uint32_t rank;
	int32_t at, left, right, id;
};

static uint64_t hash_pair(int32_t left, int32_t right)
{
	uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * UINT64_C(0x9E3779B97F4A7C15);
	return h ^ h >> 32;
}

static struct merge *find_merge(const struct moe_merges *merges, int32_t left, int32_t right)
{
	size_t i = hash_pair(left, right) & merges->mask;

	while (merges->slots[i].rank != NO_RANK && (merges->slots[i].left != left || merges->slots[i].right != right))
		i = (i + 1) & merges->mask;
	return &merges->slots[i];
}

enum moe_status moe_merges_room(struct moe_merges *merges, size_t n, struct moe_err *err)
{
	size_t size = 16;

	if (n >= NO_RANK)
		return moe_err_set(err, MOE_EFORMAT, "%zu merges are more than a tokenizer can have", n);
	while (size < 2 * n)
		size *= 2;
	merges->slots = malloc(size * sizeof *merges->slots);
	if (!merges->slots)
		return moe_err_nomem(err, size * sizeof *merges->slots, "merges");
	/* Every rank becomes NO_RANK. */
	memset(merges->slots, 0xFF, size * sizeof *merges->slots);
	merges->mask = size - 1;
	return MOE_OK;
}

void moe_merges_put(struct moe_merges *merges, int32_t left, int32_t right, int32_t id, uint32_t rank)
{
	*find_merge(merges, left, right) = (struct merge){left, right, id, rank};
}

void moe_merges_free(struct moe_merges *merges)
{
	free(merges->slots);
	*merges = (struct moe_merges){0};
}

enum moe_status moe_merging_room(struct moe_merging *mg, size_t n, struct moe_err *err)
{
	size_t cap = mg->cap ? mg->cap : 256;
	int32_t **arrays[] = {&mg->symbols, &mg->prev, &mg->next};

	if (n <= mg->cap)
		return MOE_OK;
	while (cap < n)
		cap *= 2;
	for (int i = 0; i < 3; i++) {
		int32_t *grown = realloc(*arrays[i], cap * sizeof *grown);
		if (!grown)
			return moe_err_nomem(err, cap * sizeof *grown, "a piece of text");
		*arrays[i] = grown;
	}
	mg->cap = cap;
	return MOE_OK;
}

/* Merges symbols[0 .. n) in place by scanning for the lowest rank; returns how many are left. */
static size_t merge_by_scan(const struct moe_merges *merges, int32_t *symbols, size_t n)
{
	const struct merge *pairs[SCAN_MAX];

	for (size_t i = 0; i + 1 < n; i++)
		pairs[i] = find_merge(merges, symbols[i], symbols[i + 1]);
	while (n > 1) {
		size_t best = 0;

		for (size_t i = 1; i + 1 < n; i++) {
			if (pairs[i]->rank < pairs[best]->rank)
				best = i;
		}
		if (pairs[best]->rank == NO_RANK)
			break;
		symbols[best] = pairs[best]->id;
		n--;
		memmove(symbols + best + 1, symbols + best + 2, (n - best - 1) * sizeof *symbols);
		if (best + 1 < n) {
			memmove(pairs + best + 1, pairs + best + 2, (n - best - 2) * sizeof *pairs);
			pairs[best] = find_merge(merges, symbols[best], symbols[best + 1]);
		}
		if (best > 0)
			pairs[best - 1] = find_merge(merges, symbols[best - 1], symbols[best]);
	}
	return n;
}

static bool before(const struct candidate *a, const struct candidate *b)
{
	return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static enum moe_status heap_add(struct moe_merging *mg, const struct moe_merges *merges, int32_t at,
                                struct moe_err *err)
{
	int32_t left = mg->symbols[at], right = mg->symbols[mg->next[at]];
	const struct merge *m = find_merge(merges, left, right);
	struct candidate new = {m->rank, at, left, right, m->id};
	size_t i = mg->n_heap;

	if (m->rank == NO_RANK)
		return MOE_OK;
	if (mg->n_heap == mg->cap_heap) {
		size_t cap = mg->cap_heap ? 2 * mg->cap_heap : 256;
		struct candidate *grown = realloc(mg->heap, cap * sizeof *grown);
		if (!grown)
			return moe_err_nomem(err, cap * sizeof *grown, "a piece of text");
		mg->heap = grown;
		mg->cap_heap = cap;
	}
	mg->n_heap++;
	for (; i > 0 && before(&new, &mg->heap[(i - 1) / 2]); i = (i - 1) / 2)
		mg->heap[i] = mg->heap[(i - 1) / 2];
	mg->heap[i] = new;
	return MOE_OK;
}

static struct candidate heap_take(struct moe_merging *mg)
{
	struct candidate top = mg->heap[0], last = mg->heap[--mg->n_heap];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < mg->n_heap) {
		if (child + 1 < mg->n_heap && before(&mg->heap[child + 1], &mg->heap[child]))
			child++;
		if (!before(&mg->heap[child], &last))
			break;
		mg->heap[i] = mg->heap[child];
		i = child;
	}
	mg->heap[i] = last;
	return top;
}

/* The same result as merge_by_scan for any n up to INT32_MAX. */
static enum moe_status merge_by_heap(struct moe_merging *mg, const struct moe_merges *merges, size_t *n,
                                     struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	size_t kept = 0;

	mg->n_heap = 0;
	for (size_t i = 0; i < *n; i++) {
		mg->prev[i] = (int32_t)i - 1;
		mg->next[i] = i + 1 < *n ? (int32_t)i + 1 : -1;
	}
	for (size_t i = 0; i + 1 < *n && !status; i++)
		status = heap_add(mg, merges, (int32_t)i, err);
	while (mg->n_heap > 0 && !status) {
		struct candidate c = heap_take(mg);
		int32_t right = mg->next[c.at];

		if (mg->symbols[c.at] != c.left || right < 0 || mg->symbols[right] != c.right)
			continue;
		mg->symbols[c.at] = c.id;
		mg->symbols[right] = -1;
		mg->next[c.at] = mg->next[right];
		if (mg->next[right] >= 0) {
			mg->prev[mg->next[right]] = c.at;
			status = heap_add(mg, merges, c.at, err);
		}
		if (mg->prev[c.at] >= 0 && !status)
			status = heap_add(mg, merges, mg->prev[c.at], err);
	}
	for (size_t i = 0; i < *n; i++) {
		if (mg->symbols[i] >= 0)
			mg->symbols[kept++] = mg->symbols[i];
	}
	*n = kept;
	return status;
}

enum moe_status moe_merging_run(struct moe_merging *mg, const struct moe_merges *merges, size_t *n, struct moe_err *err)
{
	if (*n > SCAN_MAX)
		return merge_by_heap(mg, merges, n, err);
	*n = merge_by_scan(merges, mg->symbols, *n);
	return MOE_OK;
}

void moe_merging_free(struct moe_merging *mg)
{
	free(mg->symbols);
	free(mg->prev);
	free(mg->next);
	free(mg->heap);
	*mg = (struct moe_merging){0};
}
