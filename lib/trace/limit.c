/* Runs are copied, because those given are views; what is held is freed sequence by sequence. */
#include "trace/limit.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

struct piece {
	struct moe_trace_run run;
	struct moe_routing *layers;   /* [n_layers] of the run, */
	float **weights;              /* and their weights, which change */
	struct piece *next;
};

struct moe_limit {
	struct moe_capacity capacity;
	struct moe_run_sink sink;
	int32_t n_layers, n_experts, top_k;
	struct moe_arena own;         /* what lasts */
	struct moe_queue *queues;     /* [n_layers] */
	int64_t *n_chose;             /* [n_layers] tokens of the sequence that chose there */
	struct moe_arena held;        /* the pieces, */
	struct piece *first, **last;
	bool has_sequence;            /* and which sequence they are of: */
	int64_t part, seq, next_pos;
};

enum moe_status moe_limit_new(struct moe_limit **out, const struct moe_capacity *capacity,
                              const struct moe_trace_header *header, const struct moe_run_sink *sink,
                              struct moe_err *err)
{
	const size_t n_layers = (size_t)header->n_layers, n_experts = (size_t)header->n_experts;
	struct moe_limit *limit = calloc(1, sizeof *limit);
	if (!limit)
		return moe_err_nomem(err, sizeof *limit, "a capacity");
	*limit = (struct moe_limit){ .capacity = *capacity, .sink = *sink, .n_layers = header->n_layers,
		                     .n_experts = header->n_experts, .top_k = header->top_k };
	limit->last = &limit->first;
	limit->queues = MOE_NEW(&limit->own, struct moe_queue, n_layers);
	limit->n_chose = MOE_NEW(&limit->own, int64_t, n_layers);
	int64_t *taken = MOE_NEW(&limit->own, int64_t, n_layers * n_experts);
	if (!limit->queues || !limit->n_chose || !taken) {
		moe_limit_free(limit);
		return moe_err_nomem(err, n_layers * n_experts * sizeof *taken, "capacity counters");
	}
	for (size_t l = 0; l < n_layers; l++)
		limit->queues[l].taken = taken + l * n_experts;
	*out = limit;
	return MOE_OK;
}

void moe_limit_free(struct moe_limit *limit)
{
	if (!limit)
		return;
	moe_arena_free(&limit->own);
	moe_arena_free(&limit->held);
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

static struct piece *copy_run(struct moe_limit *limit, const struct moe_trace_run *run, bool *failed)
{
	struct moe_arena *arena = &limit->held;
	const int64_t n = run->n_tokens, n_choices = n * limit->top_k;
	struct piece *piece = MOE_NEW(arena, struct piece, 1);
	int32_t *tokens = MOE_NEW(arena, int32_t, (size_t)n);
	if (!piece || !tokens)
		return NULL;
	piece->run = *run;
	piece->run.tokens = memcpy(tokens, run->tokens, (size_t)n * sizeof *tokens);
	piece->run.source = moe_arena_strndup(arena, run->source, strlen(run->source));
	piece->run.layers = piece->layers = MOE_NEW(arena, struct moe_routing, (size_t)limit->n_layers);
	piece->weights = MOE_NEW(arena, float *, (size_t)limit->n_layers);
	*failed |= !piece->run.source || !piece->layers || !piece->weights;
	for (int32_t l = 0; l < limit->n_layers && !*failed; l++) {
		struct moe_routing *to = &piece->layers[l];
		int32_t *ids = MOE_NEW(arena, int32_t, (size_t)n_choices);
		*failed |= !ids;
		if (!ids)
			break;
		*to = run->layers[l];
		to->ids = memcpy(ids, to->ids, (size_t)n_choices * sizeof *ids);
		to->weights = piece->weights[l] = copy_floats(arena, to->weights, n_choices, failed);
		to->logits = copy_floats(arena, to->logits, n * limit->n_experts, failed);
		to->margins = copy_floats(arena, to->margins, n, failed);
	}
	return piece;
}

/* What is held queues up and leaves. */
static enum moe_status release(struct moe_limit *limit, struct moe_err *err)
{
	const struct moe_capacity *capacity = &limit->capacity;
	enum moe_status status = MOE_OK;
	for (struct piece *piece = limit->first; piece && !status; piece = piece->next) {
		for (int32_t l = 0; l < limit->n_layers; l++) {
			const int64_t n = capacity->group > 0 ? capacity->group : limit->n_chose[l];
			const int64_t choices =
			    moe_capacity_choices(capacity, limit->top_k, limit->n_experts, n);
			moe_queue_take(&limit->queues[l], choices, capacity->group, limit->n_experts, limit->top_k,
			               piece->run.n_tokens, piece->layers[l].ids, piece->weights[l]);
		}
		status = limit->sink.run(limit->sink.arg, &piece->run, err);
	}
	moe_arena_free(&limit->held);
	limit->first = NULL;
	limit->last = &limit->first;
	return status;
}

static void begin_sequence(struct moe_limit *limit, const struct moe_trace_run *run)
{
	limit->has_sequence = true;
	limit->part = run->part;
	limit->seq = run->seq;
	limit->next_pos = 0;
	for (int32_t l = 0; l < limit->n_layers; l++) {
		limit->n_chose[l] = 0;
		moe_queue_begin(&limit->queues[l], limit->n_experts);
	}
}

enum moe_status moe_limit_run(struct moe_limit *limit, const struct moe_trace_run *run, struct moe_err *err)
{
	const bool sequences = limit->capacity.group == 0;
	const bool same = limit->has_sequence && limit->part == run->part && limit->seq == run->seq;
	enum moe_status status = MOE_OK;
	if (sequences && !same) {
		status = release(limit, err);
		begin_sequence(limit, run);
	}
	if (!status && sequences && run->pos != limit->next_pos)
		status = moe_err_set(err, MOE_EFORMAT,
		                     "sequence %lld: expected position %lld next, found %lld: a capacity needs each "
		                     "sequence whole and in one piece", (long long)run->seq,
		                     (long long)limit->next_pos, (long long)run->pos);
	if (status)
		return status;
	bool failed = false;
	struct piece *piece = copy_run(limit, run, &failed);
	if (!piece || failed)
		return moe_err_nomem(err, limit->held.n_bytes, "a sequence that waits for its end");
	*limit->last = piece;
	limit->last = &piece->next;
	limit->next_pos = run->pos + run->n_tokens;
	for (int32_t l = 0; l < limit->n_layers; l++)
		for (int64_t t = 0; t < run->n_tokens; t++)
			limit->n_chose[l] += run->layers[l].ids[t * limit->top_k] >= 0;
	return sequences && limit->capacity.choices == 0 ? MOE_OK : release(limit, err);
}

enum moe_status moe_limit_finish(struct moe_limit *limit, struct moe_err *err) { return release(limit, err); }
