/* What a checkpoint's files and tensors hash to, written down beside it and compared again later. */
#ifndef MOE_CONVERT_MANIFEST_H
#define MOE_CONVERT_MANIFEST_H

#include "base/pool.h"
#include "checkpoint/checkpoint.h"
#include "convert/rows.h"

/* Rows kind name file dtype shape bytes xxh3 sha256: every file of the checkpoint by name (of a directory, all that
 * lies in it), then every tensor as it is stored. Reads everything. */
MOE_MUST_USE enum moe_status moe_manifest_rows(struct moe_rows *r, const struct moe_ckpt *ckpt, bool sha256,
                                               struct moe_pool *pool, struct moe_err *err);
/* Compares with the table at path: a row kind name expected found for each file and tensor that is not as it says, and
 * for each tensor that is not in it; *n_different counts them, *n all. */
MOE_MUST_USE enum moe_status moe_manifest_verify(struct moe_rows *r, const struct moe_ckpt *ckpt, const char *path,
                                                 struct moe_pool *pool, int64_t *n, int64_t *n_different,
                                                 struct moe_err *err);

#endif
