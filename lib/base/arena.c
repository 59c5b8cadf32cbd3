/* A chain of zeroed blocks; small requests are cut from the newest, large ones get a block of their own. */
#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define ALIGN ((size_t)64)           /* a cache line, and the widest vector */
#define BLOCK_BYTES ((size_t)65536)

struct moe_arena_block {
	struct moe_arena_block *next;
	uint8_t *at;     /* next free byte, a multiple of ALIGN */
	size_t n_left;
};

/* calloc rather than aligned_alloc: the kernel's zero pages need no second clearing. */
static struct moe_arena_block *new_block(size_t n_bytes)
{
	struct moe_arena_block *block;
	uintptr_t start;
	size_t total;

	if (!moe_add_size(n_bytes, sizeof *block + ALIGN, &total))
		return NULL;
	block = calloc(1, total);
	if (!block)
		return NULL;
	start = (uintptr_t)(block + 1);
	block->at = (uint8_t *)(block + 1) + (ALIGN - start % ALIGN) % ALIGN;
	block->n_left = n_bytes;
	return block;
}

void *moe_arena_alloc(struct moe_arena *arena, size_t n, size_t size)
{
	struct moe_arena_block *block = arena->head;
	size_t wanted, rounded;
	void *p;

	if (!moe_mul_size(n, size, &wanted) || !moe_add_size(wanted ? wanted : 1, ALIGN - 1, &rounded))
		return NULL;
	rounded -= rounded % ALIGN;
	if (!block || block->n_left < rounded) {
		block = new_block(rounded > BLOCK_BYTES / 4 ? rounded : BLOCK_BYTES);
		if (!block)
			return NULL;
		if (arena->head && block->n_left == rounded) {
			block->next = arena->head->next;
			arena->head->next = block;
		} else {
			block->next = arena->head;
			arena->head = block;
		}
	}
	p = block->at;
	block->at += rounded;
	block->n_left -= rounded;
	arena->n_bytes += wanted;
	return p;
}

char *moe_arena_strndup(struct moe_arena *arena, const char *text, size_t n)
{
	size_t total;
	char *copy;

	if (!moe_add_size(n, 1, &total))
		return NULL;
	copy = moe_arena_alloc(arena, total, 1);
	if (copy && n > 0)
		memcpy(copy, text, n);
	return copy;
}

void moe_arena_free(struct moe_arena *arena)
{
	for (struct moe_arena_block *block = arena->head, *next; block; block = next) {
		next = block->next;
		free(block);
	}
	*arena = (struct moe_arena){0};
}
