/* SHA-256 of bytes, streaming: what other programs (sha256sum) can check too. */
#ifndef MOE_BASE_SHA256_H
#define MOE_BASE_SHA256_H

#include <stddef.h>

#include "base/err.h"

/* MOE_EUSAGE in a build without libnettle. */
MOE_MUST_USE enum moe_status moe_sha256_check(struct moe_err *err);

struct moe_sha256;
struct moe_sha256 *moe_sha256_new(void);   /* NULL when out of memory, or without libnettle */
void moe_sha256_add(struct moe_sha256 *sha, const void *bytes, size_t n_bytes);
/* 64 lower-case hex digits and a NUL; begins anew. */
void moe_sha256_text(struct moe_sha256 *sha, char out[65]);
void moe_sha256_free(struct moe_sha256 *sha);   /* NULL is fine */

#endif
