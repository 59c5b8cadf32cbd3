/* Reading two traces side by side. */
#include "stats/pair.h"

#include <stdlib.h>
#include <string.h>

void moe_run_cut(const struct moe_trace_run *run, int32_t n_layers, int64_t from, int64_t n,
                 struct moe_routing *layers, struct moe_trace_run *out)
{
	*out = *run;
	out->pos += from;
	out->n_tokens = n;
	out->tokens += from;
	out->layers = layers;
	for (int32_t l = 0; l < n_layers; l++) {
		struct moe_routing *r = &layers[l];

		*r = run->layers[l];
		r->n_tokens = n;
		r->ids += from * r->top_k;
		r->weights = r->weights ? r->weights + from * r->top_k : NULL;
		r->logits = r->logits ? r->logits + from * r->n_experts : NULL;
		r->margins = r->margins ? r->margins + from : NULL;
	}
}

enum moe_status moe_pair_open(struct moe_pair *pair, const char *path, struct moe_pool *pool, struct moe_watch *watch,
                              struct moe_err *err)
{
	enum moe_status status = moe_trace_open(&pair->in, path, pool, watch, err);

	pair->path = strcmp(path, "-") == 0 ? "stdin" : path;
	if (status) {
		pair->in = NULL;
		return status;
	}
	size_t n = (size_t)moe_trace_head(pair->in)->n_layers;

	moe_trace_want(pair->in, 0);
	pair->own = calloc(n, sizeof *pair->own);
	pair->other = calloc(n, sizeof *pair->other);
	if (!pair->own || !pair->other)
		return moe_err_nomem(err, 2 * n * sizeof *pair->own, "the layers of a trace");
	return MOE_OK;
}

enum moe_status moe_pair_meet(const struct moe_pair *pair, const struct moe_trace_header *h, struct moe_err *err)
{
	const struct moe_trace_header *o = moe_trace_head(pair->in);

	if (o->n_layers != h->n_layers || o->n_experts != h->n_experts || o->top_k != h->top_k)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%d MoE layers of %d experts, %d for a token, but %s has %d of %d, %d for a token: "
		                   "choices cannot be compared", h->n_layers, h->n_experts, h->top_k, pair->path,
		                   o->n_layers, o->n_experts, o->top_k);
	for (int32_t l = 0; l < h->n_layers; l++)
		if (o->layers[l] != h->layers[l])
			return moe_err_set(err, MOE_EFORMAT,
			                   "layer %d where %s has layer %d: choices cannot be compared", h->layers[l],
			                   pair->path, o->layers[l]);
	return MOE_OK;
}

/* The next tokens of the other trace; NULL at its end. */
static enum moe_status advance(struct moe_pair *pair, struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	while (!status && (!pair->run || pair->at == pair->run->n_tokens)) {
		pair->at = 0;
		status = moe_trace_next(pair->in, &pair->run, err);
		if (status || !pair->run)
			pair->run = NULL;
		if (!pair->run)
			break;
	}
	return status;
}

static bool same_id(int32_t a, int32_t b) { return a == b || a < 0 || b < 0; }

enum moe_status moe_pair_next(struct moe_pair *pair, int64_t part, const struct moe_trace_run *run, int64_t from,
                              struct moe_err *err)
{
	const int32_t n_layers = moe_trace_head(pair->in)->n_layers;
	const struct moe_trace_run *o;
	struct moe_trace_run unused;
	enum moe_status status = advance(pair, err);
	int64_t n;

	if (status)
		return status;
	o = pair->run;
	if (!o)
		return moe_err_set(err, MOE_EFORMAT,
		                   "part %jd, sequence %jd, position %jd: %s ends before this token", part, run->seq,
		                   run->pos + from, pair->path);
	if (o->part != part || o->seq != run->seq || o->pos + pair->at != run->pos + from)
		return moe_err_set(err, MOE_EFORMAT,
		                   "part %jd, sequence %jd, position %jd, where %s has part %jd, sequence %jd, "
		                   "position %jd: they are not traces of the same tokens in the same order", part,
		                   run->seq, run->pos + from, pair->path, o->part, o->seq, o->pos + pair->at);
	n = run->n_tokens - from < o->n_tokens - pair->at ? run->n_tokens - from : o->n_tokens - pair->at;
	for (int64_t t = 0; t < n; t++)
		if (!same_id(run->tokens[from + t], o->tokens[pair->at + t]))
			return moe_err_set(err, MOE_EFORMAT,
			                   "part %jd, sequence %jd, position %jd: token %d, where %s has token %d: "
			                   "they are not traces of the same text", part, run->seq, run->pos + from + t,
			                   run->tokens[from + t], pair->path, o->tokens[pair->at + t]);
	moe_run_cut(run, n_layers, from, n, pair->own, &pair->piece);
	moe_run_cut(o, n_layers, pair->at, n, pair->other, &unused);
	pair->at += n;
	return MOE_OK;
}

enum moe_status moe_pair_end(struct moe_pair *pair, struct moe_err *err)
{
	enum moe_status status = advance(pair, err);

	if (!status && pair->run)
		status = moe_err_set(err, MOE_EFORMAT,
		                     "%s: part %jd, sequence %jd, position %jd: the traces it is compared with end "
		                     "before this token", pair->path, pair->run->part, pair->run->seq,
		                     pair->run->pos + pair->at);
	return status;
}

void moe_pair_close(struct moe_pair *pair)
{
	if (pair->in)
		moe_trace_close(pair->in);
	free(pair->own);
	free(pair->other);
	*pair = (struct moe_pair){0};
}
