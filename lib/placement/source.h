/* The record of a sharded checkpoint that is kept with rank 0: how the bytes of every file of the source come together
 * again. DIR/rank-000/moe-source.json and .bin, or DIR/rank-000.source.json and .bin beside a GGUF shard.
 *
 * A file of the source is its tensors, in order of offset, and what lies between them (headers, padding). The JSON
 * names files, tensors and their hashes; the .bin holds what lies between, one piece after another. Files that are no
 * part of the checkpoint lie in moe-source.files as they are (kept.h). Private to this folder. */
#ifndef MOE_PLACEMENT_SOURCE_H
#define MOE_PLACEMENT_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/file.h"
#include "placement/layout.h"

#define MOE_SOURCE_INDEX "model.safetensors.index.json"

struct moe_source_tensor {
	const char *name;
	uint64_t offset, n_bytes;   /* in its file */
	int32_t layer;              /* of a stack whose experts lie in different shards; -1: the tensor is whole */
	int32_t n_hashes;           /* experts of the stack, or 1 */
	char (*hashes)[33];         /* [n_hashes] of the tensor, or of each expert of the stack */
};

struct moe_source_file {
	const char *name;           /* within the source's directory */
	uint64_t n_bytes;
	char hash[33];
	bool companion;             /* rank 0 has it under the same name */
	bool kept;                  /* rank 0 has it in moe-source.files; neither: tensors and what lies between */
	const uint8_t *data;        /* where the source is at hand and the file is not `kept`, else NULL */
	size_t first, n_tensors;
};

struct moe_source {
	struct moe_arena arena;
	bool directory;             /* else one file */
	bool gguf;
	int32_t n_ranks;
	char plan_hash[33], model_hash[33];
	size_t n_files, n_tensors;
	struct moe_source_file *files;
	struct moe_source_tensor *tensors;
	uint64_t n_between;         /* bytes of the .bin */
	struct moe_map index;       /* the source's index, where it has one */
};

/* Of an open checkpoint; hashes are 32 zeros. What is kept can be read, and is as large as it says. */
MOE_MUST_USE enum moe_status moe_source_of(struct moe_source *source, const struct moe_layout *layout,
                                           struct moe_err *err);
/* Appends the JSON. Its length does not depend on the hashes. */
void moe_source_print(const struct moe_source *source, struct moe_buf *out);
/* Reads and checks the JSON at path. */
MOE_MUST_USE enum moe_status moe_source_read(struct moe_source *source, const char *path, struct moe_err *err);
void moe_source_free(struct moe_source *source);
/* Reads the checkpoint and fills in all hashes but those of files that are kept. */
MOE_MUST_USE enum moe_status moe_source_hash(struct moe_source *source, struct moe_err *err);

/* Calls fn for every piece of a file in order: tensor i, or n bytes at `offset` that lie between tensors (i is
 * SIZE_MAX). Companions and files that are kept have none. */
MOE_MUST_USE enum moe_status moe_source_pieces(const struct moe_source *source, const struct moe_source_file *file,
	enum moe_status (*fn)(void *arg, size_t i, uint64_t offset, uint64_t n_bytes, struct moe_err *err),
	void *arg, struct moe_err *err);
/* The name of the record beside a rank 0 shard at `shard`, ending ".json" or ".bin"; malloc'd. */
char *moe_source_path(const char *shard, bool gguf, const char *ending);

#endif
