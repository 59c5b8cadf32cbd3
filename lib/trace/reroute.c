/* Layers and tokens are independent of each other: pieces of both go to the pool. */
#include "trace/reroute.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

enum { PIECE = 256 };   /* tokens a thread takes at a time */

struct moe_reroute {
	const struct moe_policy *policy;
	struct moe_policy_params params;
	const struct moe_bias *biases;
	bool margins, keep_logits;
	struct moe_pool *pool;
	size_t scratch_floats;
	float *scratch;                  /* [threads][scratch_floats] */
	struct moe_arena arena;          /* what follows, grown as runs grow */
	int64_t cap_tokens;
	int32_t cap_layers;
	struct moe_routing *layers;      /* [cap_layers] */
	int32_t *ids;                    /* [cap_layers][cap_tokens][top_k] */
	float *weights, *margin;
	struct moe_trace_run run;
	const struct moe_routing *from;  /* of the run at work */
	int64_t pieces_per_layer;
};

enum moe_status moe_reroute_new(struct moe_reroute **out, const struct moe_policy *policy,
                                const struct moe_policy_params *params, const struct moe_bias *biases, bool margins,
                                bool keep_logits, struct moe_pool *pool, struct moe_err *err)
{
	enum moe_status status = moe_policy_check(policy, params, err);
	if (status)
		return status;
	struct moe_reroute *r = calloc(1, sizeof *r);
	if (!r)
		return moe_err_nomem(err, sizeof *r, "re-routing");
	*r = (struct moe_reroute){ .policy = policy, .params = *params, .biases = biases, .margins = margins,
		                       .keep_logits = keep_logits, .pool = pool };
	r->scratch_floats = policy->scratch(params);
	r->scratch = calloc(r->scratch_floats * (size_t)moe_pool_threads(pool) + 1, sizeof *r->scratch);
	if (!r->scratch) {
		status = moe_err_nomem(err, r->scratch_floats * sizeof *r->scratch, "re-routing");
		moe_reroute_free(r);
		return status;
	}
	*out = r;
	return MOE_OK;
}

static enum moe_status grow(struct moe_reroute *r, int64_t n_tokens, int32_t n_layers, struct moe_err *err)
{
	if (n_tokens <= r->cap_tokens && n_layers <= r->cap_layers)
		return MOE_OK;
	moe_arena_free(&r->arena);
	const size_t rows = (size_t)n_tokens * (size_t)n_layers, choices = rows * (size_t)r->params.top_k;
	r->layers = MOE_NEW(&r->arena, struct moe_routing, (size_t)n_layers);
	r->ids = MOE_NEW(&r->arena, int32_t, choices);
	r->weights = MOE_NEW(&r->arena, float, choices);
	r->margin = MOE_NEW(&r->arena, float, rows);
	if (!r->layers || !r->ids || !r->weights || !r->margin) {
		r->cap_tokens = 0;
		return moe_err_nomem(err, choices * (sizeof *r->ids + sizeof *r->weights), "re-routing");
	}
	r->cap_tokens = n_tokens;
	r->cap_layers = n_layers;
	return MOE_OK;
}

static void route_piece(void *arg, int64_t begin, int64_t end, int thread)
{
	struct moe_reroute *r = arg;
	for (int64_t item = begin; item < end; item++) {
		const int64_t layer = item / r->pieces_per_layer, first = item % r->pieces_per_layer * PIECE;
		const struct moe_routing *from = &r->from[layer];
		const int64_t n = from->n_tokens - first < PIECE ? from->n_tokens - first : PIECE;
		const int64_t row = layer * r->cap_tokens + first;
		struct moe_policy_params params = r->params;
		params.bias = r->biases ? moe_bias_at(r->biases, from->layer) : NULL;
		r->policy->rows(&params, from->logits + first * params.n_experts, n, r->ids + row * params.top_k,
		                r->weights + row * params.top_k, r->margins ? r->margin + row : NULL,
		                r->scratch + r->scratch_floats * (size_t)thread);
	}
}

/* Did the token choose at all? In the layers of an encoder those of the decoder do not, and the other way round. */
static bool is_routed(const struct moe_routing *from, int64_t token) { return from->ids[token * from->top_k] >= 0; }

/* Those that did not choose do not now: rows from `row` on. */
static void leave_unrouted(struct moe_reroute *r, const struct moe_routing *from, int64_t row)
{
	const int32_t k = r->params.top_k;
	for (int64_t t = 0; t < from->n_tokens; t++) {
		if (is_routed(from, t))
			continue;
		for (int32_t i = 0; i < k; i++) {
			r->ids[(row + t) * k + i] = -1;
			r->weights[(row + t) * k + i] = 0;
		}
		if (r->margins)
			r->margin[row + t] = INFINITY;
	}
}

enum moe_status moe_reroute_run(struct moe_reroute *r, const struct moe_trace_run *run, int32_t n_layers,
                                const struct moe_trace_run **out, struct moe_err *err)
{
	enum moe_status status = grow(r, run->n_tokens, n_layers, err);
	if (status)
		return status;
	r->from = run->layers;
	r->pieces_per_layer = (run->n_tokens + PIECE - 1) / PIECE;
	moe_pool_for(r->pool, n_layers * r->pieces_per_layer, 1, route_piece, r);
	for (int32_t l = 0; l < n_layers; l++) {
		const int64_t row = l * r->cap_tokens, choice = row * r->params.top_k;
		r->layers[l] = (struct moe_routing){
			.layer = run->layers[l].layer, .n_experts = r->params.n_experts, .top_k = r->params.top_k,
			.n_tokens = run->n_tokens, .ids = r->ids + choice, .weights = r->weights + choice,
			.logits = r->keep_logits ? run->layers[l].logits : NULL,
			.margins = r->margins ? r->margin + row : NULL,
		};
		leave_unrouted(r, &run->layers[l], row);
		for (int64_t c = 0; c < run->n_tokens * r->params.top_k; c++)
			if (r->layers[l].ids[c] < 0 && is_routed(&run->layers[l], c / r->params.top_k))
				return moe_err_set(err, MOE_EFORMAT,
				                   "sequence %lld, position %lld, layer %d: the logits are not numbers",
				                   (long long)run->seq, (long long)(run->pos + c / r->params.top_k),
				                   (int)run->layers[l].layer);
	}
	r->run = *run;
	r->run.layers = r->layers;
	*out = &r->run;
	return MOE_OK;
}

void moe_reroute_free(struct moe_reroute *r)
{
	if (!r)
		return;
	moe_arena_free(&r->arena);
	free(r->scratch);
	free(r);
}
