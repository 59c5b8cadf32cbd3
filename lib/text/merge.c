/* Short pieces look for the next pair by scanning, long ones by a heap, so that a line of ten megabytes without a space
 * takes n log n.
 *
 * A heap of all pairs would be larger than the piece. It gets those of the lowest ranks, as many ranks as there is room
 * for; when no pair of these is left, the piece is looked through for the next. A single rank with too many pairs needs
 * no heap: its pairs are taken from left to right, and only pairs that merging makes behind that place wait in it. */
#include "text/merge.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
	SCAN_MAX = 48,       /* symbols */
	HEAP_MIN = 1 << 16,  /* pairs that go to the heap at once; an eighth of a longer piece */
	BUCKETS = 4096,      /* of ranks, to find the lowest */
};

#define NO_RANK UINT32_MAX

/* The pair left, right becomes id. An empty slot: rank is NO_RANK. */
struct merge {
	int32_t left, right, id;
	uint32_t rank;
};

/* The pair whose left symbol is at `at` may have this rank: whether it has, the symbols tell when its turn comes. */
struct candidate {
	uint32_t rank;
	int32_t at;
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
	if (rank > merges->max_rank)
		merges->max_rank = rank;
}

void moe_merges_free(struct moe_merges *merges)
{
	free(merges->slots);
	*merges = (struct moe_merges){0};
}

enum moe_status moe_merging_room(struct moe_merging *mg, size_t n, struct moe_err *err)
{
	size_t cap = mg->cap ? mg->cap : 256;
	int32_t *grown;

	if (n <= mg->cap)
		return MOE_OK;
	while (cap < n)
		cap *= 2;
	grown = realloc(mg->symbols, cap * sizeof *grown);
	if (!grown)
		return moe_err_nomem(err, cap * sizeof *grown, "a piece of text");
	mg->symbols = grown;
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

/* While a long piece is merged, a symbol that takes the place of several has its id at the first, and minus their
 * number at the second and at the last; what is between is negative. */
static int32_t next_of(const int32_t *symbols, size_t n, int32_t at)
{
	const size_t next = (size_t)at + 1;

	return next < n && symbols[next] < 0 ? at - symbols[next] : (int32_t)next;
}

static int32_t previous_of(const int32_t *symbols, int32_t at)
{
	return symbols[at - 1] < 0 ? at + symbols[at - 1] : at - 1;
}

/* Those at `at` and `right` become id. */
static void join(int32_t *symbols, size_t n, int32_t at, int32_t right, int32_t id)
{
	const int32_t end = next_of(symbols, n, right);

	symbols[at] = id;
	symbols[right] = -1;
	symbols[at + 1] = symbols[end - 1] = at - end;
}

/* The merge of the symbol at `at` with the next; NULL: none. */
static const struct merge *merge_at(const struct moe_merges *merges, const int32_t *symbols, size_t n, int32_t at,
                                    int32_t *right)
{
	const struct merge *m;

	*right = next_of(symbols, n, at);
	if ((size_t)*right >= n)
		return NULL;
	m = find_merge(merges, symbols[at], symbols[*right]);
	return m->rank == NO_RANK ? NULL : m;
}

static bool before(struct candidate a, struct candidate b)
{
	return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

static enum moe_status heap_add(struct moe_merging *mg, struct candidate new, struct moe_err *err)
{
	size_t i = mg->n_heap;

	if (mg->n_heap == mg->cap_heap) {
		size_t cap = mg->cap_heap ? 2 * mg->cap_heap : 256;
		struct candidate *grown = realloc(mg->heap, cap * sizeof *grown);
		if (!grown)
			return moe_err_nomem(err, cap * sizeof *grown, "a piece of text");
		mg->heap = grown;
		mg->cap_heap = cap;
	}
	mg->n_heap++;
	for (; i > 0 && before(new, mg->heap[(i - 1) / 2]); i = (i - 1) / 2)
		mg->heap[i] = mg->heap[(i - 1) / 2];
	mg->heap[i] = new;
	return MOE_OK;
}

static struct candidate heap_take(struct moe_merging *mg)
{
	struct candidate top = mg->heap[0], last = mg->heap[--mg->n_heap];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < mg->n_heap) {
		if (child + 1 < mg->n_heap && before(mg->heap[child + 1], mg->heap[child]))
			child++;
		if (!before(mg->heap[child], last))
			break;
		mg->heap[i] = mg->heap[child];
		i = child;
	}
	mg->heap[i] = last;
	return top;
}

/* A long piece on its way. */
struct pass {
	struct moe_merging *mg;
	const struct moe_merges *merges;
	size_t n;             /* symbols at first */
	uint32_t low, high;   /* ranks looked at */
	bool sweeps;          /* low is high, and its pairs at `swept` and behind it are not in the heap */
	int32_t swept;
	struct moe_err *err;
};

/* How many pairs there are in each of BUCKETS ranges of ranks of `width` from low on. */
static void count_ranks(const struct pass *ps, uint32_t width, size_t counts[BUCKETS])
{
	const int32_t *symbols = ps->mg->symbols;

	memset(counts, 0, BUCKETS * sizeof *counts);
	for (int32_t at = 0, right; (size_t)at < ps->n; at = right) {
		const struct merge *m = merge_at(ps->merges, symbols, ps->n, at, &right);
		if (m && m->rank >= ps->low && m->rank <= ps->high)
			counts[(m->rank - ps->low) / width]++;
	}
}

/* The lowest ranks of which there are at most `most` pairs, or the lowest rank alone; false: there are no pairs. */
static bool choose_ranks(struct pass *ps, size_t most)
{
	size_t counts[BUCKETS];

	ps->low = 0;
	ps->high = ps->merges->max_rank;
	ps->sweeps = false;
	for (;;) {
		const uint32_t width = (ps->high - ps->low) / BUCKETS + 1;
		size_t n = 0, i = 0, first;

		count_ranks(ps, width, counts);
		while (i < BUCKETS && counts[i] == 0)
			i++;
		if (i == BUCKETS)
			return false;
		for (first = i; i < BUCKETS && n + counts[i] <= most; i++)
			n += counts[i];
		if (i == BUCKETS)
			return true;
		if (i > first) {
			ps->high = ps->low + (uint32_t)i * width - 1;
			return true;
		}
		ps->low += (uint32_t)first * width;
		ps->high = ps->high - ps->low < width ? ps->high : ps->low + width - 1;
		ps->sweeps = width == 1;
		if (ps->sweeps)
			return true;
	}
}

/* A pair has come about, or is seen for the first time, at `at`. */
static enum moe_status consider(struct pass *ps, int32_t at)
{
	int32_t right;
	const struct merge *m = merge_at(ps->merges, ps->mg->symbols, ps->n, at, &right);

	if (!m || m->rank > ps->high || (ps->sweeps && m->rank == ps->high && at >= ps->swept))
		return MOE_OK;
	return heap_add(ps->mg, (struct candidate){m->rank, at}, ps->err);
}

/* Merges the pair at `at` if it has that rank. */
static enum moe_status try_pair(struct pass *ps, uint32_t rank, int32_t at, bool *merged)
{
	int32_t *symbols = ps->mg->symbols, right;
	const struct merge *m = symbols[at] >= 0 ? merge_at(ps->merges, symbols, ps->n, at, &right) : NULL;
	enum moe_status status;

	*merged = m && m->rank == rank;
	if (!*merged)
		return MOE_OK;
	join(symbols, ps->n, at, right, m->id);
	status = consider(ps, at);
	return status || at == 0 ? status : consider(ps, previous_of(symbols, at));
}

/* All pairs in the heap, and those that come of them, that are before `end`. */
static enum moe_status empty_heap(struct pass *ps, struct candidate end)
{
	enum moe_status status = MOE_OK;
	bool merged;

	while (ps->mg->n_heap > 0 && !status && before(ps->mg->heap[0], end)) {
		const struct candidate c = heap_take(ps->mg);
		status = try_pair(ps, c.rank, c.at, &merged);
	}
	return status;
}

/* All pairs of one rank from left to right. */
static enum moe_status sweep(struct pass *ps)
{
	const int32_t *symbols = ps->mg->symbols;
	enum moe_status status = MOE_OK;

	for (ps->swept = 0; (size_t)ps->swept < ps->n && !status;) {
		bool merged = true;

		status = empty_heap(ps, (struct candidate){ps->high, ps->swept});
		if (symbols[ps->swept] < 0)
			merged = false;
		else if (!status)
			status = try_pair(ps, ps->high, ps->swept, &merged);
		/* A merge may make another pair of this rank here. */
		if (!merged)
			ps->swept += symbols[ps->swept] < 0 ? 1 : next_of(symbols, ps->n, ps->swept) - ps->swept;
	}
	return status;
}

/* The same result as merge_by_scan for any n up to INT32_MAX. */
static enum moe_status merge_by_heap(struct moe_merging *mg, const struct moe_merges *merges, size_t *n,
                                     struct moe_err *err)
{
	struct pass ps = {.mg = mg, .merges = merges, .n = *n, .high = merges->max_rank, .err = err};
	const size_t most = mg->heap_max ? mg->heap_max : *n / 8 > HEAP_MIN ? *n / 8 : HEAP_MIN;
	enum moe_status status = MOE_OK;
	size_t kept = 0;

	mg->n_heap = 0;
	while (!status && (*n <= most || choose_ranks(&ps, most))) {
		if (ps.sweeps)
			status = sweep(&ps);
		for (int32_t at = 0; (size_t)at < *n && !ps.sweeps && !status; at = next_of(mg->symbols, *n, at))
			status = consider(&ps, at);
		if (!status)
			status = empty_heap(&ps, (struct candidate){NO_RANK, 0});
		if (*n <= most)
			break;
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
	free(mg->heap);
	*mg = (struct moe_merging){0};
}
