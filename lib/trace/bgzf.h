/* Blocked gzip: a file of gzip members of at most 64 KiB each, every one telling its own size, so that blocks are
 * packed and unpacked independently. `zcat` reads it, `cat` joins two, an empty block marks the end. Knows nothing
 * of what it carries. The layout is that of the SAM/BAM specification, section 4.1. */
#ifndef MOE_TRACE_BGZF_H
#define MOE_TRACE_BGZF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "base/pool.h"

/* Data bytes a block takes: what fits in 64 KiB even if it cannot be packed. */
#define MOE_BGZF_BLOCK 65280

/* A file being written, by one thread at a time. What is written does not depend on the pool. */
struct moe_bgzf_out;
MOE_MUST_USE enum moe_status moe_bgzf_create(struct moe_bgzf_out **out, const char *path, unsigned flags,
                                             struct moe_pool *pool, struct moe_watch *watch, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_bgzf_write(struct moe_bgzf_out *out, const void *bytes, size_t n_bytes,
                                            struct moe_err *err);
/* Bytes left in the open block; MOE_BGZF_BLOCK when it is empty. */
size_t moe_bgzf_room(const struct moe_bgzf_out *out);
/* The next byte begins a block. */
MOE_MUST_USE enum moe_status moe_bgzf_cut(struct moe_bgzf_out *out, struct moe_err *err);
const char *moe_bgzf_out_path(const struct moe_bgzf_out *out);
/* Ends the file with the empty block and moves it into place. Frees out whatever happens. */
MOE_MUST_USE enum moe_status moe_bgzf_commit(struct moe_bgzf_out *out, struct moe_err *err);
void moe_bgzf_abort(struct moe_bgzf_out *out);   /* NULL is fine */

/* A file being read, by one thread at a time. Members without a block size (of plain gzip) are read too. */
struct moe_bgzf_in;
MOE_MUST_USE enum moe_status moe_bgzf_open(struct moe_bgzf_in **out, const char *path, struct moe_pool *pool,
                                           struct moe_err *err);
/* The same from a descriptor, which is closed with it, or at a failure; never stdin's. `path` is for messages. */
MOE_MUST_USE enum moe_status moe_bgzf_open_fd(struct moe_bgzf_in **out, int fd, const char *path, struct moe_pool *pool,
                                              struct moe_err *err);
/* *n_read < n_bytes only at the end of the file. All that comes before a fault is given out before it is reported:
 * a cut or damaged block, a missing end block, bytes that are no gzip. */
MOE_MUST_USE enum moe_status moe_bgzf_read(struct moe_bgzf_in *in, void *bytes, size_t n_bytes, size_t *n_read,
                                           struct moe_err *err);
/* Where the next byte comes from: the offset of its block in the file, and its place in the unpacked stream. */
uint64_t moe_bgzf_block_at(const struct moe_bgzf_in *in);
uint64_t moe_bgzf_tell(const struct moe_bgzf_in *in);
/* Bytes of the file read so far, and its size, 0 for a pipe. */
void moe_bgzf_progress(const struct moe_bgzf_in *in, uint64_t *n_read, uint64_t *n_total);
/* After the first read: does it begin as gzip does, whole or not? */
bool moe_bgzf_is_gzip(const struct moe_bgzf_in *in);
const char *moe_bgzf_in_path(const struct moe_bgzf_in *in);   /* for messages: "stdin" for "-" */
void moe_bgzf_close(struct moe_bgzf_in *in);   /* NULL is fine */

/* The first n_bytes of data in the regular file at path; false if it is not gzip or has fewer. */
bool moe_bgzf_peek(const char *path, void *bytes, size_t n_bytes);

#endif
