/* Gathering loads from files, in one pass over each. */
#include "stats/gather.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/table.h"
#include "stats/layers.h"
#include "stats/pair.h"
#include "trace/trace.h"

/* The loads so far. Labels are found by binary search over `order`. */
struct gatherer {
	struct moe_gather *out;
	const struct moe_gather_opts *opts;
	struct moe_load shape; /* layers, experts, model of all files so far; no counts; n_layers 0: no file yet */
	size_t *order; /* [out->n] indices of sources, by name */
	size_t cap;
	size_t last; /* index of the source of the last run */
	bool tokens_unknown; /* a load table did not say how many */
	bool found; /* something of the source asked for */
	int64_t n_parts; /* of the files before this one */
	int64_t last_part; /* of this one, so far */
	struct moe_pair pair; /* of opts->against */
	int64_t n_tokens; /* so far: windows are counted by them */
	struct moe_routing *cut, *cut_against; /* [n_layers] of a piece of a run, and of the other trace */
};

/* The layers of one run, to be added in parallel: each layer is a row of its own. */
struct addition {
	struct moe_load *load;
	const struct moe_trace_run *run;
	struct moe_err *errs; /* [n_layers] */
};

static const char *shown(const char *path) { return strcmp(path, "-") == 0 ? "stdin" : path; }

/* The first byte of an open file without taking it, or -1: at the end, or where peeking is not possible. */
static int peek(int fd)
{
	unsigned char byte;
	struct stat st;
	int ends[2];
	ssize_t n = -1;

	if (fstat(fd, &st))
		return -1;
	if (S_ISFIFO(st.st_mode)) {
		if (pipe2(ends, O_CLOEXEC))
			return -1;
		do
			n = tee(fd, ends[1], 1, 0);
		while (n < 0 && errno == EINTR);
		if (n == 1)
			n = read(ends[0], &byte, 1);
		close(ends[0]);
		close(ends[1]);
	} else if (S_ISSOCK(st.st_mode)) {
		n = recv(fd, &byte, 1, MSG_PEEK);
	} else if (S_ISREG(st.st_mode)) {
		off_t at = lseek(fd, 0, SEEK_CUR);

		n = at < 0 ? -1 : pread(fd, &byte, 1, at);
	}
	return n == 1 ? byte : -1;
}

/* The fields of a trace that anybody asks for. */
static unsigned wanted_fields(const struct moe_gather_opts *opts)
{
	return moe_metrics_read(opts->metrics, opts->n_metrics) | (opts->no_weights ? 0 : MOE_TRACE_GATES);
}

/* Makes room for one more source. */
static enum moe_status grow(struct gatherer *g, struct moe_err *err)
{
	size_t cap = g->cap ? 2 * g->cap : 8;
	void *grown;

	if (g->out->n < g->cap)
		return MOE_OK;
	grown = reallocarray(g->out->loads, cap, sizeof *g->out->loads);
	if (!grown)
		goto nomem;
	g->out->loads = grown;
	grown = reallocarray(g->out->sources, cap, sizeof *g->out->sources);
	if (!grown)
		goto nomem;
	g->out->sources = grown;
	grown = reallocarray(g->order, cap, sizeof *g->order);
	if (!grown)
		goto nomem;
	g->order = grown;
	grown = reallocarray(g->out->feeds, cap, sizeof *g->out->feeds);
	if (!grown)
		goto nomem;
	g->out->feeds = grown;
	grown = reallocarray(g->out->bootstraps, cap, sizeof *g->out->bootstraps);
	if (!grown)
		goto nomem;
	g->out->bootstraps = grown;
	g->cap = cap;
	return MOE_OK;
nomem:
	return moe_err_nomem(err, cap * sizeof *g->out->loads, "the loads of sources");
}

/* Index of the load of a source: made, empty, when it is new. */
static enum moe_status find_load(struct gatherer *g, const char *source, size_t *index, struct moe_err *err)
{
	struct moe_gather *out = g->out;
	size_t lo = 0, hi = out->n;
	enum moe_status status;

	if (out->n > 0 && strcmp(out->sources[g->last], source) == 0) {
		*index = g->last;
		return MOE_OK;
	}
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int order = strcmp(out->sources[g->order[mid]], source);

		if (order == 0) {
			*index = g->last = g->order[mid];
			return MOE_OK;
		}
		if (order < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	status = grow(g, err);
	if (status)
		return status;
	out->sources[out->n] = strdup(source);
	if (!out->sources[out->n])
		return moe_err_nomem(err, strlen(source) + 1, "the name of a source");
	out->feeds[out->n] = NULL;
	out->bootstraps[out->n] = NULL;
	status = moe_load_init(&out->loads[out->n], g->shape.layers, g->shape.n_layers, g->shape.n_experts, err);
	if (!status && out->feeder)
		status = moe_feed_new(&out->feeds[out->n], out->feeder, err);
	if (!status && g->opts->resample)
		status = moe_bootstrap_new(&out->bootstraps[out->n], &(struct moe_bootstrap_opts){
			.n_layers = g->shape.n_layers, .n_experts = g->shape.n_experts, .seed = g->opts->seed,
			.feeder = out->feeder, .gates = wanted_fields(g->opts) & MOE_TRACE_GATES}, err);
	if (status) {
		moe_load_free(&out->loads[out->n]);
		moe_feed_free(out->feeds[out->n]);
		free(out->sources[out->n]);
		return status;
	}
	memmove(g->order + lo + 1, g->order + lo, (out->n - lo) * sizeof *g->order);
	g->order[lo] = out->n;
	*index = g->last = out->n++;
	return MOE_OK;
}

/* Files must be of one model, as far as they say; the first that names it names it for all. */
static enum moe_status check_shape(struct gatherer *g, const struct moe_load *shape, const char *path,
                                   struct moe_err *err)
{
	struct moe_err inner = {0};
	enum moe_status status;

	if (g->shape.n_layers == 0)
		status = moe_load_init(&g->shape, shape->layers, shape->n_layers, shape->n_experts, &inner);
	else
		status = moe_load_alike(&g->shape, shape, &inner);
	if (!status && !*g->shape.model)
		status = moe_load_set_model(&g->shape, shape->model, &inner);
	return status ? moe_err_set(err, status, "%s: %s", shown(path), inner.text) : MOE_OK;
}

static void add_some(void *arg, int64_t begin, int64_t end, int thread)
{
	struct addition *a = arg;

	(void)thread;
	for (int64_t i = begin; i < end; i++) {
		/* The failure is kept in errs[i].status. */
		enum moe_status status = moe_load_add(a->load, &a->run->layers[i], &a->errs[i]);

		(void)status;
	}
}

static enum moe_status add_layers(struct gatherer *g, struct moe_load *load, const struct moe_trace_run *run,
                                  struct moe_err *err)
{
	struct addition a = {.load = load, .run = run};
	enum moe_status status = MOE_OK;

	/* Small runs are not worth waking anybody. */
	if (moe_pool_threads(g->opts->pool) == 1 || run->n_tokens * run->layers[0].top_k < 2048) {
		for (int32_t i = 0; i < load->n_layers && !status; i++)
			status = moe_load_add(load, &run->layers[i], err);
		return status;
	}
	a.errs = calloc((size_t)load->n_layers, sizeof *a.errs);
	if (!a.errs)
		return moe_err_nomem(err, (size_t)load->n_layers * sizeof *a.errs, "counting");
	moe_pool_for(g->opts->pool, load->n_layers, 1, add_some, &a);
	for (int32_t i = 0; i < load->n_layers && !status; i++)
		if (a.errs[i].status)
			status = moe_err_set(err, a.errs[i].status, "%s", a.errs[i].text);
	free(a.errs);
	return status;
}

/* Tokens of one label, and what another trace says of them. */
static enum moe_status add_piece(struct gatherer *g, const struct moe_trace_run *run, const struct moe_routing *against,
                                 const char *label, const char *path, struct moe_err *err)
{
	struct moe_err inner = {0};
	enum moe_status status;
	size_t i;

	status = find_load(g, label, &i, err);
	if (status)
		return status;
	g->found |= run->n_tokens > 0;
	if (!run->layers[0].weights && !g->opts->no_weights)
		g->out->no_gates = true;
	g->out->loads[i].n_tokens += (uint64_t)run->n_tokens;
	status = add_layers(g, &g->out->loads[i], run, &inner);
	if (!status && g->opts->quarters)
		status = add_layers(g, &g->out->quarters[(g->n_parts + run->part) & 1][run->seq & 1], run, &inner);
	if (!status && g->opts->resample)
		status = moe_bootstrap_add(g->out->bootstraps[i], g->n_parts + run->part, run, against, &inner);
	if (!status && g->out->feeder)
		status = moe_feed_add(g->out->feeds[i], g->n_parts + run->part, run, against, &inner);
	return status ? moe_err_set(err, status, "%s: %s", shown(path), inner.text) : MOE_OK;
}

/* How many of n tokens have the label of the first, which is at `pos` of its sequence; the label goes to text [48]. */
static int64_t label_of(const struct gatherer *g, int64_t pos, int64_t n, char *text)
{
	int64_t left, first = 1;

	if (g->opts->window_tokens > 0) {
		snprintf(text, 48, "%jd", g->n_tokens / g->opts->window_tokens);
		left = g->opts->window_tokens - g->n_tokens % g->opts->window_tokens;
		return n < left ? n : left;
	}
	if (pos < 2) {
		snprintf(text, 48, "%jd", pos);
		return 1;
	}
	while (first <= pos / 2)
		first *= 2;
	snprintf(text, 48, "%jd-%jd", first, first + (first - 1));
	left = first - (pos - first);
	return n < left ? n : left;
}

static enum moe_status add_labelled(struct gatherer *g, const struct moe_trace_run *run,
                                    const struct moe_routing *against, const char *path, struct moe_err *err)
{
	const struct moe_gather_opts *opts = g->opts;
	struct moe_trace_run piece;
	enum moe_status status = MOE_OK;
	char label[48];

	if (opts->window_tokens == 0 && !opts->by_position)
		return add_piece(g, run, against, opts->by_source ? run->source : "", path, err);
	for (int64_t at = 0, n; at < run->n_tokens && !status; at += n) {
		n = label_of(g, run->pos + at, run->n_tokens - at, label);
		moe_run_cut(run, g->shape.n_layers, at, n, g->cut, &piece);
		if (against)
			for (int32_t l = 0; l < g->shape.n_layers; l++) {
				g->cut_against[l] = against[l];
				g->cut_against[l].ids += at * against[l].top_k;
				g->cut_against[l].n_tokens = n;
			}
		g->n_tokens += n;
		status = add_piece(g, &piece, against ? g->cut_against : NULL, label, path, err);
	}
	return status;
}

static enum moe_status add_run(struct gatherer *g, const struct moe_trace_run *run, const char *path,
                               struct moe_err *err)
{
	const char *source = g->opts->source;
	bool wanted = !source || strcmp(run->source, source) == 0;
	struct moe_err inner = {0};
	enum moe_status status = MOE_OK;

	g->last_part = run->part;
	if (!g->pair.in)
		return wanted ? add_labelled(g, run, NULL, path, err) : MOE_OK;
	/* Tokens that are left out pass by in the other trace too. */
	for (int64_t at = 0; at < run->n_tokens && !status; at += g->pair.piece.n_tokens) {
		status = moe_pair_next(&g->pair, g->n_parts + run->part, run, at, &inner);
		if (status)
			return moe_err_set(err, status, "%s: %s", shown(path), inner.text);
		if (wanted)
			status = add_labelled(g, &g->pair.piece, g->pair.other, path, err);
	}
	return status;
}

/* A part begins: does it keep what the metrics need? The first one says what they are told. */
static enum moe_status meet_part(struct gatherer *g, const struct moe_trace_header *head, const char *path,
                                 struct moe_err *err)
{
	const struct moe_gather_opts *opts = g->opts;
	struct moe_gather *out = g->out;
	struct moe_err inner = {0};
	bool *marks = NULL;
	enum moe_status status = moe_metrics_check(opts->metrics, opts->n_metrics, head, &inner);

	if (!status && g->pair.in)
		status = moe_pair_meet(&g->pair, head, &inner);
	if (!status && !g->cut) {
		g->cut = calloc((size_t)head->n_layers, sizeof *g->cut);
		g->cut_against = calloc((size_t)head->n_layers, sizeof *g->cut_against);
		if (!g->cut || !g->cut_against)
			status = moe_err_nomem(&inner, 2 * (size_t)head->n_layers * sizeof *g->cut,
			                       "the layers of a run");
	}
	if (!status && out->feeder)
		status = moe_feeder_alike(out->feeder, head, &inner);
	else if (!status && moe_metrics_stream(opts->metrics, opts->n_metrics)) {
		status = moe_layers_mark(head->layers, head->n_layers, opts->layers, &marks, &inner);
		if (!status)
			status = moe_feeder_new(&out->feeder, opts->metrics, opts->n_metrics, opts->params, head,
			                        marks, opts->pool, &inner);
		free(marks);
	}
	return status ? moe_err_set(err, status, "%s: %s", shown(path), inner.text) : MOE_OK;
}

/* fd < 0: stdin; otherwise it is closed here. */
static enum moe_status gather_trace(struct gatherer *g, int fd, const char *path, struct moe_err *err)
{
	const struct moe_gather_opts *opts = g->opts;
	const struct moe_trace_header *head;
	const struct moe_trace_run *run;
	struct moe_load shape = {0};
	struct moe_trace_in *in;
	uint64_t n_read, n_total;
	int64_t part = 0;
	size_t unused;
	enum moe_status status;

	if (fd < 0)
		status = moe_trace_open(&in, path, opts->pool, opts->watch, err);
	else
		status = moe_trace_open_fd(&in, fd, path, opts->pool, err);
	if (status)
		return status;
	head = moe_trace_head(in);
	shape = (struct moe_load){.n_layers = head->n_layers, .n_experts = head->n_experts};
	shape.layers = (int32_t *)(uintptr_t)head->layers; /* only looked at */
	status = moe_load_set_model(&shape, *head->model_hash ? head->model_hash : head->model, err);
	if (!status)
		status = check_shape(g, &shape, path, err);
	free(shape.model);
	if (!status)
		status = meet_part(g, head, path, err);
	moe_trace_want(in, wanted_fields(opts));
	for (int q = 0; q < 4 && !status && opts->quarters; q++)
		if (g->out->quarters[q / 2][q % 2].n_layers == 0)
			status = moe_load_init(&g->out->quarters[q / 2][q % 2], g->shape.layers, g->shape.n_layers,
			                       g->shape.n_experts, err);
	/* A trace without tokens has a load as well: all zeros. */
	if (!status && !opts->by_source && !opts->by_position && opts->window_tokens == 0)
		status = find_load(g, "", &unused, err);
	while (!status) {
		status = moe_trace_next(in, &run, err);
		if (status || !run)
			break;
		if (run->part != part) {
			part = run->part;
			status = meet_part(g, moe_trace_head(in), path, err);
			if (status)
				break;
		}
		status = add_run(g, run, path, err);
		if (opts->progress) {
			moe_trace_progress(in, &n_read, &n_total);
			opts->progress(opts->arg, path, n_read, n_total);
		}
	}
	g->n_parts += g->last_part + 1;
	g->last_part = 0;
	moe_trace_close(in);
	return status;
}

/* The load of one source, or of all of a table. n_tokens: 0 where the table does not say, or has said it before. */
static enum moe_status add_part(struct gatherer *g, const char *source, const struct moe_load *part, uint64_t n_tokens,
                                struct moe_err *err)
{
	struct moe_load *load;
	enum moe_status status;
	size_t i;

	status = find_load(g, source, &i, err);
	if (status)
		return status;
	load = &g->out->loads[i];
	if (load->n_tokens > UINT64_MAX - n_tokens)
		g->tokens_unknown = true;
	n_tokens += load->n_tokens;
	status = moe_load_merge(load, part, err);
	load->n_tokens = n_tokens;
	return status;
}

static enum moe_status add_parts(struct gatherer *g, const struct moe_load_parts *parts, struct moe_err *err)
{
	const struct moe_gather_opts *opts = g->opts;
	bool whole = !opts->by_source && !opts->source;
	uint64_t n_tokens = whole ? parts->n_tokens : parts->loads[0].n_tokens;
	enum moe_status status = MOE_OK;

	for (size_t p = 0; p < parts->n && !status; p++) {
		if (opts->source && strcmp(parts->sources[p], opts->source) != 0)
			continue;
		g->found = true;
		if (n_tokens == 0)
			g->tokens_unknown = true;
		status = add_part(g, opts->by_source ? parts->sources[p] : "", &parts->loads[p], p ? 0 : n_tokens, err);
	}
	return status;
}

static bool looks_unpacked(const struct moe_buf *text)
{
	const size_t n = strlen(MOE_TRACE_MAGIC);

	return text->n >= n && memcmp(text->p, MOE_TRACE_MAGIC, n) == 0;
}

/* fd < 0: stdin; otherwise it is closed here. */
static enum moe_status gather_table(struct gatherer *g, int fd, const char *path, struct moe_err *err)
{
	struct moe_err inner = {0};
	struct moe_buf text = {0};
	struct moe_load_parts parts = {0};
	enum moe_status status;

	const bool is_foreign = fd >= 0 && (moe_load_is_gguf(path) || moe_load_is_torch(path));
	status = is_foreign ? moe_load_parts_read(&parts, path, err)
	                    : moe_table_text(&text, fd < 0 ? STDIN_FILENO : fd, shown(path), err);
	if (fd >= 0)
		close(fd);
	/* Such a file is refused for its NUL bytes, behind these. */
	if (looks_unpacked(&text))
		status = moe_err_set(err, MOE_EFORMAT,
		                     "%s: expected a trace or a load table, found what looks like an unpacked trace: "
		                     "traces are read as they were written, in gzip blocks", shown(path));
	if (!status && !is_foreign)
		status = moe_load_parts_parse(&parts, text.p ? text.p : "", text.n, shown(path), err);
	moe_buf_free(&text);
	if (status)
		return status;
	g->out->has_table = true;
	if (moe_metrics_stream(g->opts->metrics, g->opts->n_metrics)) {
		status = moe_err_set(err, MOE_EUSAGE,
		                     "%s: %s reads the tokens of a trace; a load table has counts only", shown(path),
		                     moe_metrics_stream(g->opts->metrics, g->opts->n_metrics));
		goto out;
	}
	if (g->opts->by_position || g->opts->window_tokens > 0 || g->opts->resample) {
		status = moe_err_set(err, MOE_EUSAGE,
		                     "%s: a load table does not know tokens and sequences: windows, positions and "
		                     "resamples need the traces it was made from", shown(path));
		goto out;
	}
	if (!parts.sources && (g->opts->by_source || g->opts->source)) {
		status = moe_err_set(err, MOE_EUSAGE,
		                     "%s: a load table without a column 'source': give one that has it, or the traces "
		                     "it was made from",
		                     shown(path));
		goto out;
	}
	status = check_shape(g, &parts.loads[0], path, err);
	if (status)
		goto out;
	status = add_parts(g, &parts, &inner);
	if (status)
		moe_err_set(err, status, "%s: %s", shown(path), inner.text);
out:
	moe_load_parts_free(&parts);
	return status;
}

/* A file is opened once, so that a named pipe whose writer has gone is read as well. */
static enum moe_status gather_file(struct gatherer *g, const char *path, struct moe_err *err)
{
	bool is_stdin = strcmp(path, "-") == 0;
	int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC), first;

	if (fd < 0)
		return moe_err_sys(err, "%s: cannot open", path);
	first = peek(fd);
	if (is_stdin)
		fd = -1;
	return first == 0x1f ? gather_trace(g, fd, path, err) : gather_table(g, fd, path, err); /* 0x1f: gzip */
}

enum moe_status moe_gather_files(struct moe_gather *gather, char *const *paths, int n_paths,
                                 const struct moe_gather_opts *opts, struct moe_err *err)
{
	struct gatherer g = {.out = gather, .opts = opts};
	enum moe_status status = MOE_OK;

	*gather = (struct moe_gather){0};
	if (opts->against)
		status = moe_pair_open(&g.pair, opts->against, opts->pool, opts->watch, err);
	for (int i = 0; i < n_paths && !status; i++)
		status = gather_file(&g, paths[i], err);
	if (!status && opts->against)
		status = moe_pair_end(&g.pair, err);
	for (size_t i = 0; i < gather->n && !status; i++) {
		if (g.tokens_unknown)
			gather->loads[i].n_tokens = 0;
		status = moe_load_set_model(&gather->loads[i], g.shape.model, err);
		if (!status && gather->feeder)
			status = moe_feed_end(gather->feeds[i], err);
		if (!status && opts->resample)
			status = moe_bootstrap_end(gather->bootstraps[i], err);
	}
	if (!status && opts->layers)
		status = moe_gather_keep_layers(gather, opts->layers, err);
	if (!status && opts->source && !g.found)
		status = moe_err_set(err, MOE_EFORMAT,
		                     "%s: no token has the source '%s'; --by source shows which there are",
		                     n_paths == 1 ? shown(paths[0]) : "the inputs", opts->source);
	free(g.order);
	free(g.cut);
	free(g.cut_against);
	moe_pair_close(&g.pair);
	moe_load_free(&g.shape);
	if (status)
		moe_gather_free(gather);
	return status;
}

enum moe_status moe_gather_keep_layers(struct moe_gather *gather, const char *text, struct moe_err *err)
{
	int32_t n = gather->n ? gather->loads[0].n_layers : 0, n_kept = 0;
	int32_t *kept = calloc((size_t)n + 1, sizeof *kept);
	bool *marks = NULL;
	enum moe_status status;

	if (!kept)
		return moe_err_nomem(err, (size_t)n * sizeof *kept, "the list of layers");
	status = moe_layers_mark(n ? gather->loads[0].layers : NULL, n, text, &marks, err);
	for (int32_t l = 0; l < n && !status; l++)
		if (marks[l])
			kept[n_kept++] = gather->loads[0].layers[l];
	for (size_t s = 0; s < gather->n && !status; s++) {
		struct moe_load load;

		status = moe_load_pick(&load, &gather->loads[s], kept, n_kept, err);
		if (status)
			break;
		moe_load_free(&gather->loads[s]);
		gather->loads[s] = load;
		if (gather->bootstraps[s])
			moe_bootstrap_keep(gather->bootstraps[s], marks);
	}
	free(kept);
	free(marks);
	return status;
}

void moe_gather_free(struct moe_gather *gather)
{
	for (size_t i = 0; i < gather->n; i++) {
		moe_load_free(&gather->loads[i]);
		free(gather->sources[i]);
		moe_feed_free(gather->feeds[i]);
		moe_bootstrap_free(gather->bootstraps[i]);
	}
	moe_feeder_free(gather->feeder);
	free(gather->feeds);
	free(gather->bootstraps);
	for (int q = 0; q < 4; q++)
		moe_load_free(&gather->quarters[q / 2][q % 2]);
	free(gather->loads);
	free(gather->sources);
	*gather = (struct moe_gather){0};
}
