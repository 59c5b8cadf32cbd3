/* A tournament of keys: the least of them is at hand, and again after log2 n steps when one has changed.
 *
 * A key holds the index of its leaf in its lower half, so that the winner is known and ties go to the lower index. */
#ifndef MOE_PLACEMENT_TREE_H
#define MOE_PLACEMENT_TREE_H

#include <stdint.h>
#include <string.h>

#define MOE_TREE_OUT UINT64_MAX   /* a key that takes no part */

/* node [2 * n_leaves], n_leaves a power of two; node 1 is the winner, leaf i is node n_leaves + i. */
struct moe_tree {
	uint64_t *node;
	int32_t n_leaves;
};

/* Leaves that n keys need. */
static inline int32_t moe_tree_leaves(int32_t n)
{
	int32_t leaves = 1;

	while (leaves < n)
		leaves *= 2;
	return leaves;
}

/* Keys in the order of these non-negative numbers, least or greatest first. */
static inline uint64_t moe_key_rising(float value, int32_t index)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof bits);
	return (uint64_t)bits << 32 | (uint32_t)index;
}

static inline uint64_t moe_key_falling(float value, int32_t index)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof bits);
	return (uint64_t)~bits << 32 | (uint32_t)index;
}

/* The leaves are set; those beyond n take no part. */
static inline void moe_tree_start(struct moe_tree *tree, int32_t n)
{
	uint64_t *node = tree->node;

	for (int32_t i = tree->n_leaves + n; i < 2 * tree->n_leaves; i++)
		node[i] = MOE_TREE_OUT;
	for (int32_t i = tree->n_leaves - 1; i > 0; i--)
		node[i] = node[2 * i] < node[2 * i + 1] ? node[2 * i] : node[2 * i + 1];
}

static inline void moe_tree_set(struct moe_tree *tree, int32_t i, uint64_t key)
{
	uint64_t *node = tree->node;

	i += tree->n_leaves;
	node[i] = key;
	for (; i > 1; i /= 2) {
		const uint64_t other = node[i ^ 1];

		key = other < key ? other : key;
		node[i / 2] = key;
	}
}

/* The leaf that wins. */
static inline int32_t moe_tree_least(const struct moe_tree *tree)
{
	return (int32_t)(uint32_t)tree->node[1];
}

#endif
