/* What a signal handler must know, in slots that it can walk without locks: chunks are only ever added, a slot's path
 * is complete before its kind is set, and the kind is cleared first. */
#include "base/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"

#define CHUNK_SLOTS 64

enum slot_kind { SLOT_FREE, SLOT_TEMP, SLOT_MAP };

struct slot {
	_Atomic int kind;
	char *_Atomic path;          /* owned */
	_Atomic uintptr_t start, end;   /* SLOT_MAP */
};

struct chunk {
	struct slot slots[CHUNK_SLOTS];
	struct chunk *next;
};

struct input {
	struct moe_input input;
	struct input *next;
};

struct moe_watch {
	pthread_mutex_t mutex;
	struct chunk *_Atomic chunks;
	_Atomic bool swept;
	struct input *inputs;        /* in the order given; only ever added */
};

enum moe_status moe_watch_new(struct moe_watch **out, struct moe_err *err)
{
	struct moe_watch *watch = calloc(1, sizeof *watch);

	if (!watch)
		return moe_err_nomem(err, sizeof *watch, "the list of open files");
	pthread_mutex_init(&watch->mutex, NULL);
	*out = watch;
	return MOE_OK;
}

void moe_watch_free(struct moe_watch *watch)
{
	if (!watch)
		return;
	for (struct chunk *c = watch->chunks, *next; c; c = next) {
		next = c->next;
		for (int i = 0; i < CHUNK_SLOTS; i++)
			free(c->slots[i].path);
		free(c);
	}
	for (struct input *i = watch->inputs, *next; i; i = next) {
		next = i->next;
		free(i->input.name);
		free(i->input.real);
		free(i);
	}
	pthread_mutex_destroy(&watch->mutex);
	free(watch);
}

bool moe_watch_lock(struct moe_watch *watch)
{
	if (!watch)
		return true;
	pthread_mutex_lock(&watch->mutex);
	if (watch->swept) {
		pthread_mutex_unlock(&watch->mutex);
		return false;
	}
	return true;
}

void moe_watch_unlock(struct moe_watch *watch)
{
	if (watch)
		pthread_mutex_unlock(&watch->mutex);
}

/* With the mutex held. */
static struct slot *free_slot(struct moe_watch *watch)
{
	struct chunk *c;

	for (c = watch->chunks; c; c = c->next)
		for (int i = 0; i < CHUNK_SLOTS; i++)
			if (c->slots[i].kind == SLOT_FREE)
				return &c->slots[i];
	c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	c->next = watch->chunks;
	watch->chunks = c;
	return &c->slots[0];
}

static bool add_slot(struct moe_watch *watch, enum slot_kind kind, const char *path, uintptr_t start, uintptr_t end)
{
	struct slot *slot = free_slot(watch);
	char *copy = strdup(path);

	if (!slot || !copy) {
		free(copy);
		return false;
	}
	free(slot->path);
	slot->path = copy;
	slot->start = start;
	slot->end = end;
	slot->kind = kind;
	return true;
}

bool moe_watch_add_temp(struct moe_watch *watch, const char *path)
{
	return !watch || add_slot(watch, SLOT_TEMP, path, 0, 0);
}

void moe_watch_remove_temp(struct moe_watch *watch, const char *path)
{
	if (!watch)
		return;
	for (struct chunk *c = watch->chunks; c; c = c->next)
		for (int i = 0; i < CHUNK_SLOTS; i++)
			if (c->slots[i].kind == SLOT_TEMP && strcmp(c->slots[i].path, path) == 0)
				c->slots[i].kind = SLOT_FREE;
}

bool moe_watch_add_map(struct moe_watch *watch, const char *path, const void *start, size_t n_bytes)
{
	bool done;

	if (!watch)
		return true;
	pthread_mutex_lock(&watch->mutex);
	done = add_slot(watch, SLOT_MAP, path, (uintptr_t)start, (uintptr_t)start + n_bytes);
	pthread_mutex_unlock(&watch->mutex);
	return done;
}

void moe_watch_remove_map(struct moe_watch *watch, const void *start)
{
	if (!watch)
		return;
	pthread_mutex_lock(&watch->mutex);
	for (struct chunk *c = watch->chunks; c; c = c->next)
		for (int i = 0; i < CHUNK_SLOTS; i++)
			if (c->slots[i].kind == SLOT_MAP && c->slots[i].start == (uintptr_t)start)
				c->slots[i].kind = SLOT_FREE;
	pthread_mutex_unlock(&watch->mutex);
}

const char *moe_watch_path_at(const struct moe_watch *watch, const void *address)
{
	uintptr_t at = (uintptr_t)address;

	if (!watch)
		return NULL;
	for (const struct chunk *c = watch->chunks; c; c = c->next)
		for (int i = 0; i < CHUNK_SLOTS; i++)
			if (c->slots[i].kind == SLOT_MAP && at >= c->slots[i].start && at < c->slots[i].end)
				return c->slots[i].path;
	return NULL;
}

enum moe_status moe_watch_add_input(struct moe_watch *watch, const char *path, struct moe_err *err)
{
	struct input *added, **end;
	struct stat st;

	if (!watch || !path || strcmp(path, "-") == 0 || stat(path, &st) != 0)
		return MOE_OK;
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return MOE_OK;
	added = calloc(1, sizeof *added);
	if (!added)
		return moe_err_nomem(err, sizeof *added, "the list of inputs");
	added->input = (struct moe_input){.dev = st.st_dev, .ino = st.st_ino, .is_dir = S_ISDIR(st.st_mode),
	                                  .name = strdup(path), .real = realpath(path, NULL)};
	if (!added->input.name || !added->input.real) {
		free(added->input.name);
		free(added->input.real);
		free(added);
		return moe_err_nomem(err, strlen(path) + 1, "the list of inputs");
	}
	pthread_mutex_lock(&watch->mutex);
	for (end = &watch->inputs; *end; end = &(*end)->next)
		;
	*end = added;
	pthread_mutex_unlock(&watch->mutex);
	return MOE_OK;
}

const struct moe_input *moe_watch_find_input(struct moe_watch *watch,
                                             bool (*fn)(const void *arg, const struct moe_input *input),
                                             const void *arg)
{
	const struct moe_input *found = NULL;

	if (!watch)
		return NULL;
	pthread_mutex_lock(&watch->mutex);
	for (const struct input *i = watch->inputs; i && !found; i = i->next)
		if (fn(arg, &i->input))
			found = &i->input;
	pthread_mutex_unlock(&watch->mutex);
	return found;
}

/* The mutex is tried for a while and never given back: whoever holds it is creating or renaming a file, and nothing
 * may be created afterwards. From a handler of SIGBUS the holder may be gone for good, hence the limit. */
void moe_watch_sweep(struct moe_watch *watch)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	bool locked = false;

	if (!watch)
		return;
	for (int i = 0; i < 200 && !locked; i++) {
		locked = pthread_mutex_trylock(&watch->mutex) == 0;
		if (!locked)
			nanosleep(&pause, NULL);
	}
	watch->swept = true;
	for (struct chunk *c = watch->chunks; c; c = c->next)
		for (int i = 0; i < CHUNK_SLOTS; i++)
			if (c->slots[i].kind == SLOT_TEMP) {
				moe_remove_tree(c->slots[i].path);
				c->slots[i].kind = SLOT_FREE;
			}
	if (locked)
		pthread_mutex_unlock(&watch->mutex);
}

/* The kernel's struct linux_dirent64: ino 8, off 8, reclen 2, type 1, name. */
#define DIRENT_RECLEN 16
#define DIRENT_NAME 19

#define MAX_PASSES 1000   /* over one directory that something else keeps filling */

static bool remove_at(int dir_fd, const char *name, int depth);

/* True if at least one entry is gone. */
static bool remove_entries(int fd, int depth)
{
	uint8_t entries[2048];
	bool removed = false;
	long n;

	while ((n = syscall(SYS_getdents64, fd, entries, sizeof entries)) > 0) {
		for (long at = 0; at + DIRENT_NAME < n;) {
			uint16_t n_record;
			const char *name = (const char *)entries + at + DIRENT_NAME;

			memcpy(&n_record, entries + at + DIRENT_RECLEN, sizeof n_record);
			if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
				removed |= remove_at(fd, name, depth + 1);
			at += n_record;
		}
	}
	return removed;
}

/* A directory that changes while it is listed may skip entries, so it is listed again while that helps; a few fruitless
 * times are granted to another thread that removes the same tree. True if the name is gone by our doing. */
static bool remove_at(int dir_fd, const char *name, int depth)
{
	int n_fruitless = 0;

	if (unlinkat(dir_fd, name, 0) == 0)
		return true;
	if ((errno != EISDIR && errno != EPERM) || depth > 64)
		return false;
	for (int pass = 0; pass < MAX_PASSES && n_fruitless < 8; pass++) {
		int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (fd < 0)
			break;
		n_fruitless += !remove_entries(fd, depth);
		close(fd);
		if (unlinkat(dir_fd, name, AT_REMOVEDIR) == 0)
			return true;
		if (errno != ENOTEMPTY && errno != EEXIST)
			return false;
	}
	return unlinkat(dir_fd, name, AT_REMOVEDIR) == 0;
}

void moe_remove_tree(const char *path) { remove_at(AT_FDCWD, path, 0); }
