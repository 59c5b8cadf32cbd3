/* A packing that is being changed: copies of items in bins, every item's load split evenly over its copies. */
#ifndef MOE_PLACEMENT_STATE_H
#define MOE_PLACEMENT_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct moe_state {
	int32_t n, n_bins, capacity;
	const double *item_load;   /* [n] borrowed */
	int32_t *bins;             /* [n_bins][capacity] items by falling weight */
	double *load;              /* [n_bins] */
	double *weight;            /* [n] load of one copy */
	int32_t *copies;           /* [n] */
	int32_t *first;            /* [n] first of the item's cells */
	int32_t *next, *bin;       /* [n_bins * capacity] cells: the next one of the same item or -1, and its bin */
	uint64_t *held;            /* [n_bins][n_words] bits of items */
	int32_t n_words;
};

/* bins: as of moe_pack_fill, every item in some bin, none twice in one. */
MOE_MUST_USE enum moe_status moe_state_new(struct moe_state *s, const double *item_load, int32_t n, int32_t n_bins,
                                           int32_t capacity, const int32_t *bins, struct moe_err *err);
void moe_state_free(struct moe_state *s);
/* The same packing as bins. */
void moe_state_set(struct moe_state *s, const int32_t *bins);

static inline bool moe_state_holds(const struct moe_state *s, int32_t bin, int32_t item)
{
	return s->held[(int64_t)bin * s->n_words + (item >> 6)] >> (item & 63) & 1;
}

static inline int32_t moe_state_at(const struct moe_state *s, int32_t bin, int32_t place)
{
	return s->bins[(int64_t)bin * s->capacity + place];
}

/* The fullest bin, the first of several. */
int32_t moe_state_fullest(const struct moe_state *s);

/* x in bin a and y in bin b change places; neither bin holds the other's. */
void moe_state_exchange(struct moe_state *s, int32_t a, int32_t x, int32_t b, int32_t y);
/* A copy of item y takes the place of a copy of item x in the bin: x has others, and the bin does not hold y. */
void moe_state_replace(struct moe_state *s, int32_t bin, int32_t x, int32_t y);

/* What the fullest of these bins would hold after it: h, and all that such a step gives load. Beyond `limit` any number
 * from there on. */
double moe_state_peak_of_replace(const struct moe_state *s, int32_t h, int32_t r, int32_t x, int32_t y, double limit);

#endif
