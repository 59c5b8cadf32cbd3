/* Runs are copied, because those given are views. Every layer lists the tokens of its open group; a run leaves when no
 * layer lists any token of it or of one before. */
#include "trace/limit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

struct piece {
	struct moe_arena arena;
	struct moe_trace_run run;
	struct moe_routing *layers;   /* [n_layers] of the run, */
	int32_t **ids;                /* and their choices and weights, which change */
	float **weights;
	int64_t number;
	struct piece *next;
};

struct row {
	struct piece *piece;
	int64_t t;
};

/* The open group of a layer. */
struct open {
	struct moe_queue queue;       /* where choices queue as they come */
	struct row *rows;             /* where they wait */
	int64_t n_rows, n_room;
	enum moe_status status;       /* of what a thread did for the layer */
	struct moe_err err;
	struct moe_limit_counts counts;
};

struct moe_limit {
	struct moe_limit_opts opts;
	struct moe_run_sink sink;
	struct moe_pool *pool;
	int32_t n_layers, n_experts, top_k;
	bool at_once;                 /* choices queue as they come */
	bool wants_logits;
	struct moe_arena own;         /* what lasts */
	struct open *open;            /* [n_layers] */
	struct piece *first, **last;
	int64_t n_pieces;
	bool has_sequence;            /* and which sequence the last run is of: */
	int64_t part, seq, next_pos;
};

static bool chooses(const struct moe_limit *limit) { return limit->opts.policy && limit->opts.policy->group; }

enum moe_status moe_limit_new(struct moe_limit **out, const struct moe_limit_opts *opts,
                              const struct moe_trace_header *header, const struct moe_run_sink *sink,
                              struct moe_pool *pool, struct moe_err *err)
{
	const size_t n_layers = (size_t)header->n_layers, n_experts = (size_t)header->n_experts;
	const struct moe_capacity *capacity = &opts->capacity;
	if (capacity->n_devices && header->n_experts % capacity->n_devices)
		return moe_err_set(err, MOE_EUSAGE, "%d devices do not divide %d experts", (int)capacity->n_devices,
		                   (int)header->n_experts);
	struct moe_limit *limit = calloc(1, sizeof *limit);
	if (!limit)
		return moe_err_nomem(err, sizeof *limit, "a capacity");
	*limit = (struct moe_limit){ .opts = *opts, .sink = *sink, .pool = pool, .n_layers = header->n_layers,
		                     .n_experts = header->n_experts, .top_k = header->top_k };
	limit->last = &limit->first;
	limit->at_once = !chooses(limit) && (capacity->choices > 0 || capacity->group > 0) &&
	                 capacity->drop == MOE_DROP_POSITION && capacity->priority == MOE_PRIORITY_TOKEN &&
	                 !capacity->rescale && capacity->n_devices == 0 && !(capacity->exempt > 0);
	limit->wants_logits = chooses(limit) || capacity->priority == MOE_PRIORITY_BATCH;
	limit->open = MOE_NEW(&limit->own, struct open, n_layers);
	int64_t *taken = MOE_NEW(&limit->own, int64_t, n_layers * n_experts);
	if (!limit->open || !taken) {
		moe_limit_free(limit);
		return moe_err_nomem(err, n_layers * n_experts * sizeof *taken, "capacity counters");
	}
	for (size_t l = 0; l < n_layers; l++)
		limit->open[l].queue.taken = taken + l * n_experts;
	*out = limit;
	return MOE_OK;
}

static void free_piece(struct piece *piece)
{
	struct moe_arena arena = piece->arena; /* it holds the piece itself */
	moe_arena_free(&arena);
}

void moe_limit_free(struct moe_limit *limit)
{
	if (!limit)
		return;
	for (struct piece *piece = limit->first, *next; piece; piece = next) {
		next = piece->next;
		free_piece(piece);
	}
	for (int32_t l = 0; limit->open && l < limit->n_layers; l++)
		free(limit->open[l].rows);
	moe_arena_free(&limit->own);
	free(limit);
}

/* A copy of n floats where there are any; *failed is set when memory is out. */
static float *copy_floats(struct moe_arena *arena, const float *from, int64_t n, bool *failed)
{
	float *to = from ? MOE_NEW(arena, float, (size_t)n) : NULL;
	*failed |= from && !to;
	if (to)
		memcpy(to, from, (size_t)n * sizeof *to);
	return to;
}

static void copy_layer(struct moe_limit *limit, struct piece *piece, const struct moe_trace_run *run, int32_t l,
                       bool *failed)
{
	struct moe_arena *arena = &piece->arena;
	const struct moe_routing *from = &run->layers[l];
	const int64_t n = run->n_tokens, n_choices = n * limit->top_k;
	struct moe_routing *to = &piece->layers[l];
	*to = *from;
	to->top_k = limit->top_k;
	to->ids = piece->ids[l] = MOE_NEW(arena, int32_t, (size_t)n_choices);
	*failed |= !to->ids;
	if (chooses(limit))
		to->weights = piece->weights[l] = MOE_NEW(arena, float, (size_t)n_choices);
	else
		to->weights = piece->weights[l] = copy_floats(arena, from->weights, n_choices, failed);
	*failed |= !to->weights;
	to->logits = limit->wants_logits || limit->opts.keep_logits
	                 ? copy_floats(arena, from->logits, n * limit->n_experts, failed) : NULL;
	to->margins = copy_floats(arena, from->margins, n, failed);
	if (*failed)
		return;
	for (int64_t t = 0; t < n && chooses(limit); t++)   /* who chose; what, is to be seen */
		for (int32_t c = 0; c < limit->top_k; c++)
			piece->ids[l][t * limit->top_k + c] = c == 0 && from->ids[t * from->top_k] >= 0 ? 0 : -1;
	if (!chooses(limit))
		memcpy(piece->ids[l], from->ids, (size_t)n_choices * sizeof *from->ids);
}

static struct piece *copy_run(struct moe_limit *limit, const struct moe_trace_run *run)
{
	struct moe_arena arena = { 0 };
	struct piece *piece = MOE_NEW(&arena, struct piece, 1);
	bool failed = !piece;
	if (!failed) {
		piece->arena = arena;
		piece->run = *run;
		int32_t *tokens = MOE_NEW(&piece->arena, int32_t, (size_t)run->n_tokens);
		if (tokens)
			piece->run.tokens = memcpy(tokens, run->tokens, (size_t)run->n_tokens * sizeof *tokens);
		piece->run.source = moe_arena_strndup(&piece->arena, run->source, strlen(run->source));
		piece->run.layers = piece->layers = MOE_NEW(&piece->arena, struct moe_routing, (size_t)limit->n_layers);
		piece->ids = MOE_NEW(&piece->arena, int32_t *, (size_t)limit->n_layers);
		piece->weights = MOE_NEW(&piece->arena, float *, (size_t)limit->n_layers);
		failed = !tokens || !piece->run.source || !piece->layers || !piece->ids || !piece->weights;
		for (int32_t l = 0; l < limit->n_layers && !failed; l++)
			copy_layer(limit, piece, run, l, &failed);
		if (failed)
			free_piece(piece);
	}
	if (failed)
		return NULL;
	piece->number = limit->n_pieces++;
	*limit->last = piece;
	limit->last = &piece->next;
	return piece;
}

/* The rows of a group side by side. */
struct gathered {
	struct moe_arena arena;
	int32_t *ids;
	float *weights, *logits;
	double *priority;
	uint64_t *keys;
	bool *exempt;
};

static double largest_probability(const float *logits, int32_t n)
{
	double max = -INFINITY, sum = 0;
	for (int32_t e = 0; e < n; e++)
		max = logits[e] > max ? logits[e] : max;
	for (int32_t e = 0; e < n; e++)
		sum += exp(logits[e] - max);
	return 1 / sum;
}

static enum moe_status gather_row(struct moe_limit *limit, int32_t l, int64_t i, struct gathered *g,
                                  struct moe_err *err)
{
	const struct row *row = &limit->open[l].rows[i];
	const struct moe_trace_run *run = &row->piece->run;
	const struct moe_routing *from = &row->piece->layers[l];
	const int32_t n = limit->n_experts, k = limit->top_k;
	g->keys[i] = moe_token_key(limit->opts.seed, from->layer, run->seq, run->pos + row->t);
	g->exempt[i] = moe_capacity_exempts(&limit->opts.capacity, limit->opts.seed, run->seq);
	memcpy(g->ids + i * k, from->ids + row->t * k, (size_t)k * sizeof *g->ids);
	memcpy(g->weights + i * k, from->weights + row->t * k, (size_t)k * sizeof *g->weights);
	if (!limit->wants_logits)
		return MOE_OK;
	moe_adjust_logits(&limit->opts.adjust, g->keys[i], from->logits + row->t * n, n, g->logits + i * n);
	for (int32_t e = 0; e < n; e++)
		if (!isfinite(g->logits[i * n + e]))
			return moe_err_set(err, MOE_EFORMAT,
			                   "sequence %lld, position %lld, layer %d: the logits are not numbers",
			                   (long long)run->seq, (long long)(run->pos + row->t), (int)from->layer);
	g->priority[i] = largest_probability(g->logits + i * n, n);
	return MOE_OK;
}

static enum moe_status route_gathered(struct moe_limit *limit, int32_t l, struct gathered *g, struct moe_err *err)
{
	const struct moe_capacity *capacity = &limit->opts.capacity;
	struct open *open = &limit->open[l];
	if (chooses(limit)) {
		struct moe_policy_params params = limit->opts.params;
		const double mean = capacity->factor > 0 ? capacity->factor : params.top_k;
		params.capacity = capacity->choices > 0
		                      ? capacity->choices
		                      : (int64_t)fmin(ceil(mean * (double)open->n_rows / params.n_experts), 0x1p62);
		params.keys = g->keys;
		open->counts.n_groups++;
		open->counts.n_tokens += open->n_rows;
		enum moe_status status = limit->opts.policy->group(&params, g->logits, open->n_rows, g->ids, g->weights,
		                                                   &open->counts.certificate, err);
		for (int64_t i = 0; i < open->n_rows && !status; i++)
			open->counts.n_bare += g->ids[i * limit->top_k] < 0;
		return status;
	}
	const struct moe_group group = { .n_tokens = open->n_rows, .n_experts = limit->n_experts,
		                         .top_k = limit->top_k, .ids = g->ids, .weights = g->weights,
		                         .priority = g->priority, .keys = g->keys, .exempt = g->exempt };
	const int64_t n = capacity->group > 0 ? capacity->group : open->n_rows;
	return moe_group_limit(capacity, moe_capacity_choices(capacity, limit->top_k, limit->n_experts, n), &group,
	                       err);
}

/* The open group of a layer is whole. */
static enum moe_status close_group(struct moe_limit *limit, int32_t l, struct moe_err *err)
{
	struct open *open = &limit->open[l];
	const size_t n = (size_t)open->n_rows, k = (size_t)limit->top_k;
	struct gathered g = { 0 };
	enum moe_status status = MOE_OK;
	if (n == 0)
		return MOE_OK;
	g.ids = MOE_NEW(&g.arena, int32_t, n * k);
	g.weights = MOE_NEW(&g.arena, float, n * k);
	g.logits = MOE_NEW(&g.arena, float, limit->wants_logits ? n * (size_t)limit->n_experts : 0);
	g.priority = MOE_NEW(&g.arena, double, n);
	g.keys = MOE_NEW(&g.arena, uint64_t, n);
	g.exempt = MOE_NEW(&g.arena, bool, n);
	if (!g.ids || !g.weights || !g.logits || !g.priority || !g.keys || !g.exempt)
		status = moe_err_nomem(err, n * k * sizeof *g.ids, "a group of tokens");
	for (size_t i = 0; i < n && !status; i++)
		status = gather_row(limit, l, (int64_t)i, &g, err);
	if (!status)
		status = route_gathered(limit, l, &g, err);
	for (size_t i = 0; i < n && !status; i++) {
		const struct row *row = &open->rows[i];
		memcpy(row->piece->ids[l] + row->t * limit->top_k, g.ids + i * k, k * sizeof *g.ids);
		memcpy(row->piece->weights[l] + row->t * limit->top_k, g.weights + i * k, k * sizeof *g.weights);
	}
	moe_arena_free(&g.arena);
	open->n_rows = 0;
	return status;
}

/* The tokens of a run that chose in a layer join its group. */
static enum moe_status join(struct moe_limit *limit, int32_t l, struct piece *piece, struct moe_err *err)
{
	const struct moe_capacity *capacity = &limit->opts.capacity;
	struct open *open = &limit->open[l];
	enum moe_status status = MOE_OK;
	if (limit->at_once) {
		moe_queue_take(&open->queue,
		               moe_capacity_choices(capacity, limit->top_k, limit->n_experts, capacity->group),
		               capacity->group, limit->n_experts, limit->top_k, piece->run.n_tokens,
		               piece->layers[l].ids, piece->weights[l]);
		return MOE_OK;
	}
	for (int64_t t = 0; t < piece->run.n_tokens && !status; t++) {
		if (piece->layers[l].ids[t * limit->top_k] < 0)
			continue;
		if (open->n_rows == open->n_room) {
			const int64_t n = open->n_room ? 2 * open->n_room : 512;
			struct row *rows = realloc(open->rows, (size_t)n * sizeof *rows);
			if (!rows)
				return moe_err_nomem(err, (size_t)n * sizeof *rows, "a group of tokens");
			open->rows = rows;
			open->n_room = n;
		}
		open->rows[open->n_rows++] = (struct row){ piece, t };
		if (capacity->group > 0 && open->n_rows == capacity->group)
			status = close_group(limit, l, err);
	}
	return status;
}

struct work {
	struct moe_limit *limit;
	struct piece *piece; /* joins; NULL: groups are closed */
};

static void work_layers(void *arg, int64_t begin, int64_t end, int thread)
{
	const struct work *work = arg;
	(void)thread;
	for (int32_t l = (int32_t)begin; l < (int32_t)end; l++) {
		struct open *open = &work->limit->open[l];
		open->status = work->piece ? join(work->limit, l, work->piece, &open->err)
		                           : close_group(work->limit, l, &open->err);
	}
}

static enum moe_status each_layer(struct moe_limit *limit, struct piece *piece, struct moe_err *err)
{
	struct work work = { limit, piece };
	moe_pool_for(limit->pool, limit->n_layers, 1, work_layers, &work);
	for (int32_t l = 0; l < limit->n_layers; l++)
		if (limit->open[l].status)
			return moe_err_set(err, limit->open[l].status, "%s", limit->open[l].err.text);
	return MOE_OK;
}

static void count(struct moe_limit *limit, const struct piece *piece)
{
	const int32_t k = limit->top_k;
	for (int32_t l = 0; l < limit->n_layers; l++) {
		struct moe_limit_counts *counts = &limit->open[l].counts;
		for (int64_t t = 0; t < piece->run.n_tokens; t++) {
			const int32_t *ids = piece->ids[l] + t * k;
			const float *weights = piece->weights[l] + t * k;
			int32_t n = 0, n_kept = 0;
			for (int32_t c = 0; c < k; c++) {
				n += ids[c] >= 0;
				n_kept += ids[c] >= 0 && weights[c] != 0;
			}
			counts->n_choices += n;
			counts->n_dropped += n - n_kept;
			counts->n_tokens += n > 0 && !chooses(limit);
			counts->n_bare += n > 0 && n_kept == 0;
		}
	}
}

/* Runs that no layer waits for leave. */
static enum moe_status release(struct moe_limit *limit, struct moe_err *err)
{
	int64_t before = limit->n_pieces;
	enum moe_status status = MOE_OK;
	for (int32_t l = 0; l < limit->n_layers; l++)
		if (limit->open[l].n_rows > 0 && limit->open[l].rows[0].piece->number < before)
			before = limit->open[l].rows[0].piece->number;
	while (limit->first && limit->first->number < before && !status) {
		struct piece *piece = limit->first;
		count(limit, piece);
		for (int32_t l = 0; l < limit->n_layers && !limit->opts.keep_logits; l++)
			piece->layers[l].logits = NULL;
		status = limit->sink.run(limit->sink.arg, &piece->run, err);
		limit->first = piece->next;
		limit->last = limit->first ? limit->last : &limit->first;
		free_piece(piece);
	}
	return status;
}

static enum moe_status finish_groups(struct moe_limit *limit, struct moe_err *err)
{
	enum moe_status status = each_layer(limit, NULL, err);
	return status ? status : release(limit, err);
}

static enum moe_status begin_sequence(struct moe_limit *limit, const struct moe_trace_run *run, struct moe_err *err)
{
	enum moe_status status = finish_groups(limit, err);
	limit->has_sequence = true;
	limit->part = run->part;
	limit->seq = run->seq;
	limit->next_pos = 0;
	for (int32_t l = 0; l < limit->n_layers; l++)
		moe_queue_begin(&limit->open[l].queue, limit->n_experts);
	return status;
}

enum moe_status moe_limit_run(struct moe_limit *limit, const struct moe_trace_run *run, struct moe_err *err)
{
	const bool sequences = limit->opts.capacity.group == 0;
	const bool same = limit->has_sequence && limit->part == run->part && limit->seq == run->seq;
	enum moe_status status = MOE_OK;
	if (sequences && !same)
		status = begin_sequence(limit, run, err);
	if (!status && sequences && run->pos != limit->next_pos)
		status = moe_err_set(err, MOE_EFORMAT,
		                     "sequence %lld: expected position %lld next, found %lld: a capacity needs each "
		                     "sequence whole and in one piece", (long long)run->seq,
		                     (long long)limit->next_pos, (long long)run->pos);
	if (status)
		return status;
	struct piece *piece = copy_run(limit, run);
	if (!piece)
		return moe_err_nomem(err, (size_t)run->n_tokens * (size_t)limit->n_layers * (size_t)limit->top_k * 8,
		                     "a run that waits for its group");
	limit->next_pos = run->pos + run->n_tokens;
	status = each_layer(limit, piece, err);
	/* a run whose tokens are all in no group waits for none */
	return status || (sequences && !limit->at_once) ? status : release(limit, err);
}

enum moe_status moe_limit_finish(struct moe_limit *limit, struct moe_err *err) { return finish_groups(limit, err); }

void moe_limit_count(const struct moe_limit *limit, struct moe_limit_counts *out)
{
	*out = (struct moe_limit_counts){ 0 };
	for (int32_t l = 0; l < limit->n_layers; l++) {
		const struct moe_limit_counts *counts = &limit->open[l].counts;
		out->n_choices += counts->n_choices;
		out->n_dropped += counts->n_dropped;
		out->n_tokens += counts->n_tokens;
		out->n_bare += counts->n_bare;
		out->n_groups += counts->n_groups;
		out->certificate.value += counts->certificate.value;
		out->certificate.bound += counts->certificate.bound;
	}
}
