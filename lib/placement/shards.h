/* The shards of one sharding, all open: every rank once, of one plan and one model. Private to this folder. */
#ifndef MOE_PLACEMENT_SHARDS_H
#define MOE_PLACEMENT_SHARDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "checkpoint/checkpoint.h"

struct moe_shards {
	int32_t n_ranks;
	bool gguf;
	struct moe_ckpt **ckpts;   /* [n_ranks] */
	const char *plan_hash, *model_hash;   /* views */
};

/* dirs: the folder of all shards, or each shard. */
MOE_MUST_USE enum moe_status moe_shards_open(struct moe_shards *shards, char *const *dirs, int n_dirs,
                                             struct moe_watch *watch, struct moe_err *err);
void moe_shards_close(struct moe_shards *shards);

#endif
