/* What every program shares: common options, messages with the program's name, signals, progress, checked stdout.
 *
 *	static const struct tool tool = {"moe-x", "[options] MODEL", "what it does", options};
 *
 *	int main(int argc, char **argv)
 *	{
 *		struct config cfg = { ... };
 *		struct tool_ctx ctx;
 *		struct moe_err err = {0};
 *
 *		tool_start(argc, argv, &tool, &cfg, &ctx);
 *		if (run(&ctx, &cfg, &err))
 *			return tool_fail(&ctx, &err);
 *		return tool_end(&ctx);
 *	}
 */
#ifndef MOE_CMD_TOOL_H
#define MOE_CMD_TOOL_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "base/opt.h"
#include "base/pool.h"

/* Exit statuses beside 0. */
enum { TOOL_FAILED = 1, TOOL_MISUSE = 2, TOOL_CHECK_SAID_NO = 3 };

struct tool {
	const char *name;
	const char *usage;              /* behind the name; several forms are separated by '\n' */
	const char *about;              /* one line */
	const struct moe_opt *options;  /* its own; the common ones are added */
};

enum tool_progress_mode { TOOL_PROGRESS_AUTO, TOOL_PROGRESS_PLAIN, TOOL_PROGRESS_NONE };

struct tool_common {
	const char *output;   /* -o, NULL if not given */
	int32_t threads;      /* -j, 0: all */
	int32_t progress;     /* enum tool_progress_mode */
	int64_t seed;
	bool json, force, dry_run, quiet, verbose, help, version, complete;
	const char *words_of;   /* --complete-words: an option's name, or MODEL for the samples there are */
};

/* One per program, filled by tool_start; lives as long as main(). */
struct tool_ctx {
	const struct tool *tool;
	struct tool_common common;
	void *cfg;               /* the struct that tool->options fill */
	char **operands;         /* [n_operands], a view of argv, NULL behind the last */
	int n_operands;
	struct moe_watch *watch; /* for everything that takes one */
	struct moe_pool *pool;   /* NULL until tool_pool */
};

/* Parses argv into cfg and ctx->common, and takes over signals: on SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGXCPU and
 * SIGPIPE temporaries are removed and the signal takes its course; SIGXFSZ is ignored, so that a write beyond the limit
 * fails with a sentence; a page of a mapped file that cannot be read ends the program with one. --help, --version and
 * misuse end the program here. Call it before any thread is started. Child processes inherit blocked signals: start
 * them with tool_spawn_mask's mask. */
void tool_start(int argc, char **argv, const struct tool *tool, void *cfg, struct tool_ctx *ctx);

/* The signal mask this program was started with, for posix_spawnattr_setsigmask. */
void tool_spawn_mask(sigset_t *mask);

/* The threads of -j, made at the first call. */
MOE_MUST_USE enum moe_status tool_pool(struct tool_ctx *ctx, struct moe_pool **out, struct moe_err *err);

/* Before any work. The operands from first_input on are files that are read: no output may replace them. May every
 * output be written, and is each a file of its own? NULL among outputs: an option not given. What a model consists of
 * is known only when it is open, so that moe_out_open asks again. */
MOE_MUST_USE enum moe_status tool_files(struct tool_ctx *ctx, int first_input, const char *const *outputs,
                                        int n_outputs, struct moe_err *err);
/* The same question for an output that is a directory. */
MOE_MUST_USE enum moe_status tool_out_dir(struct tool_ctx *ctx, const char *path, struct moe_err *err);
/* As many open files as the system allows this process. */
void tool_raise_open_files(void);

/* MOE_OUT_FORCE if --force was given. */
unsigned tool_out_flags(const struct tool_ctx *ctx);

/* Appends what of the command line bears on a result: "name=value" lines of all options but those that say where
 * output goes, what is shown, and how many threads compute; and but those in `skip`, a NULL-terminated list. */
void tool_values(const struct tool_ctx *ctx, const char *const *skip, struct moe_buf *out);

/* What an interrupted run prints last, e.g. "--resume continues"; NULL takes it back. The text must stay valid. */
void tool_on_interrupt(struct tool_ctx *ctx, const char *sentence);

/* "NAME: sentence" on stderr; temporaries are removed. The exit status that belongs to err->status. */
int tool_fail(struct tool_ctx *ctx, const struct moe_err *err);
/* Wrong use found after parsing: the sentence, and where help is; status 2. */
int tool_misuse(struct tool_ctx *ctx, const char *fmt, ...) MOE_PRINTF(2, 3);
/* Closes stdout and checks it, frees the rest; 0, or 1 if what was written did not arrive. */
int tool_end(struct tool_ctx *ctx);
/* The same for a program that did its work and whose check said no: 3. */
int tool_end_check(struct tool_ctx *ctx, bool passed);

/* "NAME: ..." on stderr. Notes are silenced by -q, details appear with -v only, warnings always. */
void tool_note(struct tool_ctx *ctx, const char *fmt, ...) MOE_PRINTF(2, 3);
void tool_detail(struct tool_ctx *ctx, const char *fmt, ...) MOE_PRINTF(2, 3);
void tool_warn(struct tool_ctx *ctx, const char *fmt, ...) MOE_PRINTF(2, 3);

/* A row of --dry-run on stdout: "writes FILE SIZE"; NULL is stdout, n_bytes < 0 what only the work itself tells. */
void tool_would_write(const char *path, double n_bytes);

enum tool_unit { TOOL_BYTES, TOOL_TOKENS, TOOL_ITEMS };

/* How far one task is: a line rewritten on a terminal, a line every two seconds with --progress=plain, else nothing. */
struct tool_progress {
	struct tool_ctx *ctx;
	const char *label;      /* view */
	int64_t total;          /* 0: unknown */
	enum tool_unit unit;
	int32_t mode;           /* AUTO: the bar */
	int64_t start_ns;
	_Atomic int64_t done, next_ns;
};

void tool_progress_start(struct tool_progress *progress, struct tool_ctx *ctx, const char *label, int64_t total,
                         enum tool_unit unit);
/* Thread-safe. */
void tool_progress_add(struct tool_progress *progress, int64_t n);
void tool_progress_finish(struct tool_progress *progress);

/* Names of the samples on stdout, one a line, for completion of operands; none for a program that takes no model. */
void tool_print_samples(const struct tool *tool);

/* Where the model called `name` is, malloc'd: an existing path; a sample in $MOE_SHARE, beside the executable, or
 * installed; "org/name" in the local Hugging Face cache. Otherwise a sentence that lists where it looked. */
MOE_MUST_USE enum moe_status tool_model_path(struct tool_ctx *ctx, const char *name, char **out, struct moe_err *err);

#endif
