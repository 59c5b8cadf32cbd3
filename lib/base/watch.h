/* Between file.c, out.c and watch.c: what is registered with a moe_watch. Every function takes NULL. */
#ifndef MOE_BASE_WATCH_H
#define MOE_BASE_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

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

/* An input that no output may destroy. */
struct moe_input {
	dev_t dev;
	ino_t ino;
	bool is_dir;
	char *name;   /* as given */
	char *real;   /* absolute, without symbolic links */
};
/* The first input, in the order they were added, for which fn says so; NULL where there is none. A view that lives as
 * long as the watch. */
const struct moe_input *moe_watch_find_input(struct moe_watch *watch,
                                             bool (*fn)(const void *arg, const struct moe_input *input),
                                             const void *arg);

/* Removes a file, or a directory with everything in it. Symbolic links are removed, never followed.
 * Async-signal-safe: no allocation, no locks. */
void moe_remove_tree(const char *path);

#endif
