/* Plan + checkpoint -> one checkpoint per rank; and back. */
#ifndef MOE_PLACEMENT_SHARD_H
#define MOE_PLACEMENT_SHARD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "base/pool.h"
#include "base/str.h"
#include "checkpoint/checkpoint.h"
#include "model/model.h"
#include "plan/plan.h"

/* What a run that can be gone on with found. */
struct moe_shard_done {
	bool complete;             /* the shards were there; nothing was written */
	int64_t n_kept;            /* tensors that an earlier run had written, over all ranks */
};

struct moe_shard_opts {
	const struct moe_plan *plan;
	const char *out;           /* directory */
	unsigned flags;
	/* Writing goes on in OUT.partial where an earlier run stopped, and what is written outlives failures and kills.
	 * The source is read from its beginning all the same, because its hashes are part of what is written. */
	bool resume;
	struct moe_shard_done *done;   /* filled, or NULL */
	bool dry_run;              /* of a rebalance: looks, and changes nothing */
	struct moe_pool *pool;
	struct moe_watch *watch;
	void (*progress)(void *arg, uint64_t n_bytes);   /* bytes written since the last call; NULL: none */
	void *progress_arg;
};
/* Bytes of each rank's files, headers included: bytes [n_ranks]. */
MOE_MUST_USE enum moe_status moe_shard_predict(const struct moe_model *model, const struct moe_plan *plan,
                                               uint64_t *bytes, struct moe_err *err);
/* Fills an empty buffer with the names, "A, B" or "A, B and 7 more", of files in the source's directory that are no
 * part of the checkpoint and too large to be kept with rank 0. */
MOE_MUST_USE enum moe_status moe_shard_left_out(const struct moe_model *model, struct moe_buf *names,
                                                struct moe_err *err);
/* DIR/rank-000/... (Hugging Face) or DIR/rank-000.gguf. One pass over the source. */
MOE_MUST_USE enum moe_status moe_shard_write(const struct moe_model *model, const struct moe_shard_opts *opts,
                                             struct moe_err *err);
/* dirs: the folder of all shards, or each rank's. Gives every file of the source back byte for byte at out,
 * but those of moe_shard_left_out, hidden ones and subdirectories. */
MOE_MUST_USE enum moe_status moe_shard_merge(char *const *dirs, int n_dirs, const struct moe_shard_opts *opts,
                                             struct moe_err *err);
/* What a rebalance did, or would do. */
struct moe_shard_patched {
	bool complete;             /* the shards are those of the new plan already */
	bool went_on;              /* an earlier run had all files ready; they were put in place */
	int32_t n_rewritten;       /* ranks with a new file */
	uint64_t n_bytes;          /* of the tensors in these files */
};

/* Makes the shards in a folder those of another plan, with as many ranks, from the shards alone: files of ranks whose
 * experts change are written anew, in the others only the plan's hash. A run that stopped anywhere is gone on with by
 * the next; until all new files are there, the old shards are whole. */
MOE_MUST_USE enum moe_status moe_shard_rebalance(const char *dir, const struct moe_plan *old,
                                                 const struct moe_plan *new, const struct moe_shard_opts *opts,
                                                 struct moe_shard_patched *patched, struct moe_err *err);
/* Do the shards hold what plan and source say, byte for byte? MOE_ECHECK with the first difference. */
MOE_MUST_USE enum moe_status moe_shard_verify(const struct moe_model *model, const struct moe_shard_opts *opts,
                                              struct moe_err *err);

#endif
