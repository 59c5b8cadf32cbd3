/* Directories of safetensors, for the readers of checkpoint/format/. Private to this folder. */
#ifndef MOE_CHECKPOINT_HF_DIR_H
#define MOE_CHECKPOINT_HF_DIR_H

#include "checkpoint/format.h"

#define MOE_INDEX_NAME "model.safetensors.index.json"

/* What a directory holds that matters here. */
struct moe_listing {
	char **names;          /* malloc'd, sorted: companions and *.safetensors that are regular files */
	size_t n, cap;
	size_t n_shards;       /* names that end in .safetensors */
	const char *shard;     /* the last of them by name */
	bool has_config, has_index;
	char *odd;             /* malloc'd: a name of these that is no regular file; the first by name, or NULL */
};

MOE_MUST_USE enum moe_status moe_listing_make(struct moe_listing *list, const char *dir, struct moe_err *err);
void moe_listing_free(struct moe_listing *list);
/* The sentence about list->odd. */
enum moe_status moe_listing_refuse(const struct moe_listing *list, const char *dir, struct moe_err *err);
/* Opens the companions in the listing, and config.json of them. */
MOE_MUST_USE enum moe_status moe_listing_companions(struct moe_ckpt *ckpt, const char *dir,
                                                    const struct moe_listing *list, struct moe_err *err);

/* Reads the header of file number i, which is open, and appends its tensors in the order of their bytes. */
MOE_MUST_USE enum moe_status moe_safetensors_read(struct moe_ckpt *ckpt, int32_t i, struct moe_err *err);
/* Opens a file of a directory that has to be there, because `why` names it, and reads its header. */
MOE_MUST_USE enum moe_status moe_safetensors_open(struct moe_ckpt *ckpt, const char *dir, const char *name,
                                                  const char *why, struct moe_err *err);

#endif
