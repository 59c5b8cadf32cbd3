/* Files: read-only mappings, whole reads and writes, and outputs that appear complete or not at all. */
#ifndef MOE_BASE_FILE_H
#define MOE_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/str.h"

/* What a signal must know: temporaries to unlink, mappings to name when a page cannot be read.
 * One per program, made by main(); safe to use from several threads. Every function takes NULL for "nobody watches". */
struct moe_watch;
MOE_MUST_USE enum moe_status moe_watch_new(struct moe_watch **out, struct moe_err *err);
void moe_watch_free(struct moe_watch *watch);
/* What is read and must outlive the run: no output may be it, nor, as a directory, hold it or lie inside it. What is
 * neither a file nor a directory ("-", a FIFO, NULL) is none. */
MOE_MUST_USE enum moe_status moe_watch_add_input(struct moe_watch *watch, const char *path, struct moe_err *err);
/* Unlinks every temporary registered. Called once, by the thread that takes signals, or at exit. */
void moe_watch_sweep(struct moe_watch *watch);
/* The path of the mapping that holds `address`, or NULL. Async-signal-safe. */
const char *moe_watch_path_at(const struct moe_watch *watch, const void *address);

/* A whole file, mapped read-only. Pages are read on demand, so its size does not matter. */
struct moe_map {
	char *path;            /* owned copy, for messages */
	const uint8_t *data;   /* [n_bytes]; NULL when empty */
	size_t n_bytes;
	struct moe_watch *watch;
};

MOE_MUST_USE enum moe_status moe_map_open(struct moe_map *map, const char *path, struct moe_watch *watch,
                                          struct moe_err *err);
void moe_map_close(struct moe_map *map);   /* a zero-initialised map is fine */

/* All of a file, or of stdin when path is "-", appended to buf. limit_bytes > 0 refuses more than that many. */
MOE_MUST_USE enum moe_status moe_read_all(const char *path, size_t limit_bytes, struct moe_buf *buf,
                                          struct moe_err *err);

/* A file being written under a temporary name beside its final one: fsync and rename at moe_out_commit,
 * gone at moe_out_abort. path "-" is stdout: no temporary, and commit flushes and checks. */
struct moe_out;

enum moe_out_flags {
	/* Replace what exists; otherwise that is MOE_EUSAGE and names --force. Ignore a lack of free space. */
	MOE_OUT_FORCE = 1,
	MOE_OUT_BINARY = 2,  /* refuse to write to a terminal */
	/* moe_out_open_partial: go on with what is there. moe_outdir_open: fill PATH.partial, there or not, which
	 * outlives a run that ends too early. */
	MOE_OUT_RESUME = 4,
};

MOE_MUST_USE enum moe_status moe_out_open(struct moe_out **out, const char *path, unsigned flags,
                                          struct moe_watch *watch, struct moe_err *err);
/* As moe_out_open, under a temporary name that outlives a run that ends too early: PATH.partial, found again with
 * MOE_OUT_RESUME. Without it a file of that name is refused, or begun anew with MOE_OUT_FORCE. No two runs can have it
 * open. "-", a device or a FIFO is written as ever. */
MOE_MUST_USE enum moe_status moe_out_open_partial(struct moe_out **out, const char *path, unsigned flags,
                                                  struct moe_watch *watch, struct moe_err *err);
/* The name of that file, NULL where there is none; a view. */
const char *moe_out_partial(const struct moe_out *out);
/* Keeps the first n_bytes of it and appends from there. */
MOE_MUST_USE enum moe_status moe_out_cut(struct moe_out *out, uint64_t n_bytes, struct moe_err *err);
/* "PATH.MARK" without slashes before the dot, where links lead; malloc'd, NULL when out of memory. */
char *moe_partial_path(const char *path, const char *mark);
/* Removes PATH.partial, a file or a directory. */
void moe_partial_remove(const char *path);
/* The refusals of moe_out_open, before any work: creates and opens nothing. */
MOE_MUST_USE enum moe_status moe_out_check(const char *path, unsigned flags, struct moe_watch *watch,
                                           struct moe_err *err);
/* MOE_EUSAGE if both would be the same file, whether it is there or not; devices can be shared. */
MOE_MUST_USE enum moe_status moe_out_distinct(const char *a, const char *b, struct moe_err *err);
/* MOE_EIO if there is no room for n_bytes; with MOE_OUT_FORCE there always is. */
MOE_MUST_USE enum moe_status moe_out_room(const struct moe_out *out, uint64_t n_bytes, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_out_write(struct moe_out *out, const void *bytes, size_t n_bytes, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_out_printf(struct moe_out *out, struct moe_err *err, const char *fmt, ...)
	MOE_PRINTF(3, 4);
/* Positioned write into a regular file (not "-"); does not move the append position, which starts at 0. Thread-safe. */
MOE_MUST_USE enum moe_status moe_out_pwrite(struct moe_out *out, const void *bytes, size_t n_bytes, uint64_t offset,
                                            struct moe_err *err);
MOE_MUST_USE enum moe_status moe_out_flush(struct moe_out *out, struct moe_err *err);
uint64_t moe_out_bytes(const struct moe_out *out);   /* appended so far */
const char *moe_out_path(const struct moe_out *out);
/* Frees out whatever happens. On failure nothing is left under either name (except what was there before). */
MOE_MUST_USE enum moe_status moe_out_commit(struct moe_out *out, struct moe_err *err);
void moe_out_abort(struct moe_out *out);   /* NULL is fine; a partial file stays, unless nothing was written to it */

/* All of a text, as an output of its own. */
MOE_MUST_USE enum moe_status moe_out_text(const struct moe_buf *text, const char *path, unsigned flags,
                                          struct moe_watch *watch, struct moe_err *err);

/* A new directory filled under a temporary name, renamed into place at commit; same promises as moe_out.
 * With MOE_OUT_FORCE an existing directory is replaced by rename, never emptied first, and only if it is empty or holds
 * what such an output holds: a checkpoint, or shards. */
struct moe_outdir;
/* As moe_out_check. */
MOE_MUST_USE enum moe_status moe_outdir_check(const char *path, unsigned flags, struct moe_watch *watch,
                                              struct moe_err *err);
/* As moe_out_room. */
MOE_MUST_USE enum moe_status moe_outdir_room(const struct moe_outdir *dir, uint64_t n_bytes, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_outdir_open(struct moe_outdir **out, const char *path, unsigned flags,
                                             struct moe_watch *watch, struct moe_err *err);
/* Opens name inside (creating subdirectories of name) for writing; commit or abort it as any moe_out. */
MOE_MUST_USE enum moe_status moe_outdir_file(struct moe_outdir *dir, const char *name, struct moe_out **out,
                                             struct moe_err *err);
/* The same in a directory opened with MOE_OUT_RESUME, where the first n_kept bytes stay as they are. */
MOE_MUST_USE enum moe_status moe_outdir_file_kept(struct moe_outdir *dir, const char *name, uint64_t n_kept,
                                                  struct moe_out **out, struct moe_err *err);
const char *moe_outdir_temp(const struct moe_outdir *dir);   /* where it is being filled */
MOE_MUST_USE enum moe_status moe_outdir_commit(struct moe_outdir *dir, struct moe_err *err);
void moe_outdir_abort(struct moe_outdir *dir);

/* MOE_EIO naming the file system of `path` if fewer than n_bytes are free there; unknown counts as enough. */
MOE_MUST_USE enum moe_status moe_free_space(const char *path, uint64_t n_bytes, struct moe_err *err);

bool moe_is_dir(const char *path);
/* What is there, links followed: "a directory", "a FIFO", "a symbolic link to nothing", ...; NULL for a regular file
 * and for nothing at all. */
const char *moe_path_kind(const char *path);
bool moe_is_file(const char *path);
/* dir "/" name, malloc'd; NULL when out of memory. */
char *moe_path_join(const char *dir, const char *name);
/* The part behind the last '/', a view. */
const char *moe_path_base(const char *path);

#endif
