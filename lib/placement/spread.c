/* Exchanges that take copies of one expert apart.
 *
 * Let rank f hold x twice. Some rank r lacks x. If all entries of r differ, one of them, y, is not on f, which
 * holds at most capacity - 2 others than x: exchanging x and y leaves one double fewer. If r holds some y twice,
 * exchanging x for one of these y takes one double from each and adds at most one. So every step lowers the number
 * of doubles. */
#include "placement/spread.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

struct spread {
	struct moe_plan_entry *entries;
	const int32_t *ranks;
	int32_t n_ranks, capacity, n_experts;
	const double *weight;
	int32_t *held;   /* [n_ranks][n_experts] copies of each expert on each of these ranks */
};

static struct moe_plan_entry *entry_at(const struct spread *s, int32_t i, int32_t slot)
{
	return &s->entries[(int64_t)s->ranks[i] * s->capacity + slot];
}

static int32_t *held(const struct spread *s, int32_t i, int32_t expert)
{
	return &s->held[(int64_t)i * s->n_experts + expert];
}

/* Takes the double at `slot` of rank f apart. */
static void exchange(const struct spread *s, int32_t f, int32_t slot)
{
	const int32_t x = entry_at(s, f, slot)->expert;
	int32_t best_rank = -1, best_slot = -1;
	double least = INFINITY;

	for (int32_t r = 0; r < s->n_ranks; r++) {
		if (*held(s, r, x))
			continue;
		for (int32_t k = 0; k < s->capacity; k++) {
			const int32_t y = entry_at(s, r, k)->expert;
			const double moved = fabs(s->weight[x] - s->weight[y]);

			if ((!*held(s, f, y) || *held(s, r, y) > 1) && (best_rank < 0 || moved < least)) {
				least = moved;
				best_rank = r;
				best_slot = k;
			}
		}
	}
	assert(best_rank >= 0);
	const int32_t y = entry_at(s, best_rank, best_slot)->expert;
	entry_at(s, best_rank, best_slot)->expert = x;
	entry_at(s, f, slot)->expert = y;
	--*held(s, f, x);
	++*held(s, best_rank, x);
	--*held(s, best_rank, y);
	++*held(s, f, y);
}

enum moe_status moe_spread_copies(struct moe_plan_entry *entries, const int32_t *ranks, int32_t n_ranks,
                                  int32_t capacity, const double *weight, int32_t n_experts, struct moe_err *err)
{
	struct spread s = { entries, ranks, n_ranks, capacity, n_experts, weight, NULL };
	const size_t n = (size_t)n_ranks * (size_t)n_experts;
	bool again = true;

	s.held = calloc(n, sizeof *s.held);
	if (!s.held)
		return moe_err_nomem(err, n * sizeof *s.held, "a plan");
	for (int32_t i = 0; i < n_ranks; i++)
		for (int32_t k = 0; k < capacity; k++)
			++*held(&s, i, entry_at(&s, i, k)->expert);
	while (again) {
		again = false;
		for (int32_t i = 0; i < n_ranks; i++)
			for (int32_t k = 0; k < capacity; k++)
				if (*held(&s, i, entry_at(&s, i, k)->expert) > 1) {
					exchange(&s, i, k);
					again = true;
				}
	}
	free(s.held);
	return MOE_OK;
}

enum moe_status moe_spread_number(struct moe_plan_entry *entries, int32_t n_ranks, int32_t capacity, int32_t n_experts,
                                  struct moe_err *err)
{
	int32_t *next = calloc((size_t)n_experts, sizeof *next);

	if (!next)
		return moe_err_nomem(err, (size_t)n_experts * sizeof *next, "a plan");
	for (int32_t r = 0; r < n_ranks; r++)
		for (int32_t k = 0; k < capacity; k++) {
			struct moe_plan_entry *entry = &entries[(int64_t)r * capacity + k];

			entry->rank = r;
			entry->slot = k;
			entry->replica = next[entry->expert]++;
		}
	free(next);
	return MOE_OK;
}
