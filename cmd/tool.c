/* What every program shares; see tool.h. The few statics are what a signal handler can reach. */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "base/table.h"
#include "route/route.h"

#define BAR_INTERVAL_NS INT64_C(100000000)
#define PLAIN_INTERVAL_NS INT64_C(2000000000)

static struct moe_watch *watched;           /* what a signal sweeps */
static const char *program_name;
static const char *_Atomic interrupt_hint;
static _Atomic bool ending;                 /* a signal ends the program */
static _Atomic bool bar_shown;              /* stderr's last line is a progress bar */
static sigset_t waited, inherited;          /* signals of the waiting thread; the mask the program began with */

static const struct moe_opt common_options[] = {
	MOE_OPT_GROUP("Common options"),
	MOE_OPT_FILE('o', "output", "FILE", struct tool_common, output, "write there [stdout]"),
	MOE_OPT_FLAG(0, "json", struct tool_common, json, "JSON lines instead of a table"),
	MOE_OPT_FLAG(0, "force", struct tool_common, force, "replace existing files; ignore a lack of free space"),
	MOE_OPT_FLAG(0, "dry-run", struct tool_common, dry_run, "say what would be done: files, sizes, memory"),
	MOE_OPT_INT('j', "threads", "N", struct tool_common, threads, 0, 4096,
	            "threads; 0 means all cores allowed [0]"),
	MOE_OPT_I64(0, "seed", "N", struct tool_common, seed, 0, 0x1p63, "seed of random numbers [0]"),
	MOE_OPT_ENUM(0, "progress", "auto|plain|none", struct tool_common, progress,
	             "how progress is shown on stderr [auto]"),
	MOE_OPT_FLAG('q', "quiet", struct tool_common, quiet, "no notes and no progress on stderr"),
	MOE_OPT_FLAG('v', "verbose", struct tool_common, verbose, "more details on stderr"),
	MOE_OPT_FLAG('h', "help", struct tool_common, help, "print this and exit"),
	MOE_OPT_FLAG('V', "version", struct tool_common, version, "print the version and exit"),
	{.kind = MOE_OPT_KIND_FLAG, .name = "complete", .offset = offsetof(struct tool_common, complete)},
	{.kind = MOE_OPT_KIND_STR, .name = "complete-words", .offset = offsetof(struct tool_common, words_of)},
	MOE_OPT_END
};

/* One write, so that lines of several threads do not mix; a progress bar under it is wiped first. */
MOE_PRINTF(2, 0) static void say(const char *kind, const char *fmt, va_list args)
{
	struct moe_buf buf = {0};
	char text[2048];

	vsnprintf(text, sizeof text, fmt, args);
	if (atomic_exchange(&bar_shown, false))
		moe_buf_adds(&buf, "\r\033[K");
	moe_buf_addf(&buf, "%s: %s%s\n", program_name, kind, text);
	if (!buf.failed)
		fwrite(buf.p, 1, buf.n, stderr);
	moe_buf_free(&buf);
}

MOE_PRINTF(1, 2) static void complain(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say("", fmt, args);
	va_end(args);
}

void tool_note(struct tool_ctx *ctx, const char *fmt, ...)
{
	va_list args;

	if (ctx->common.quiet)
		return;
	va_start(args, fmt);
	say("", fmt, args);
	va_end(args);
}

void tool_detail(struct tool_ctx *ctx, const char *fmt, ...)
{
	va_list args;

	if (!ctx->common.verbose)
		return;
	va_start(args, fmt);
	say("", fmt, args);
	va_end(args);
}

void tool_warn(struct tool_ctx *ctx, const char *fmt, ...)
{
	va_list args;

	(void)ctx;
	va_start(args, fmt);
	say("warning: ", fmt, args);
	va_end(args);
}

void tool_would_write(const char *path, double n_bytes)
{
	struct moe_buf name = {0};
	char text[24];

	moe_table_quote(&name, path ? path : "-", path ? strlen(path) : 1);
	printf("writes\t%s\t%s\n", name.failed ? path : name.p,
	       n_bytes < 0 ? "unknown" : moe_format_bytes(text, n_bytes));
	moe_buf_free(&name);
}

/* Once a signal ends the program, the waiting thread alone says how. */
static void yield_to_signal(void)
{
	while (ending)
		pause();
}

static void write_text(const char *text)
{
	/* Nothing is left to do about a stderr that cannot be written. */
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		return;
}

static void *wait_for_signals(void *unused)
{
	sigset_t one;
	int sig;

	(void)unused;
	while (sigwait(&waited, &sig) != 0)
		;
	ending = true;
	moe_watch_sweep(watched);
	if (bar_shown)
		write_text("\n");
	if (interrupt_hint)
		dprintf(STDERR_FILENO, "%s: interrupted: %s\n", program_name, interrupt_hint);
	signal(sig, SIG_DFL);
	sigemptyset(&one);
	sigaddset(&one, sig);
	pthread_sigmask(SIG_UNBLOCK, &one, NULL);
	raise(sig);
	_exit(128 + sig);
}

/* A page of a mapping that is not there any more, or that the disk refuses. */
static void on_sigbus(int sig, siginfo_t *info, void *unused)
{
	const char *path = moe_watch_path_at(watched, info->si_addr);

	(void)unused;
	if (!path) {
		signal(sig, SIG_DFL);
		return;   /* the access faults again, with the default action */
	}
	moe_watch_sweep(watched);
	write_text(program_name);
	write_text(": ");
	write_text(path);
	write_text(": the file became shorter or could not be read while in use (SIGBUS)\n");
	_exit(TOOL_FAILED);
}

/* Whoever reads stdout left: die of the signal as any filter, but leave no temporaries. */
static void on_sigpipe(int sig)
{
	moe_watch_sweep(watched);
	signal(sig, SIG_DFL);
	raise(sig);   /* delivered when the handler returns */
}

/* What was ignored at the start (nohup, background jobs) stays ignored. */
static bool is_ignored(int sig)
{
	struct sigaction now;
	return sigaction(sig, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

static int take_signals(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGXCPU};
	struct sigaction bus = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO}, pipe = {.sa_handler = on_sigpipe};
	pthread_t thread;
	int failed;

	sigemptyset(&waited);
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		if (!is_ignored(signals[i]))
			sigaddset(&waited, signals[i]);
	/* write(2) fails with EFBIG instead. */
	signal(SIGXFSZ, SIG_IGN);
	sigaction(SIGBUS, &bus, NULL);
	if (!is_ignored(SIGPIPE))
		sigaction(SIGPIPE, &pipe, NULL);
	pthread_sigmask(SIG_BLOCK, &waited, &inherited);
	failed = pthread_create(&thread, NULL, wait_for_signals, NULL);
	if (!failed)
		pthread_detach(thread);
	return failed;
}

void tool_spawn_mask(sigset_t *mask) { *mask = inherited; }

/* A missing descriptor would be taken by the first file opened. The placeholders fail when used: reading stdin and
 * writing stdout give EBADF. */
static void fill_descriptors(void)
{
	static const int modes[] = {O_WRONLY, O_RDONLY, O_WRONLY};

	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", modes[fd]) != fd)
			_exit(TOOL_FAILED);
}

/* Flushes and closes stdout; a full disk is found here at the latest. */
static bool close_stdout(void)
{
	int errnum = 0;

	errno = 0;
	if (fflush(stdout) != 0)
		errnum = errno;
	if (ferror(stdout) && !errnum)
		errnum = EIO;
	errno = 0;
	if (fclose(stdout) != 0 && !errnum)
		errnum = errno;
	if (!errnum)
		return true;
	complain("stdout: %s", strerror(errnum));
	return false;
}

static void print_help(const struct tool *tool, const struct moe_opt *const *tables)
{
	struct moe_str rest = moe_str_of(tool->usage), form;
	const char *lead = "usage:";

	while (moe_str_next(&rest, '\n', &form)) {
		printf("%-6s %s %.*s\n", lead, tool->name, (int)form.n, form.p);
		lead = "";
	}
	printf("%s\n\n", tool->about);
	moe_opt_usage(tables, stdout);
}

MOE_NORETURN static void leave(bool good) { exit(good && close_stdout() ? 0 : TOOL_FAILED); }

void tool_start(int argc, char **argv, const struct tool *tool, void *cfg, struct tool_ctx *ctx)
{
	const struct moe_opt *const tables[] = {tool->options, common_options, NULL};
	void *const bases[] = {cfg, &ctx->common};
	struct moe_err err = {0};
	int first = argc, failed;

	program_name = tool->name;
	fill_descriptors();
	*ctx = (struct tool_ctx){.tool = tool, .cfg = cfg};
	if (argc > 0 && moe_opt_parse(argc, argv, tables, bases, &first, &err)) {
		complain("%s", err.text);
		fprintf(stderr, "Try '%s --help'.\n", tool->name);
		exit(err.status == MOE_EUSAGE ? TOOL_MISUSE : TOOL_FAILED);
	}
	if (ctx->common.help)
		print_help(tool, tables);
	else if (ctx->common.version)
		printf("%s %s (moe-tools)\n", tool->name, MOE_VERSION);
	else if (ctx->common.complete)
		moe_opt_complete(tables, stdout);
	else if (ctx->common.words_of && strcmp(ctx->common.words_of, "MODEL") == 0)
		tool_print_samples(tool);
	else if (ctx->common.words_of)
		moe_opt_words(tables, ctx->common.words_of, stdout);
	if (ctx->common.help || ctx->common.version || ctx->common.complete || ctx->common.words_of) {
		moe_opt_free(tables, bases);
		leave(true);
	}
	if (moe_cpu_check(&err)) {
		complain("%s", err.text);
		moe_opt_free(tables, bases);
		exit(err.status == MOE_EUSAGE ? TOOL_MISUSE : TOOL_FAILED);
	}
	ctx->operands = argv + first;
	ctx->n_operands = argc - first;
	if (moe_watch_new(&ctx->watch, &err)) {
		complain("%s", err.text);
		exit(TOOL_FAILED);
	}
	watched = ctx->watch;
	failed = take_signals();
	if (failed) {
		complain("cannot start a thread: %s", strerror(failed));
		exit(TOOL_FAILED);
	}
}

enum moe_status tool_pool(struct tool_ctx *ctx, struct moe_pool **out, struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	if (!ctx->pool)
		status = moe_pool_new(&ctx->pool, ctx->common.threads, err);
	*out = ctx->pool;
	return status;
}

unsigned tool_out_flags(const struct tool_ctx *ctx) { return ctx->common.force ? MOE_OUT_FORCE : 0; }

void tool_values(const struct tool_ctx *ctx, const char *const *skip, struct moe_buf *out)
{
	static const char *const common[] = {"output", "force", "dry-run", "threads", "progress", "quiet", "verbose",
	                                     "help", "version", "complete", "complete-words", NULL};
	const struct moe_opt *const own[] = {ctx->tool->options, NULL}, *const shared[] = {common_options, NULL};
	void *const own_base[] = {ctx->cfg}, *const shared_base[] = {(void *)&ctx->common};

	moe_opt_values(own, own_base, skip, out);
	moe_opt_values(shared, shared_base, common, out);
}

void tool_on_interrupt(struct tool_ctx *ctx, const char *sentence)
{
	(void)ctx;
	interrupt_hint = sentence;
}

/* The watch stays: what is still open may be given up after this. */
static void clean_up(struct tool_ctx *ctx)
{
	const struct moe_opt *const tables[] = {ctx->tool->options, common_options, NULL};
	void *const bases[] = {ctx->cfg, &ctx->common};

	moe_watch_sweep(ctx->watch);
	moe_opt_free(tables, bases);
	moe_pool_free(ctx->pool);
	ctx->pool = NULL;
}

int tool_fail(struct tool_ctx *ctx, const struct moe_err *err)
{
	yield_to_signal();
	complain("%s", *err->text ? err->text : "failed");
	clean_up(ctx);
	return err->status == MOE_EUSAGE ? TOOL_MISUSE : err->status == MOE_ECHECK ? TOOL_CHECK_SAID_NO : TOOL_FAILED;
}

int tool_misuse(struct tool_ctx *ctx, const char *fmt, ...)
{
	va_list args;

	yield_to_signal();
	va_start(args, fmt);
	say("", fmt, args);
	va_end(args);
	fprintf(stderr, "Try '%s --help'.\n", program_name);
	clean_up(ctx);
	return TOOL_MISUSE;
}

int tool_end_check(struct tool_ctx *ctx, bool passed)
{
	bool written;

	yield_to_signal();
	written = close_stdout();
	clean_up(ctx);
	return !written ? TOOL_FAILED : passed ? 0 : TOOL_CHECK_SAID_NO;
}

int tool_end(struct tool_ctx *ctx) { return tool_end_check(ctx, true); }

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void add_amount(struct moe_buf *buf, double amount, enum tool_unit unit)
{
	char text[24];

	if (unit == TOOL_BYTES)
		moe_buf_adds(buf, moe_format_bytes(text, amount));
	else
		moe_buf_addf(buf, amount < 100 ? "%.3g" : "%.0f", amount);
}

/* "label 45%, 1.2 GiB of 2.7 GiB, 310.0 MiB/s, 0:05 left" */
static void describe(const struct tool_progress *p, int64_t now, struct moe_buf *buf)
{
	static const char *const names[] = {"", " tokens", ""};
	double seconds = (double)(now - p->start_ns) * 1e-9, done = (double)p->done;
	double rate = seconds > 0 ? done / seconds : 0;

	moe_buf_addf(buf, "%s ", p->label);
	if (p->total > 0)
		moe_buf_addf(buf, "%.0f%%, ", done * 100 / (double)p->total);
	add_amount(buf, done, p->unit);
	if (p->total > 0) {
		moe_buf_adds(buf, " of ");
		add_amount(buf, (double)p->total, p->unit);
	}
	moe_buf_addf(buf, "%s, ", names[p->unit]);
	add_amount(buf, rate, p->unit);
	moe_buf_adds(buf, "/s");
	if (p->total > 0 && rate > 0 && done < (double)p->total) {
		double left = ((double)p->total - done) / rate;

		if (left < 360000)
			moe_buf_addf(buf, ", %d:%02d left", (int)(left / 60), (int)left % 60);
	}
}

/* Cells of the terminal's line, one spared so that the cursor does not wrap. */
static size_t terminal_width(void)
{
	struct winsize size;
	return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? (size_t)size.ws_col - 1 : 79;
}

static void print_progress(const struct tool_progress *p, int64_t now)
{
	struct moe_buf text = {0};
	size_t width = terminal_width();

	describe(p, now, &text);
	if (text.failed || ending) {
		moe_buf_free(&text);
		return;
	}
	if (p->mode == TOOL_PROGRESS_PLAIN) {
		fprintf(stderr, "%s: %s\n", program_name, text.p);
	} else {
		fprintf(stderr, "\r%.*s\033[K", (int)width, text.p);
		bar_shown = true;
	}
	moe_buf_free(&text);
}

void tool_progress_start(struct tool_progress *p, struct tool_ctx *ctx, const char *label, int64_t total,
                         enum tool_unit unit)
{
	int32_t mode = ctx->common.progress;

	if (ctx->common.quiet || (mode == TOOL_PROGRESS_AUTO && !isatty(STDERR_FILENO)))
		mode = TOOL_PROGRESS_NONE;
	p->ctx = ctx;
	p->label = label;
	p->total = total;
	p->unit = unit;
	p->mode = mode;
	p->start_ns = now_ns();
	p->done = 0;
	/* A bar that would vanish at once is not worth showing. */
	p->next_ns = p->start_ns + (mode == TOOL_PROGRESS_PLAIN ? PLAIN_INTERVAL_NS : 5 * BAR_INTERVAL_NS);
}

void tool_progress_add(struct tool_progress *p, int64_t n)
{
	int64_t now, next;

	p->done += n;
	if (p->mode == TOOL_PROGRESS_NONE)
		return;
	now = now_ns();
	next = p->next_ns;
	if (now < next)
		return;
	/* Whoever moves the time on prints. */
	if (atomic_compare_exchange_strong(&p->next_ns, &next, now + (p->mode == TOOL_PROGRESS_PLAIN
	                                   ? PLAIN_INTERVAL_NS : BAR_INTERVAL_NS)))
		print_progress(p, now);
}

void tool_progress_finish(struct tool_progress *p)
{
	if (p->mode == TOOL_PROGRESS_PLAIN) {
		print_progress(p, now_ns());
	} else if (p->mode == TOOL_PROGRESS_AUTO && bar_shown) {
		print_progress(p, now_ns());
		fputc('\n', stderr);
		bar_shown = false;
	}
	p->mode = TOOL_PROGRESS_NONE;
}
