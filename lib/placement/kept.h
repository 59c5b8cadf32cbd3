/* Files of the source's directory that are no part of the checkpoint: notes, results, scripts. They are kept with
 * rank 0, in rank-000/moe-source.files, so that a merge gives the whole directory back. Private to this folder.
 *
 * Kept are regular files, also behind symbolic links, of at most MOE_KEPT_MAX_BYTES. Not kept: what lies in
 * subdirectories, names that start with a dot, and whatever is no regular file. */
#ifndef MOE_PLACEMENT_KEPT_H
#define MOE_PLACEMENT_KEPT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "checkpoint/checkpoint.h"

/* Larger ones are the same weights in other containers. */
#define MOE_KEPT_MAX_BYTES ((uint64_t)64 << 20)

struct moe_kept_file {
	char *name;         /* malloc'd; any bytes but '/' and NUL */
	uint64_t n_bytes;   /* above MOE_KEPT_MAX_BYTES: not kept */
};

struct moe_kept {
	struct moe_kept_file *files;   /* [n] by name, malloc'd */
	size_t n;
};

/* What lies beside the checkpoint's own files; nothing where it is no Hugging Face directory. */
MOE_MUST_USE enum moe_status moe_kept_list(struct moe_kept *kept, const struct moe_ckpt *ckpt, struct moe_err *err);
void moe_kept_free(struct moe_kept *kept);
/* The copy of a file with the rank 0 shard at `shard`, malloc'd; NULL when out of memory. */
char *moe_kept_path(const char *shard, const char *name);
/* Maps a file, which must have n_bytes. */
MOE_MUST_USE enum moe_status moe_kept_open(struct moe_map *map, const char *path, uint64_t n_bytes,
                                           struct moe_watch *watch, struct moe_err *err);
/* A name as a member of a JSON object: "name":"..." or, where it is not ASCII and so perhaps no UTF-8, "hex":"...". */
void moe_kept_print_name(struct moe_buf *out, const char *name);
/* The bytes that `hex` stands for: lower-case digits in pairs, none of the bytes NUL. malloc'd; NULL where it is
 * something else or memory is out. */
char *moe_kept_name_of_hex(const char *hex);

#endif
