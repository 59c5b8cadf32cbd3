/* Between file.c, out.c and watch.c: what is registered with a moe_watch. Every function takes NULL. */
#ifndef MOE_BASE_WATCH_H
#define MOE_BASE_WATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct moe_watch;

/* Creating or renaming a temporary and (de)registering it happen between these two, so that a sweep never falls
 * between. After a sweep the lock is not given any more: false. */
bool moe_watch_lock(struct moe_watch *watch);
void moe_watch_unlock(struct moe_watch *watch);

/* With the lock held. The path is copied; false when out of memory. */
bool moe_watch_add_temp(struct moe_watch *watch, const char *path);
void moe_watch_remove_temp(struct moe_watch *watch, const char *path);

/* Without the lock. */
bool moe_watch_add_map(struct moe_watch *watch, const char *path, const void *start, size_t n_bytes);
void moe_watch_remove_map(struct moe_watch *watch, const void *start);

/* Removes a file, or a directory with everything in it. Symbolic links are removed, never followed.
 * Async-signal-safe: no allocation, no locks. */
void moe_remove_tree(const char *path);

#endif
