/* Pieces by their bytes, to find all that begin at a place of a text. Indoors of model/. */
#ifndef MOE_TEXT_TRIE_H
#define MOE_TEXT_TRIE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/* The edge of a byte. An empty slot: to is 0, the root, where no edge leads. */
struct moe_trie_edge {
	uint32_t from, to;
	uint8_t byte;
};

/* Zero-initialise; read-only once filled. */
struct moe_trie {
	uint32_t root[256];            /* the edges of the root */
	struct moe_trie_edge *edges;   /* [mask + 1] the others */
	size_t mask, n_edges;
	int32_t *values;               /* [n_nodes] of the piece that ends here; -1: none does */
	size_t n_nodes, cap_nodes;
};

/* Once, before anything is put. */
MOE_MUST_USE enum moe_status moe_trie_new(struct moe_trie *trie, struct moe_err *err);
/* A piece put twice has the later value. */
MOE_MUST_USE enum moe_status moe_trie_put(struct moe_trie *trie, struct moe_str piece, int32_t value,
                                          struct moe_err *err);
void moe_trie_free(struct moe_trie *trie);

static inline size_t moe_trie_hash(uint32_t from, uint8_t byte)
{
	uint64_t h = ((uint64_t)from << 8 | byte) * UINT64_C(0x9E3779B97F4A7C15);
	return (size_t)(h >> 32);
}

/* The node that a byte leads to from a node; 0: none. */
static inline uint32_t moe_trie_step(const struct moe_trie *trie, uint32_t from, uint8_t byte)
{
	if (from == 0)
		return trie->root[byte];
	for (size_t i = moe_trie_hash(from, byte) & trie->mask;; i = (i + 1) & trie->mask) {
		const struct moe_trie_edge *edge = &trie->edges[i];
		if (edge->to == 0 || (edge->from == from && edge->byte == byte))
			return edge->to;
	}
}

/* The value of a piece; -1: not there. */
int32_t moe_trie_find(const struct moe_trie *trie, struct moe_str piece);

#endif
