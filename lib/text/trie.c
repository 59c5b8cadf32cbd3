/* A trie whose edges are one hash table. */
#include "text/trie.h"

#include <stdlib.h>

enum { FIRST_EDGES = 1024, FIRST_NODES = 256 };

enum moe_status moe_trie_new(struct moe_trie *trie, struct moe_err *err)
{
	*trie = (struct moe_trie){.mask = FIRST_EDGES - 1, .n_nodes = 1, .cap_nodes = FIRST_NODES};
	trie->edges = calloc(FIRST_EDGES, sizeof *trie->edges);
	trie->values = malloc(FIRST_NODES * sizeof *trie->values);
	if (!trie->edges || !trie->values)
		return moe_err_nomem(err, FIRST_EDGES * sizeof *trie->edges, "a vocabulary");
	trie->values[0] = -1;
	return MOE_OK;
}

void moe_trie_free(struct moe_trie *trie)
{
	free(trie->edges);
	free(trie->values);
	*trie = (struct moe_trie){0};
}

static void put_edge(struct moe_trie_edge *edges, size_t mask, struct moe_trie_edge edge)
{
	size_t i = moe_trie_hash(edge.from, edge.byte) & mask;

	while (edges[i].to)
		i = (i + 1) & mask;
	edges[i] = edge;
}

static enum moe_status grow_edges(struct moe_trie *trie, struct moe_err *err)
{
	size_t mask = 2 * trie->mask + 1;
	struct moe_trie_edge *edges = calloc(mask + 1, sizeof *edges);

	if (!edges)
		return moe_err_nomem(err, (mask + 1) * sizeof *edges, "a vocabulary");
	for (size_t i = 0; i <= trie->mask; i++) {
		if (trie->edges[i].to)
			put_edge(edges, mask, trie->edges[i]);
	}
	free(trie->edges);
	trie->edges = edges;
	trie->mask = mask;
	return MOE_OK;
}

/* A new node behind `from`. */
static enum moe_status add_node(struct moe_trie *trie, uint32_t from, uint8_t byte, struct moe_err *err)
{
	if (trie->n_nodes == trie->cap_nodes) {
		int32_t *values = realloc(trie->values, 2 * trie->cap_nodes * sizeof *values);
		if (!values || trie->n_nodes > UINT32_MAX / 4)
			return moe_err_nomem(err, 2 * trie->cap_nodes * sizeof *values, "a vocabulary");
		trie->values = values;
		trie->cap_nodes *= 2;
	}
	trie->values[trie->n_nodes] = -1;
	if (from == 0) {
		trie->root[byte] = (uint32_t)trie->n_nodes++;
		return MOE_OK;
	}
	if (2 * ++trie->n_edges > trie->mask) {
		enum moe_status status = grow_edges(trie, err);
		if (status)
			return status;
	}
	put_edge(trie->edges, trie->mask, (struct moe_trie_edge){from, (uint32_t)trie->n_nodes++, byte});
	return MOE_OK;
}

enum moe_status moe_trie_put(struct moe_trie *trie, struct moe_str piece, int32_t value, struct moe_err *err)
{
	uint32_t node = 0;

	for (size_t i = 0; i < piece.n; i++) {
		uint32_t next = moe_trie_step(trie, node, (uint8_t)piece.p[i]);
		if (next == 0) {
			enum moe_status status = add_node(trie, node, (uint8_t)piece.p[i], err);
			if (status)
				return status;
			next = (uint32_t)trie->n_nodes - 1;
		}
		node = next;
	}
	trie->values[node] = value;
	return MOE_OK;
}

int32_t moe_trie_find(const struct moe_trie *trie, struct moe_str piece)
{
	uint32_t node = 0;

	for (size_t i = 0; i < piece.n; i++) {
		node = moe_trie_step(trie, node, (uint8_t)piece.p[i]);
		if (node == 0)
			return -1;
	}
	return trie->values[node];
}
