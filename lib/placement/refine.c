/* Local search with kicks (Lourenco, Martin, Stuetzle 2003: iterated local search).
 *
 * A step lowers the fullest bin h, and leaves every other bin it touches below what h was. Steps are
 *  - an exchange of one item of h with one of another bin,
 *  - an exchange of two with two, where bins are small,
 *  - a copy fewer of one item and one more of another in its place, where that takes load off h.
 * Where there is no step, a kick changes something at random around h, and steps follow; what is not better afterwards
 * is undone. */
#include "placement/refine.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "placement/state.h"

#define PAIR_PLACES 32                                      /* exchanges of two with two in bins of up to so many */
#define MAX_PAIRS (PAIR_PLACES * (PAIR_PLACES - 1) / 2)
#define KICKS_PER_STRENGTH 10
#define MAX_STRENGTH 6
#define LESS (1 - 1e-9)                                     /* a step must gain more than rounding does */

struct pair {
	double sum;
	int32_t a, b;   /* items */
};

struct refine {
	struct moe_state s;
	struct moe_work *work;
	struct pair *pairs_h, *pairs_r, *spare;   /* [MAX_PAIRS], or NULL where bins are larger */
	uint64_t seed, n_draws;
};

/* The best step found so far. */
struct step {
	enum { NONE, EXCHANGE, PAIRS, REPLACE } kind;
	double peak;                      /* the most that a touched bin has afterwards */
	int32_t h, r;                     /* REPLACE: r is where */
	int32_t x, y, x2, y2;             /* x leaves h, y comes; REPLACE: y takes the place of x in r */
};

static uint64_t draw(struct refine *f, uint64_t n)
{
	return moe_rng_u64(f->seed, 0, f->n_draws++) % n;
}

static void try_exchange(const struct moe_state *s, int32_t h, int32_t r, int32_t x, int32_t y, struct step *best)
{
	const double d = s->weight[x] - s->weight[y], one = s->load[h] - d, two = s->load[r] + d;
	const double peak = one > two ? one : two;

	if (d > 0 && peak < best->peak && !moe_state_holds(s, r, x) && !moe_state_holds(s, h, y))
		*best = (struct step){ EXCHANGE, peak, h, r, x, y, 0, 0 };
}

/* Both bins by falling weight: for every x the y that bring the difference nearest to half of that of the loads. */
static void find_exchange(const struct moe_state *s, int32_t h, int32_t r, struct step *best)
{
	const double half = (s->load[h] - s->load[r]) / 2;
	int32_t j = 0;

	for (int32_t i = 0; i < s->capacity; i++) {
		const int32_t x = moe_state_at(s, h, i);

		while (j < s->capacity && s->weight[moe_state_at(s, r, j)] > s->weight[x] - half)
			j++;
		for (int32_t k = j < 2 ? 0 : j - 2; k < s->capacity && k < j + 2; k++)
			try_exchange(s, h, r, x, moe_state_at(s, r, k), best);
	}
}

/* Two runs of falling sums to one, [n_a] and [n_b]; of equal ones those of the first come first. */
static void merge_pairs(const struct pair *a, int32_t n_a, const struct pair *b, int32_t n_b, struct pair *out)
{
	const struct pair *const a_end = a + n_a, *const b_end = b + n_b;

	while (a < a_end && b < b_end)
		*out++ = b->sum > a->sum ? *b++ : *a++;
	while (a < a_end)
		*out++ = *a++;
	while (b < b_end)
		*out++ = *b++;
}

/* Pairs of items of bin b that are not in bin `other` (-1: any), by falling sum. The pairs of one item with all behind
 * it fall already: those runs are merged. */
static int32_t list_pairs(const struct moe_state *s, int32_t b, int32_t other, struct pair *pairs, struct pair *spare)
{
	int32_t begin[PAIR_PLACES + 1], items[PAIR_PLACES], n = 0, n_items = 0, n_runs = 0;

	for (int32_t i = 0; i < s->capacity; i++) {
		const int32_t x = moe_state_at(s, b, i);

		if (other < 0 || !moe_state_holds(s, other, x))
			items[n_items++] = x;
	}
	for (int32_t i = 0; i + 1 < n_items; i++) {
		begin[n_runs++] = n;
		for (int32_t k = i + 1; k < n_items; k++)
			pairs[n++] = (struct pair){ s->weight[items[i]] + s->weight[items[k]], items[i], items[k] };
	}
	begin[n_runs] = n;
	for (; n_runs > 1; n_runs = (n_runs + 1) / 2) {
		for (int32_t k = 0; k + 1 < n_runs; k += 2) {
			const int32_t a = begin[k], m = begin[k + 1], end = begin[k + 2];

			merge_pairs(pairs + a, m - a, pairs + m, end - m, spare);
			memcpy(pairs + a, spare, (size_t)(end - a) * sizeof *pairs);
			begin[k / 2] = a;
		}
		if (n_runs % 2)
			begin[n_runs / 2] = begin[n_runs - 1];
		begin[(n_runs + 1) / 2] = n;
	}
	return n;
}

/* pairs_h [n]: all of h. */
static void find_pairs(const struct refine *f, int32_t h, int32_t r, int32_t n, struct step *best)
{
	const struct moe_state *s = &f->s;
	const struct pair *p = f->pairs_h, *q = f->pairs_r;
	const int32_t m = list_pairs(s, r, h, f->pairs_r, f->spare);
	const double half = (s->load[h] - s->load[r]) / 2;
	int32_t j = 0;

	for (int32_t i = 0; i < n; i++) {
		if (moe_state_holds(s, r, p[i].a) || moe_state_holds(s, r, p[i].b))
			continue;
		while (j < m && q[j].sum > p[i].sum - half)
			j++;
		for (int32_t k = j < 1 ? 0 : j - 1; k < m && k < j + 1; k++) {
			const double d = p[i].sum - q[k].sum, one = s->load[h] - d, two = s->load[r] + d;
			const double peak = one > two ? one : two;

			if (d > 0 && peak < best->peak)
				*best = (struct step){ PAIRS, peak, h, r, p[i].a, q[k].a, p[i].b, q[k].b };
		}
	}
}

static void try_replace(const struct moe_state *s, int32_t h, int32_t r, int32_t x, int32_t y, struct step *best)
{
	const double peak = moe_state_peak_of_replace(s, h, r, x, y, best->peak);

	if (peak < best->peak)
		*best = (struct step){ REPLACE, peak, h, r, x, y, 0, 0 };
}

/* Another copy of an item of h somewhere else, or one of another item in h. False: out of work. */
static bool find_replace(const struct refine *f, int32_t h, struct step *best)
{
	const struct moe_state *s = &f->s;
	int64_t n_tried = 0;

	for (int32_t x = 0; x < s->n; x++) {
		if (s->copies[x] < 2)
			continue;
		for (int32_t c = s->first[x]; c >= 0; c = s->next[c]) {
			const int32_t r = s->bin[c], n = r == h ? s->n : s->capacity;

			for (int32_t i = 0; i < n; i++) {
				const int32_t y = r == h ? i : moe_state_at(s, h, i);

				if (!moe_state_holds(s, r, y))
					try_replace(s, h, r, x, y, best);
			}
			n_tried += (int64_t)n * s->copies[x];
		}
		if (n_tried > 10000) {
			if (!moe_work_spend(f->work, n_tried))
				return false;
			n_tried = 0;
		}
	}
	return moe_work_spend(f->work, n_tried + 1);
}

static void take(struct moe_state *s, const struct step *step)
{
	if (step->kind == REPLACE) {
		moe_state_replace(s, step->r, step->x, step->y);
		return;
	}
	moe_state_exchange(s, step->h, step->x, step->r, step->y);
	if (step->kind == PAIRS)
		moe_state_exchange(s, step->h, step->x2, step->r, step->y2);
}

/* Steps until there is none, the floor is reached, or work is spent. Returns the fullest bin. */
static int32_t descend(struct refine *f, double floor)
{
	struct moe_state *s = &f->s;

	for (;;) {
		const int32_t h = moe_state_fullest(s);
		struct step best = { .kind = NONE, .peak = s->load[h] * LESS };

		if (s->load[h] <= floor)
			return h;
		for (int32_t r = 0; r < s->n_bins; r++)
			if (s->load[r] < best.peak)
				find_exchange(s, h, r, &best);
		if (!moe_work_spend(f->work, (int64_t)s->n_bins * (s->capacity * 4 + 1)))
			return h;
		if (best.kind == NONE && !find_replace(f, h, &best))
			return h;
		if (best.kind == NONE && f->pairs_h) {
			const int32_t n = list_pairs(s, h, -1, f->pairs_h, f->spare);

			for (int32_t r = 0; r < s->n_bins; r++)
				if (s->load[r] < best.peak)
					find_pairs(f, h, r, n, &best);
			if (!moe_work_spend(f->work, (int64_t)s->n_bins * s->capacity * s->capacity * 4))
				return h;
		}
		if (best.kind == NONE)
			return h;
		take(s, &best);
	}
}

/* A random item of h changes places with one of another bin. */
static void kick_exchange(struct refine *f, int32_t h)
{
	struct moe_state *s = &f->s;

	for (int i = 0; i < 8; i++) {
		const int32_t r = (int32_t)draw(f, (uint64_t)s->n_bins);
		const int32_t x = moe_state_at(s, h, (int32_t)draw(f, (uint64_t)s->capacity));
		const int32_t y = moe_state_at(s, r, (int32_t)draw(f, (uint64_t)s->capacity));

		if (r == h || moe_state_holds(s, h, y) || moe_state_holds(s, r, x))
			continue;
		moe_state_exchange(s, h, x, r, y);
		return;
	}
}

/* A random place of an item with copies goes to a copy of a random item of h, or in h of any item. */
static void kick_replace(struct refine *f, int32_t h)
{
	struct moe_state *s = &f->s;

	for (int i = 0; i < 16; i++) {
		const int32_t r = draw(f, 4) ? (int32_t)draw(f, (uint64_t)s->n_bins) : h;
		const int32_t x = moe_state_at(s, r, (int32_t)draw(f, (uint64_t)s->capacity));
		const int32_t y = r == h ? (int32_t)draw(f, (uint64_t)s->n)
		                         : moe_state_at(s, h, (int32_t)draw(f, (uint64_t)s->capacity));

		if (s->copies[x] < 2 || moe_state_holds(s, r, y))
			continue;
		moe_state_replace(s, r, x, y);
		return;
	}
}

/* Harder the longer nothing has helped, then softly again. */
static void kick(struct refine *f, int32_t h, int64_t n_stale)
{
	const int64_t strength = 1 + n_stale / KICKS_PER_STRENGTH % MAX_STRENGTH;

	for (int64_t i = 0; i < strength; i++) {
		if ((int64_t)f->s.n_bins * f->s.capacity > f->s.n && draw(f, 2))
			kick_replace(f, h);
		else
			kick_exchange(f, h);
		h = (int32_t)draw(f, (uint64_t)f->s.n_bins);
	}
}

enum moe_status moe_refine_bins(const double *load, int32_t n, int32_t n_bins, int32_t capacity, double floor,
                                uint64_t seed, struct moe_work *work, int32_t *bins, double *peak,
                                struct moe_err *err)
{
	const size_t n_bytes = (size_t)n_bins * (size_t)capacity * sizeof *bins;
	struct refine f = { .work = work, .seed = seed };
	struct moe_state *s = &f.s;
	int64_t n_stale = 0;
	int32_t h;
	enum moe_status status = moe_state_new(s, load, n, n_bins, capacity, bins, err);

	if (status)
		return status;
	if (capacity <= PAIR_PLACES) {
		f.pairs_h = calloc(MAX_PAIRS, sizeof *f.pairs_h);
		f.pairs_r = calloc(MAX_PAIRS, sizeof *f.pairs_r);
		f.spare = calloc(MAX_PAIRS, sizeof *f.spare);
		if (!f.pairs_h || !f.pairs_r || !f.spare) {
			status = moe_err_nomem(err, MAX_PAIRS * sizeof *f.pairs_h, "a packing");
			goto out;
		}
	}
	floor *= MOE_AT_BOUND;
	h = descend(&f, floor);
	*peak = s->load[h];
	memcpy(bins, s->bins, n_bytes);
	while (*peak > floor && n_bins > 1 && moe_work_spend(work, n_bins + (n_bins * capacity >> 2))) {
		kick(&f, h, n_stale++);
		h = descend(&f, floor);
		if (s->load[h] <= *peak) {
			if (s->load[h] < *peak)
				n_stale = 0;
			*peak = s->load[h];
			memcpy(bins, s->bins, n_bytes);
		} else {
			moe_state_set(s, bins);
			h = moe_state_fullest(s);
		}
	}
out:
	free(f.pairs_h);
	free(f.pairs_r);
	free(f.spare);
	moe_state_free(s);
	return status;
}
