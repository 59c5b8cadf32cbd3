/* Single choices become sequences: sorted by sequence, position and layer, checked, and spread over arrays. */
#include "trace/choices.h"

#include <stdlib.h>
#include <string.h>

#include "trace/record.h"

#define PIECE_CHOICES (1 << 18)   /* of a run that is delivered */
/* A choice may leave this many others out: tokens, layers and top_k of a trace are a box, which is held whole. Without
 * a bound a few lines could ask for a box of any size. */
#define MAX_EMPTY 256
#define FREE_EMPTY (1 << 20)

void moe_choices_free(struct moe_choices *c)
{
	free(c->rows);
	free(c->sources);
	free(c->paths);
	*c = (struct moe_choices) {0};
}

void moe_choices_file(struct moe_choices *c) { c->first_seq = c->end_seq; }

enum moe_status moe_choices_source(struct moe_choices *c, struct moe_intake *in, const char *path, const char *label,
                                   size_t n, uint32_t *out, struct moe_err *err)
{
	const uint32_t last = c->n_sources - 1;
	if (n > MOE_TRACE_SOURCE_MAX || memchr(label, 0, n))
		return moe_err_set(err, MOE_EFORMAT, "%s: a source label of %zu bytes; expected at most %u, and no "
		                   "NUL among them", path, n, MOE_TRACE_SOURCE_MAX);
	*out = last;
	if (c->n_sources && c->paths[last] == path && strlen(c->sources[last]) == n &&
	    memcmp(c->sources[last], label, n) == 0)
		return MOE_OK;
	if (c->n_sources == c->cap_sources) {
		const uint32_t cap = c->cap_sources ? 2 * c->cap_sources : 16;
		const char **sources = cap > c->cap_sources ? realloc(c->sources, cap * sizeof *sources) : NULL;
		if (sources)
			c->sources = sources;
		const char **paths = sources ? realloc(c->paths, cap * sizeof *paths) : NULL;
		if (!paths)
			return moe_err_nomem(err, cap * sizeof *paths, "source labels");
		c->paths = paths;
		c->cap_sources = cap;
	}
	c->sources[c->n_sources] = moe_arena_strndup(&in->arena, label, n);
	if (!c->sources[c->n_sources])
		return moe_err_nomem(err, n, "a source label");
	c->paths[c->n_sources] = path;
	*out = c->n_sources++;
	return MOE_OK;
}

enum moe_status moe_choices_add(struct moe_choices *c, const struct moe_choice *row, const char *where,
                                struct moe_err *err)
{
	int64_t seq;
	if (row->seq < 0 || __builtin_add_overflow(row->seq, c->first_seq, &seq) || seq == INT64_MAX)
		return moe_err_set(err, MOE_EFORMAT, "%s: sequence: expected a number from 0, found %lld", where,
		                   (long long)row->seq);
	if (row->pos < 0 || row->pos > INT64_MAX / 2)
		return moe_err_set(err, MOE_EFORMAT, "%s: position: expected a number from 0, found %lld", where,
		                   (long long)row->pos);
	if (row->token < -1)
		return moe_err_set(err, MOE_EFORMAT, "%s: token id: expected a number from 0, or -1, found %d", where,
		                   row->token);
	if (c->n == c->cap) {
		const size_t cap = c->cap ? 2 * c->cap : 1024;
		struct moe_choice *rows = realloc(c->rows, cap * sizeof *rows);
		if (!rows)
			return moe_err_nomem(err, cap * sizeof *rows, "choices");
		c->rows = rows;
		c->cap = cap;
	}
	c->rows[c->n] = *row;
	c->rows[c->n++].seq = seq;
	if (seq >= c->end_seq)
		c->end_seq = seq + 1;
	return MOE_OK;
}

/* ---- order ---- */

static int compare_place(const struct moe_choice *a, const struct moe_choice *b)
{
	return a->seq != b->seq ? (a->seq < b->seq ? -1 : 1) : a->pos != b->pos ? (a->pos < b->pos ? -1 : 1) :
	       a->layer != b->layer ? (a->layer < b->layer ? -1 : 1) : 0;
}

/* Stable, by merging halves; what is sorted is left as it is. */
static void merge_sort(struct moe_choice *rows, struct moe_choice *room, size_t n)
{
	const size_t half = n / 2;
	if (n < 2)
		return;
	merge_sort(rows, room, half);
	merge_sort(rows + half, room, n - half);
	if (compare_place(&rows[half - 1], &rows[half]) <= 0)
		return;
	memcpy(room, rows, half * sizeof *rows);
	size_t a = 0, b = half, to = 0;
	while (a < half)
		rows[to++] = b < n && compare_place(&rows[b], &room[a]) < 0 ? rows[b++] : room[a++];
}

static enum moe_status sort(struct moe_choices *c, struct moe_err *err)
{
	size_t i = 1;
	while (i < c->n && compare_place(&c->rows[i - 1], &c->rows[i]) <= 0)
		i++;
	if (i >= c->n)
		return MOE_OK;
	struct moe_choice *room = malloc(c->n / 2 * sizeof *room + 1);
	if (!room)
		return moe_err_nomem(err, c->n / 2 * sizeof *room, "choices");
	merge_sort(c->rows, room, c->n);
	free(room);
	return MOE_OK;
}

/* ---- what is there ---- */

static int compare_layers(const void *left, const void *right)
{
	const int32_t a = *(const int32_t *)left, b = *(const int32_t *)right;
	return (a > b) - (a < b);
}

/* *out [*n_out]: the layers there are, ascending; malloc'd. */
static enum moe_status find_layers(const struct moe_choices *c, int32_t **out, int32_t *n_out, struct moe_err *err)
{
	int32_t *layers = malloc(c->n * sizeof *layers);
	size_t n = 0;
	if (!layers)
		return moe_err_nomem(err, c->n * sizeof *layers, "layers");
	for (size_t i = 0; i < c->n; i++)   /* of a sorted token they ascend, so that most are seen at once */
		if (n == 0 || layers[n - 1] != c->rows[i].layer)
			layers[n++] = c->rows[i].layer;
	qsort(layers, n, sizeof *layers, compare_layers);
	*n_out = 0;
	for (size_t i = 0; i < n && *n_out < INT32_MAX; i++)
		if (i == 0 || layers[i] != layers[*n_out - 1])
			layers[(*n_out)++] = layers[i];
	*out = layers;
	return MOE_OK;
}

/* Drops what cannot be, and finds the most choices of a token in one layer and the number of tokens. */
static enum moe_status check(struct moe_choices *c, struct moe_intake *in, int32_t *top_k, int64_t *n_tokens,
                             struct moe_err *err)
{
	size_t to = 0;
	int32_t n_here = 0;
	*top_k = 0;
	*n_tokens = 0;
	for (size_t i = 0; i < c->n; i++) {
		const struct moe_choice row = c->rows[i], *last = to ? &c->rows[to - 1] : NULL;
		const struct moe_place place = { .path = c->paths[row.source], .line = row.line, .array = "",
			                         .token = row.pos, .layer = row.layer };
		bool kept = false;
		if (!last || compare_place(last, &row) != 0) {
			moe_intake_token(in);
			n_here = 0;
		}
		enum moe_status status = moe_intake_choice(in, row.expert, row.weight, &place, &kept, err);
		if (status)
			return status;
		if (last && last->seq == row.seq &&
		    ((last->pos == row.pos && last->token != row.token) ||
		     (last->source != row.source && strcmp(c->sources[last->source], c->sources[row.source]) != 0)))
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: line %lld: another token id or source than line %lld for the same "
			                   "token or sequence", place.path, (long long)row.line,
			                   (long long)last->line);
		if (!kept)
			continue;
		*n_tokens += !last || last->seq != row.seq || last->pos != row.pos;
		*top_k = ++n_here > *top_k ? n_here : *top_k;
		if (in->has_config && n_here > in->header.top_k)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: line %lld: token %lld chooses more experts in layer %d than the %d "
			                   "that %s says", place.path, (long long)row.line, (long long)row.pos,
			                   row.layer, in->header.top_k, in->opts->config_path);
		c->rows[to++] = row;
	}
	c->n = to;
	return MOE_OK;
}

/* ---- runs ---- */

struct space {
	int32_t *tokens, *ids;      /* [piece], [n_layers][piece][top_k] */
	float *weights;
	int32_t *n_made;            /* [n_layers] choices of the current token so far */
	struct moe_routing *layers;
	int64_t piece;
	struct moe_trace_run run;
};

static enum moe_status space_open(struct space *s, const struct moe_trace_header *h, int64_t n_tokens,
                                  struct moe_err *err)
{
	const int64_t per_token = (int64_t)h->n_layers * h->top_k;
	s->piece = PIECE_CHOICES / per_token > 0 ? PIECE_CHOICES / per_token : 1;
	if (s->piece > n_tokens)
		s->piece = n_tokens;
	const size_t n = (size_t)(s->piece * per_token);
	s->tokens = malloc((size_t)s->piece * sizeof *s->tokens);
	s->ids = malloc(n * sizeof *s->ids);
	s->weights = calloc(n, sizeof *s->weights);
	s->n_made = calloc((size_t)h->n_layers, sizeof *s->n_made);
	s->layers = calloc((size_t)h->n_layers, sizeof *s->layers);
	if (!s->tokens || !s->ids || !s->weights || !s->n_made || !s->layers)
		return moe_err_nomem(err, n * 8, "choices");
	return MOE_OK;
}

static void space_close(struct space *s)
{
	free(s->tokens);
	free(s->ids);
	free(s->weights);
	free(s->n_made);
	free(s->layers);
}

/* Delivers the run gathered. Its layers lie `piece` tokens apart. */
static enum moe_status flush(struct space *s, struct moe_intake *in, struct moe_err *err)
{
	const struct moe_trace_header *h = &in->header;
	if (s->run.n_tokens == 0)
		return MOE_OK;
	for (int32_t l = 0; l < h->n_layers; l++) {
		const size_t at = (size_t)l * (size_t)s->piece * (size_t)h->top_k;
		s->layers[l] = (struct moe_routing) {
			.layer = h->layers[l], .n_experts = h->n_experts, .top_k = h->top_k,
			.n_tokens = s->run.n_tokens, .ids = s->ids + at,
			.weights = h->gates == MOE_GATES_NONE ? NULL : s->weights + at,
		};
	}
	s->run.tokens = s->tokens;
	s->run.layers = s->layers;
	enum moe_status status = in->sink->run(in->sink->arg, &s->run, err);
	s->run.n_tokens = 0;
	return status;
}

/* A new token at the end of the run, without choices yet. */
static void open_token(struct space *s, const struct moe_trace_header *h, int32_t token)
{
	const int64_t t = s->run.n_tokens++;
	s->tokens[t] = token;
	for (int32_t l = 0; l < h->n_layers; l++) {
		const size_t at = ((size_t)l * (size_t)s->piece + (size_t)t) * (size_t)h->top_k;
		for (int32_t i = 0; i < h->top_k; i++) {
			s->ids[at + (size_t)i] = -1;
			s->weights[at + (size_t)i] = 0;
		}
		s->n_made[l] = 0;
	}
}

static enum moe_status spread(const struct moe_choices *c, struct moe_intake *in, struct space *s, struct moe_err *err)
{
	const struct moe_trace_header *h = &in->header;
	for (size_t i = 0; i < c->n; i++) {
		const struct moe_choice *row = &c->rows[i], *last = i ? row - 1 : NULL;
		if (!last || last->seq != row->seq || last->pos != row->pos) {
			if (!last || last->seq != row->seq || last->pos + 1 != row->pos ||
			    s->run.n_tokens == s->piece) {
				enum moe_status status = flush(s, in, err);
				if (status)
					return status;
				s->run.seq = row->seq;
				s->run.pos = row->pos;
				s->run.source = c->sources[row->source];
			}
			open_token(s, h, row->token);
		}
		const int32_t *found =
			bsearch(&row->layer, h->layers, (size_t)h->n_layers, sizeof *h->layers, compare_layers);
		const int32_t l = (int32_t)(found - h->layers);
		const size_t at = ((size_t)l * (size_t)s->piece + (size_t)s->run.n_tokens - 1) * (size_t)h->top_k +
			          (size_t)s->n_made[l]++;
		s->ids[at] = (int32_t)row->expert;
		s->weights[at] = row->weight;
	}
	return flush(s, in, err);
}

enum moe_status moe_choices_deliver(struct moe_choices *c, struct moe_intake *in, const char *what, struct moe_err *err)
{
	struct space space = {0};
	int32_t *layers = NULL, n_layers = 0, top_k = 0;
	int64_t n_tokens = 0;
	enum moe_status status = sort(c, err);
	if (!status)
		status = check(c, in, &top_k, &n_tokens, err);
	if (!status && c->n == 0)
		status = moe_err_set(err, MOE_EFORMAT, "%s: expected choices of experts, found none", what);
	if (!status)
		status = find_layers(c, &layers, &n_layers, err);
	if (!status && in->has_config)
		top_k = in->header.top_k;
	if (!status && (double)n_tokens * n_layers * top_k > (double)c->n * MAX_EMPTY + FREE_EMPTY)
		status = moe_err_set(err, MOE_EFORMAT,
		                     "%s: %zu choices for %lld tokens in %d layers with %d each: more than %d of %d "
		                     "places would be empty", what, c->n, (long long)n_tokens, n_layers, top_k,
		                     MAX_EMPTY - 1, MAX_EMPTY);
	if (!status)
		status = moe_intake_begin(in, layers, n_layers, top_k, c->weights, false, what, err);
	if (!status)
		status = space_open(&space, &in->header, n_tokens, err);
	if (!status)
		status = spread(c, in, &space, err);
	space_close(&space);
	free(layers);
	return status;
}

enum moe_status moe_choices_run(char *const *files, int n_files, const struct moe_import_opts *opts,
                                const struct moe_import_sink *sink, const char *kind,
                                enum moe_status (*read_file)(struct moe_intake *in, struct moe_choices *all,
                                                             const char *path, struct moe_err *err),
                                struct moe_err *err)
{
	struct moe_intake in = {0};
	struct moe_choices all = {0};
	enum moe_status status = moe_intake_open(&in, opts, sink, kind, err);
	for (int i = 0; !status && i < n_files; i++)
		status = read_file(&in, &all, files[i], err);
	if (!status)
		status = moe_choices_deliver(&all, &in, files[n_files - 1], err);
	moe_choices_free(&all);
	moe_intake_close(&in);
	return status;
}
