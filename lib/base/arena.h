/* Memory that is freed all at once: one owner, one lifetime. Not for two threads at a time. */
#ifndef MOE_BASE_ARENA_H
#define MOE_BASE_ARENA_H

#include <stddef.h>

struct moe_arena_block;

/* Zero-initialise; moe_arena_free gives everything back and leaves it zero again. */
struct moe_arena {
	struct moe_arena_block *head;
	size_t n_bytes;   /* handed out so far */
};

/* n * size bytes, zeroed and aligned to 64; NULL where that overflows or memory is out.
 * n * size == 0 gives a valid pointer to nothing. */
void *moe_arena_alloc(struct moe_arena *arena, size_t n, size_t size);

/* A copy of n bytes of text with a NUL behind it, or NULL. */
char *moe_arena_strndup(struct moe_arena *arena, const char *text, size_t n);

void moe_arena_free(struct moe_arena *arena);

#define MOE_NEW(arena, type, n) ((type *)moe_arena_alloc((arena), (n), sizeof(type)))

#endif
