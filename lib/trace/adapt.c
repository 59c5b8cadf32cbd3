/* Layers know nothing of each other: each goes through all batches by itself, on a thread of its own. */
#include "trace/adapt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/rng.h"

enum { PIECE = 256 };   /* tokens routed at a time */

struct chunk {
	int64_t n_tokens;
	float **logits;        /* [n_layers] -> [n_tokens][n_experts] */
	bool **routed;         /* [n_layers] -> [n_tokens] */
	struct chunk *next;    /* of the sequence */
};

struct sequence {
	int64_t seq;
	struct chunk *first, *last;
};

/* What a layer works with. */
struct work {
	float *scratch, *weights, *bias;
	int32_t *ids;
	int64_t *counts;
	int64_t n_filled, batch;   /* tokens of the batch at work, and its number */
	bool failed;               /* outputs that are not numbers */
};

struct moe_adapt {
	struct moe_adapt_opts opts;
	struct moe_pool *pool;
	int32_t n_layers, n_experts;
	struct moe_arena arena;
	struct sequence *sequences;
	int64_t n_sequences, n_room, n_tokens;
	int64_t *order;            /* [n_sequences] of the epoch at work */
	struct moe_bias bias;      /* in the arena */
	struct work *work;         /* [n_layers] */
	struct moe_adapt_batch *batches;
	double *maxvio;            /* [n_batches][n_layers] */
	int64_t n_batches;
	double before, after;
	bool steps;                /* biases follow; else loads are only counted */
};

enum moe_status moe_adapt_new(struct moe_adapt **out, const struct moe_adapt_opts *opts,
                              const struct moe_trace_header *header, struct moe_pool *pool, struct moe_err *err)
{
	enum moe_status status = moe_policy_check(opts->policy, &opts->params, err);
	if (status)
		return status;
	struct moe_adapt *a = calloc(1, sizeof *a);
	if (!a)
		return moe_err_nomem(err, sizeof *a, "a replay");
	const size_t n_layers = (size_t)header->n_layers, n = (size_t)header->n_experts;
	*a = (struct moe_adapt){ .opts = *opts, .pool = pool, .n_layers = header->n_layers,
		                 .n_experts = header->n_experts };
	a->bias = (struct moe_bias){ .n_layers = header->n_layers, .n_experts = header->n_experts,
		                     .layers = MOE_NEW(&a->arena, int32_t, n_layers),
		                     .values = MOE_NEW(&a->arena, float, n_layers * n) };
	a->work = MOE_NEW(&a->arena, struct work, n_layers);
	bool fits = a->bias.layers && a->bias.values && a->work;
	a->opts.params.kernel = moe_kernel_best();
	for (size_t l = 0; l < n_layers && fits; l++) {
		struct work *w = &a->work[l];
		const size_t choices = PIECE * (size_t)opts->params.top_k;
		const float *start = opts->start ? moe_bias_at(opts->start, header->layers[l]) : NULL;
		w->scratch = MOE_NEW(&a->arena, float, opts->policy->scratch(&opts->params));
		w->weights = MOE_NEW(&a->arena, float, choices);
		w->ids = MOE_NEW(&a->arena, int32_t, choices);
		w->counts = MOE_NEW(&a->arena, int64_t, n);
		w->bias = a->bias.values + l * n;
		fits = w->scratch && w->weights && w->ids && w->counts;
		a->bias.layers[l] = header->layers[l];
		if (start)
			memcpy(w->bias, start, n * sizeof *start);
	}
	if (!fits) {
		moe_adapt_free(a);
		return moe_err_nomem(err, n_layers * n * sizeof(int64_t), "a replay");
	}
	*out = a;
	return MOE_OK;
}

void moe_adapt_free(struct moe_adapt *a)
{
	if (!a)
		return;
	moe_arena_free(&a->arena);
	free(a->sequences);
	free(a->order);
	free(a->batches);
	free(a->maxvio);
	free(a);
}

/* The sequence that a run belongs to: the last one, or a new one. NULL: memory is out. */
static struct sequence *sequence_of(struct moe_adapt *a, const struct moe_trace_run *run)
{
	if (a->n_sequences > 0 && a->sequences[a->n_sequences - 1].seq == run->seq)
		return &a->sequences[a->n_sequences - 1];
	if (a->n_sequences == a->n_room) {
		const int64_t n = a->n_room ? 2 * a->n_room : 256;
		struct sequence *sequences = realloc(a->sequences, (size_t)n * sizeof *sequences);
		if (!sequences)
			return NULL;
		a->sequences = sequences;
		a->n_room = n;
	}
	a->sequences[a->n_sequences] = (struct sequence){ .seq = run->seq };
	return &a->sequences[a->n_sequences++];
}

enum moe_status moe_adapt_add(struct moe_adapt *a, const struct moe_trace_run *run, struct moe_err *err)
{
	const size_t n = (size_t)run->n_tokens, n_logits = n * (size_t)a->n_experts;
	struct sequence *sequence = sequence_of(a, run);
	struct chunk *chunk = sequence ? MOE_NEW(&a->arena, struct chunk, 1) : NULL;
	bool fits = chunk;
	if (fits) {
		*chunk = (struct chunk){ .n_tokens = run->n_tokens,
			                 .logits = MOE_NEW(&a->arena, float *, (size_t)a->n_layers),
			                 .routed = MOE_NEW(&a->arena, bool *, (size_t)a->n_layers) };
		fits = chunk->logits && chunk->routed;
	}
	for (int32_t l = 0; l < a->n_layers && fits; l++) {
		const struct moe_routing *from = &run->layers[l];
		chunk->logits[l] = MOE_NEW(&a->arena, float, n_logits);
		chunk->routed[l] = MOE_NEW(&a->arena, bool, n);
		fits = chunk->logits[l] && chunk->routed[l];
		if (!fits)
			break;
		memcpy(chunk->logits[l], from->logits, n_logits * sizeof *from->logits);
		for (size_t t = 0; t < n; t++)
			chunk->routed[l][t] = from->ids[t * (size_t)from->top_k] >= 0;
	}
	if (!fits)
		return moe_err_nomem(err, n_logits * sizeof(float), "the logits of a trace, which are all kept");
	if (sequence->last)
		sequence->last->next = chunk;
	else
		sequence->first = chunk;
	sequence->last = chunk;
	a->n_tokens += run->n_tokens;
	return MOE_OK;
}

static double maxvio(const int64_t *counts, int32_t n)
{
	int64_t sum = 0, max = 0;
	for (int32_t e = 0; e < n; e++) {
		sum += counts[e];
		max = counts[e] > max ? counts[e] : max;
	}
	return sum ? (double)max * n / (double)sum - 1 : 0;
}

static void end_batch(struct moe_adapt *a, int32_t l)
{
	struct work *w = &a->work[l];
	if (w->batch < a->n_batches)
		a->maxvio[w->batch * a->n_layers + l] = maxvio(w->counts, a->n_experts);
	moe_bias_adapt(w->bias, w->counts, a->n_experts, a->opts.rule, a->opts.rate);
	memset(w->counts, 0, (size_t)a->n_experts * sizeof *w->counts);
	w->batch++;
	w->n_filled = 0;
}

/* Tokens [first, first + n) of a chunk: routed and counted. */
static void count_piece(struct moe_adapt *a, int32_t l, const struct chunk *chunk, int64_t first, int64_t n)
{
	struct work *w = &a->work[l];
	struct moe_policy_params params = a->opts.params;
	const int32_t k = params.top_k;
	params.bias = w->bias;
	a->opts.policy->rows(&params, chunk->logits[l] + first * a->n_experts, n, w->ids, w->weights, NULL, w->scratch);
	for (int64_t c = 0; c < n * k; c++) {
		if (!chunk->routed[l][first + c / k])
			continue;
		w->failed |= w->ids[c] < 0;
		if (c % k == 0)
			w->failed |= !moe_logits_good(chunk->logits[l] + (first + c / k) * a->n_experts, a->n_experts);
		if (w->ids[c] >= 0)
			w->counts[w->ids[c]]++;
	}
}

/* A layer goes through all sequences once. */
static void go_through(void *arg, int64_t begin, int64_t end, int thread)
{
	struct moe_adapt *a = arg;
	(void)thread;
	for (int32_t l = (int32_t)begin; l < (int32_t)end; l++)
		for (int64_t s = 0; s < a->n_sequences; s++)
			for (const struct chunk *chunk = a->sequences[a->order[s]].first; chunk; chunk = chunk->next)
				for (int64_t at = 0, n; at < chunk->n_tokens; at += n) {
					const int64_t left = a->opts.batch_tokens - a->work[l].n_filled;
					n = chunk->n_tokens - at < PIECE ? chunk->n_tokens - at : PIECE;
					n = a->steps && left < n ? left : n;
					count_piece(a, l, chunk, at, n);
					a->work[l].n_filled += n;
					if (a->steps && a->work[l].n_filled == a->opts.batch_tokens)
						end_batch(a, l);
				}
}

/* MaxVio of all tokens under the biases as they are, mean over layers. */
static double measure(struct moe_adapt *a)
{
	double sum = 0;
	a->steps = false;
	for (int32_t l = 0; l < a->n_layers; l++)
		memset(a->work[l].counts, 0, (size_t)a->n_experts * sizeof *a->work[l].counts);
	moe_pool_for(a->pool, a->n_layers, 1, go_through, a);
	for (int32_t l = 0; l < a->n_layers; l++) {
		sum += maxvio(a->work[l].counts, a->n_experts);
		memset(a->work[l].counts, 0, (size_t)a->n_experts * sizeof *a->work[l].counts);
		a->work[l].n_filled = 0;
	}
	return sum / a->n_layers;
}

/* Fisher and Yates. */
static void shuffle(struct moe_adapt *a, int32_t epoch)
{
	for (int64_t i = a->n_sequences - 1; i > 0; i--) {
		const int64_t j = (int64_t)(moe_rng_f64(a->opts.seed, (uint64_t)epoch, (uint64_t)i) * (double)(i + 1));
		const int64_t other = a->order[j];
		a->order[j] = a->order[i];
		a->order[i] = other;
	}
}

enum moe_status moe_adapt_run(struct moe_adapt *a, struct moe_err *err)
{
	const double n_all = (double)a->n_tokens * a->opts.epochs / (double)a->opts.batch_tokens;
	if (n_all < 1)
		return moe_err_set(err, MOE_EUSAGE, "%lld tokens, %d times, are less than one batch of %lld",
		                   (long long)a->n_tokens, (int)a->opts.epochs, (long long)a->opts.batch_tokens);
	a->n_batches = n_all < 0x1p40 ? (int64_t)n_all : INT64_C(1) << 40;
	a->order = calloc((size_t)a->n_sequences + 1, sizeof *a->order);
	a->batches = calloc((size_t)a->n_batches + 1, sizeof *a->batches);
	a->maxvio = calloc((size_t)a->n_batches * (size_t)a->n_layers + 1, sizeof *a->maxvio);
	if (!a->order || !a->batches || !a->maxvio)
		return moe_err_nomem(err, (size_t)a->n_batches * (size_t)a->n_layers * sizeof *a->maxvio, "batches");
	for (int64_t s = 0; s < a->n_sequences; s++)
		a->order[s] = s;
	a->before = measure(a);
	int64_t n_done = 0;
	for (int32_t epoch = 1; epoch <= a->opts.epochs; epoch++) {
		a->steps = true;
		shuffle(a, epoch);
		moe_pool_for(a->pool, a->n_layers, 1, go_through, a);
		for (; n_done < a->work[0].batch && n_done < a->n_batches; n_done++)
			a->batches[n_done] = (struct moe_adapt_batch){ epoch, a->maxvio + n_done * a->n_layers };
	}
	a->n_batches = n_done;
	a->after = measure(a);
	for (int32_t l = 0; l < a->n_layers; l++)
		if (a->work[l].failed)
			return moe_err_set(err, MOE_EFORMAT, "layer %d: there are logits that are not numbers",
			                   (int)a->bias.layers[l]);
	return MOE_OK;
}

const struct moe_adapt_batch *moe_adapt_batch_at(const struct moe_adapt *a, int64_t i)
{
	return i < a->n_batches ? &a->batches[i] : NULL;
}

double moe_adapt_before(const struct moe_adapt *a) { return a->before; }

double moe_adapt_after(const struct moe_adapt *a) { return a->after; }

double moe_maxvio_noise(int64_t n_tokens, int32_t n_experts, int32_t top_k)
{
	const double n = n_experts, k = top_k;
	return sqrt(2 * log(n)) * sqrt((1 - k / n) * n / (k * (double)n_tokens));
}

int64_t moe_adapt_tokens(const struct moe_adapt *a) { return a->n_tokens; }

const struct moe_bias *moe_adapt_bias(const struct moe_adapt *a) { return &a->bias; }
