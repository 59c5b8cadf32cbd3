/* How many experts a stretch of tokens needs: Denning's average working set, of windows of many lengths in one pass. Of
 * the last W tokens, those that choose an expert keep it in the set; a choice does so for as many tokens as pass
 * until the expert is chosen again, but for no more than W. Sums of such times are kept for W = 1, 2, 4, ... */
#include <math.h>
#include <string.h>

#include "stats/rows.h"
#include "stats/stats.h"

enum { WINDOWS = 40 };   /* 2^39 tokens */

struct state {
	uint64_t n_tokens;
	uint64_t held[WINDOWS];   /* sum over choices of min(tokens until the expert's next, 2^i) */
};

struct open {
	int64_t n_tokens;
	int64_t last[];   /* [n_experts] 1 + the token that chose it last; 0: none */
};

static size_t state_bytes(const struct moe_stream_setup *setup)
{
	(void)setup;
	return sizeof(struct state);
}

static size_t open_bytes(const struct moe_stream_setup *setup)
{
	return sizeof(struct open) + (size_t)setup->n_experts * sizeof(int64_t);
}

static void hold(struct state *s, int64_t n_tokens)
{
	for (int i = 0; i < WINDOWS; i++)
		s->held[i] += (uint64_t)(n_tokens < INT64_C(1) << i ? n_tokens : INT64_C(1) << i);
}

static enum moe_status add(const struct moe_stream_tokens *tokens, void *state, void *open, struct moe_err *err)
{
	const struct moe_routing *r = tokens->routing;
	struct state *s = state;
	struct open *o = open;

	(void)err;
	for (int64_t t = 0; t < r->n_tokens; t++) {
		bool any = false;

		for (int32_t k = 0; k < r->top_k; k++)
			any |= r->ids[t * r->top_k + k] >= 0;
		if (!any)
			continue;
		o->n_tokens++;
		for (int32_t k = 0; k < r->top_k; k++) {
			int32_t id = r->ids[t * r->top_k + k];

			if (id < 0)
				continue;
			if (o->last[id] > 0)
				hold(s, o->n_tokens - o->last[id]);
			o->last[id] = o->n_tokens;
		}
	}
	return MOE_OK;
}

static enum moe_status close_part(const struct moe_stream_setup *setup, void *state, void *open, struct moe_err *err)
{
	struct state *s = state;
	struct open *o = open;

	(void)err;
	for (int32_t e = 0; e < setup->n_experts; e++)
		if (o->last[e] > 0)
			hold(s, o->n_tokens + 1 - o->last[e]);
	s->n_tokens += (uint64_t)o->n_tokens;
	return MOE_OK;
}

static enum moe_status merge(const struct moe_stream_setup *setup, void *into, const void *from, struct moe_err *err)
{
	struct state *to = into;
	const struct state *s = from;

	(void)setup;
	(void)err;
	to->n_tokens += s->n_tokens;
	for (int i = 0; i < WINDOWS; i++)
		to->held[i] += s->held[i];
	return MOE_OK;
}

static const struct moe_stream stream = {
	.state = state_bytes, .scope = MOE_SCOPE_PART, .open = open_bytes,
	.add = add, .close = close_part, .merge = merge,
};

/* Up to the window that holds all there is. */
static enum moe_status put_rows(const struct moe_counts *counts, struct moe_rows *rows, struct moe_err *err)
{
	const struct state *s = counts->state;

	(void)err;
	for (int i = 0; i < WINDOWS && s->n_tokens > 0; i++) {
		moe_rows_u64(rows, UINT64_C(1) << i);
		moe_rows_f64(rows, (double)s->held[i] / (double)s->n_tokens);
		if (i + 1 < WINDOWS && s->held[i + 1] == s->held[i])
			break;
	}
	return MOE_OK;
}

static const char *const columns[] = {"window", "experts", NULL};

const struct moe_metric moe_metric_working_set = {
	.name = "working_set", .unit = "experts", .all = MOE_ALL_POOL, .stream = &stream,
	.columns = columns, .n_keys = 1, .rows = put_rows,
	.help = "experts that the last 1, 2, 4, ... tokens chose, on average over all tokens of a part",
	.formula = "(1/T) sum_t #{experts in K(t-W+1) .. K(t)}; a part's first tokens have fewer before them",
	.source = "Denning and Schwartz 1972, Properties of the working-set model",
};
