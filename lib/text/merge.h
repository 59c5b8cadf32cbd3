/* Joining symbols by merges of pairs: the adjacent pair of lowest rank, the leftmost among equals, until no pair has a
 * rank. Indoors of model/. */
#ifndef MOE_TEXT_MERGE_H
#define MOE_TEXT_MERGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct merge;

/* Which pairs of ids merge into what, and in which order. Zero-initialise; read-only once filled. */
struct moe_merges {
	struct merge *slots;     /* [mask + 1] */
	size_t mask;
	uint32_t max_rank;
};

/* Once, before anything is put: room for n merges. */
MOE_MUST_USE enum moe_status moe_merges_room(struct moe_merges *merges, size_t n, struct moe_err *err);
/* left and right, next to each other, become id; a pair put twice has the later rank. */
void moe_merges_put(struct moe_merges *merges, int32_t left, int32_t right, int32_t id, uint32_t rank);
void moe_merges_free(struct moe_merges *merges);

/* The symbols of one piece, and scratch: 5 to 6 bytes per symbol of a long piece. Zero-initialise. */
struct moe_merging {
	int32_t *symbols;        /* [cap] ids */
	struct candidate *heap;  /* [cap_heap] */
	size_t cap, n_heap, cap_heap;
	size_t heap_max;         /* pairs of a piece that go to the heap at once; 0: as many as are worth while */
};

/* Room for n symbols; n is at most INT32_MAX. */
MOE_MUST_USE enum moe_status moe_merging_room(struct moe_merging *mg, size_t n, struct moe_err *err);
/* Merges symbols[0 .. *n) in place; *n becomes how many are left. */
MOE_MUST_USE enum moe_status moe_merging_run(struct moe_merging *mg, const struct moe_merges *merges, size_t *n,
                                             struct moe_err *err);
void moe_merging_free(struct moe_merging *mg);

#endif
