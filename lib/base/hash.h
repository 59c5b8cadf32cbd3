/* XXH3-128 of bytes, streaming: the identity of tensors, models and plans. */
#ifndef MOE_BASE_HASH_H
#define MOE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct moe_hash;
struct moe_hash *moe_hash_new(void);   /* NULL when out of memory */
void moe_hash_reset(struct moe_hash *hash);
void moe_hash_add(struct moe_hash *hash, const void *bytes, size_t n_bytes);
/* 32 lower-case hex digits and a NUL; the hash may be added to afterwards. */
void moe_hash_text(const struct moe_hash *hash, char out[33]);
void moe_hash_free(struct moe_hash *hash);

#endif
