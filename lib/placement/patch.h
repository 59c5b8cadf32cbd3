/* What shards tell of the checkpoint they were cut from, and the plan that their headers name. Private to this
 * folder. */
#ifndef MOE_PLACEMENT_PATCH_H
#define MOE_PLACEMENT_PATCH_H

#include <stdbool.h>

#include "base/err.h"
#include "checkpoint/checkpoint.h"
#include "placement/shards.h"
#include "placement/source.h"

/* Reads the record with rank 0 and makes the source's table of tensors from it and the shards: names, types, shapes;
 * bytes only of tensors that lie whole in a shard. Config, metadata and companions are those of rank 0. *told views
 * source and shards. */
MOE_MUST_USE enum moe_status moe_patch_source(const struct moe_shards *shards, struct moe_source *source,
                                              struct moe_ckpt **told, struct moe_err *err);
void moe_patch_source_free(struct moe_ckpt *told);   /* NULL is fine */

/* Writes another plan's hash into the header of a shard's file, whatever 32 bytes stand there, and syncs it. hash NULL:
 * only looks whether that can be done. */
MOE_MUST_USE enum moe_status moe_patch_plan_hash(const char *path, bool gguf, const char *hash, struct moe_err *err);

#endif
