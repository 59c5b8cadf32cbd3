/* Layers and tokens are independent of each other: pieces of both go to the pool. */
#include "trace/reroute.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

enum { PIECE = 256 };      /* tokens a thread takes at a time */
enum { REJECTED = -2 };    /* in the place of a token's first choice: its logits are not numbers */

/* What a thread needs for a piece. */
struct space {
	float *scratch;
	float *logits;                   /* [PIECE][n_experts], adjusted; NULL where nothing is */
	int64_t positions[PIECE];
	uint64_t keys[PIECE];
};

struct moe_reroute {
	const struct moe_policy *policy;
	struct moe_policy_params params;
	const struct moe_bias *biases;
	bool margins, keep_logits;
	struct moe_adjust adjust;
	uint64_t seed;
	struct moe_pool *pool;
	size_t scratch_floats;           /* of the policy */
	struct space *spaces;            /* [threads] */
	struct moe_arena arena;          /* what follows, grown as runs grow */
	int64_t cap_tokens;
	int32_t cap_layers;
	struct moe_routing *layers;      /* [cap_layers] */
	int32_t *ids;                    /* [cap_layers][cap_tokens][top_k] */
	float *weights, *margin;
	struct moe_trace_run run;
	const struct moe_trace_run *source;  /* the run at work */
	int64_t pieces_per_layer;
};

static enum moe_status make_spaces(struct moe_reroute *r, struct moe_err *err)
{
	const size_t n = (size_t)moe_pool_threads(r->pool);
	const size_t logits = moe_adjust_is_set(&r->adjust) ? PIECE * (size_t)r->params.n_experts : 0;
	r->scratch_floats = r->policy->scratch(&r->params);
	r->spaces = calloc(n, sizeof *r->spaces);
	for (size_t i = 0; r->spaces && i < n; i++) {
		r->spaces[i].scratch = calloc(r->scratch_floats + logits + 1, sizeof *r->spaces->scratch);
		r->spaces[i].logits = r->spaces[i].scratch && logits ? r->spaces[i].scratch + r->scratch_floats : NULL;
		if (!r->spaces[i].scratch)
			return moe_err_nomem(err, (r->scratch_floats + logits) * sizeof(float), "re-routing");
	}
	return r->spaces ? MOE_OK : moe_err_nomem(err, n * sizeof *r->spaces, "re-routing");
}

enum moe_status moe_reroute_new(struct moe_reroute **out, const struct moe_policy *policy,
                                const struct moe_reroute_opts *opts, struct moe_pool *pool, struct moe_err *err)
{
	enum moe_status status = moe_policy_check(policy, &opts->params, err);
	if (status)
		return status;
	struct moe_reroute *r = calloc(1, sizeof *r);
	if (!r)
		return moe_err_nomem(err, sizeof *r, "re-routing");
	*r = (struct moe_reroute){ .policy = policy, .params = opts->params, .biases = opts->biases,
		                       .margins = opts->margins, .keep_logits = opts->keep_logits,
		                       .adjust = opts->adjust, .seed = opts->seed, .pool = pool };
	r->params.kernel = moe_kernel_best();
	status = make_spaces(r, err);
	if (status) {
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

/* Logits of tokens [first, first + n) of a layer as the policy is to see them, and what params tell of the tokens. */
static const float *prepare(const struct moe_reroute *r, const struct moe_routing *from, int64_t first, int64_t n,
                            struct space *space, struct moe_policy_params *params)
{
	/* keys are what costs most beside a kernel: only where somebody draws by them */
	const bool keys = space->logits || r->policy->reads & (MOE_NEEDS_PLACE | MOE_READS_SECOND);
	const int32_t n_experts = params->n_experts;
	params->bias = r->biases ? moe_bias_at(r->biases, from->layer) : NULL;
	params->tokens = r->source->tokens + first;
	params->positions = keys ? space->positions : NULL;
	params->keys = keys ? space->keys : NULL;
	params->seed = r->seed;
	for (int64_t t = 0; keys && t < n; t++) {
		const int64_t pos = r->source->pos + first + t;
		space->positions[t] = pos;
		space->keys[t] = moe_token_key(r->seed, from->layer, r->source->seq, pos);
		if (space->logits)
			moe_adjust_logits(&r->adjust, space->keys[t], from->logits + (first + t) * n_experts, n_experts,
			                  space->logits + t * n_experts);
	}
	return space->logits ? space->logits : from->logits + first * n_experts;
}

/* Marks the tokens whose logits are none, whatever the policy made of them. */
static void reject(const struct moe_reroute *r, const float *logits, int64_t n, int32_t *ids)
{
	if (r->policy->reads & (MOE_NEEDS_TOKENS | MOE_NEEDS_PLACE))
		return;   /* it looks at no logits */
	for (int64_t t = 0; t < n; t++)
		if (!moe_logits_good(logits + t * r->params.n_experts, r->params.n_experts))
			ids[t * r->params.top_k] = REJECTED;
}

static void route_piece(void *arg, int64_t begin, int64_t end, int thread)
{
	struct moe_reroute *r = arg;
	struct space *space = &r->spaces[thread];
	for (int64_t item = begin; item < end; item++) {
		const int64_t layer = item / r->pieces_per_layer, first = item % r->pieces_per_layer * PIECE;
		const struct moe_routing *from = &r->source->layers[layer];
		const int64_t n = from->n_tokens - first < PIECE ? from->n_tokens - first : PIECE;
		const int64_t row = layer * r->cap_tokens + first;
		int32_t *ids = r->ids + row * r->params.top_k;
		struct moe_policy_params params = r->params;
		const float *logits = from->logits + first * params.n_experts;
		if (r->policy->group) {
			memset(ids, 0, (size_t)(n * params.top_k) * sizeof *ids);
		} else {
			logits = prepare(r, from, first, n, space, &params);
			r->policy->rows(&params, logits, n, ids, r->weights + row * params.top_k,
			                r->margins ? r->margin + row : NULL, space->scratch);
		}
		reject(r, logits, n, ids);
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

static enum moe_status bad_logits(const struct moe_reroute *r, const struct moe_trace_run *run, int32_t l, int64_t t,
                                  struct moe_err *err)
{
	const int32_t n = r->params.n_experts;
	const float *logits = run->layers[l].logits + t * n;
	char found[64] = "they are too large for this temperature";
	for (int32_t e = n - 1; e >= 0; e--)
		if (!moe_logits_good(logits + e, 1))
			snprintf(found, sizeof found, "expert %d has %g", (int)e, (double)logits[e]);
	return moe_err_set(err, MOE_EFORMAT, "sequence %lld, position %lld, layer %d: the logits are not numbers: %s",
	                   (long long)run->seq, (long long)(run->pos + t), (int)run->layers[l].layer, found);
}

/* Every token that chose before has its choices now; only what a policy leaves out by chance may be missing. */
static enum moe_status check_chosen(const struct moe_reroute *r, const struct moe_trace_run *run, int32_t l,
                                    struct moe_err *err)
{
	const int32_t k = r->params.top_k;
	for (int64_t c = 0; c < run->n_tokens * k; c++) {
		if (r->layers[l].ids[c] >= 0 || !is_routed(&run->layers[l], c / k) ||
		    (c % k > 0 && (r->policy->reads & MOE_READS_SECOND)))
			continue;
		if (r->layers[l].ids[c] == REJECTED)
			return bad_logits(r, run, l, c / k, err);
		if (r->params.table || (r->policy->reads & MOE_NEEDS_TOKENS))
			return moe_err_set(err, MOE_EFORMAT, "sequence %lld, position %lld: token id %d %s",
			                   (long long)run->seq, (long long)(run->pos + c / k), (int)run->tokens[c / k],
			                   run->tokens[c / k] < 0 ? "is none: the trace does not know its tokens"
			                                          : "is not in the table");
		return moe_err_set(err, MOE_EFORMAT,
		                   "sequence %lld, position %lld, layer %d: the logits bar all but %d experts",
		                   (long long)run->seq, (long long)(run->pos + c / k), (int)run->layers[l].layer,
		                   (int)(c % k));
	}
	return MOE_OK;
}

enum moe_status moe_reroute_run(struct moe_reroute *r, const struct moe_trace_run *run, int32_t n_layers,
                                const struct moe_trace_run **out, struct moe_err *err)
{
	enum moe_status status = grow(r, run->n_tokens, n_layers, err);
	if (status)
		return status;
	r->source = run;
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
		status = check_chosen(r, run, l, err);
		if (status)
			return status;
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
	for (int i = 0; r->spaces && i < moe_pool_threads(r->pool); i++)
		free(r->spaces[i].scratch);
	free(r->spaces);
	free(r);
}
