/* Between out.c, outdir.c, temp.c and guard.c: how outputs get their names, and what they may not destroy. */
#ifndef MOE_BASE_OUT_H
#define MOE_BASE_OUT_H

#include <stdbool.h>

#include "base/err.h"
#include "base/file.h"

/* INNER: a file in a directory that is itself registered, so that it needs no registration of its own. */
enum moe_temp_kind { MOE_TEMP_FILE, MOE_TEMP_INNER, MOE_TEMP_DIR };

/* Creates the temporary of `final` and registers it. *fd is -1 for a directory; path is for messages. */
MOE_MUST_USE enum moe_status moe_temp_create(const char *path, const char *final, enum moe_temp_kind kind,
                                             struct moe_watch *watch, char **temp, int *fd, struct moe_err *err);
/* ".NAME.MARK-PID-N" beside final, malloc'd. */
char *moe_temp_name(const char *final, const char *mark, int attempt);
/* rename(2) that does not replace, as far as the file system offers that. */
int moe_rename_new(const char *from, const char *to);

/* Makes the names inside a directory, or in the one that holds path, last. */
MOE_MUST_USE enum moe_status moe_sync_dir(const char *dir, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_sync_parent(const char *path, struct moe_err *err);

/* The directory that holds path; the place where the output called path will be. Both malloc'd. */
char *moe_path_parent(const char *path);
char *moe_path_resolve(const char *path);

/* "'PATH' exists: use --force to replace it" */
enum moe_status moe_refuse_existing(const char *path, struct moe_err *err);

/* A file in a directory whose temporary is registered with watch. shown: the name in messages. */
MOE_MUST_USE enum moe_status moe_out_open_inner(struct moe_out **out, const char *path, const char *shown,
                                                struct moe_watch *watch, struct moe_err *err);

/* A file at `path` inside a directory that is kept, called `shown` in messages. */
MOE_MUST_USE enum moe_status moe_out_open_inner_kept(struct moe_out **out, const char *path, const char *shown,
                                                     uint64_t n_kept, struct moe_watch *watch, struct moe_err *err);

/* MOE_EUSAGE if a file (which exists) is an input of the watch, or if a directory, there or not, is one, holds one or
 * lies inside one. */
MOE_MUST_USE enum moe_status moe_guard_file(const char *path, struct moe_watch *watch, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_guard_dir(const char *path, struct moe_watch *watch, struct moe_err *err);
/* MOE_EUSAGE unless the directory at path is empty or holds what the programs write into one: a checkpoint, or
 * shards. The sentence calls it `shown` and names the first entry that does not belong. */
MOE_MUST_USE enum moe_status moe_guard_replaced(const char *path, const char *shown, struct moe_err *err);

#endif
