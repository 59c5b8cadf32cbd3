/* How many of a token's experts the token before it had chosen as well: what a cache of one token's experts saves. */
#include <math.h>
#include <string.h>

#include "stats/stats.h"

struct state {
	uint64_t n_choices, n_shared;   /* of tokens that have one before them */
};

struct open {
	int64_t next;    /* position that would follow; 0: nothing yet */
	int32_t ids[];   /* [top_k] of the token before it */
};

static size_t state_bytes(const struct moe_stream_setup *setup)
{
	(void)setup;
	return sizeof(struct state);
}

static size_t open_bytes(const struct moe_stream_setup *setup)
{
	return sizeof(struct open) + (size_t)setup->top_k * sizeof(int32_t);
}

/* A token before it that chose nothing, as of a layer that it does not reach, says nothing. */
static void compare(struct state *s, const int32_t *before, const int32_t *ids, int32_t k)
{
	for (int32_t i = 0; i < k && before[0] >= 0; i++) {
		if (ids[i] < 0)
			continue;
		s->n_choices++;
		for (int32_t j = 0; j < k; j++)
			if (before[j] == ids[i]) {
				s->n_shared++;
				break;
			}
	}
}

static enum moe_status add(const struct moe_stream_tokens *tokens, void *state, void *open, struct moe_err *err)
{
	const struct moe_routing *r = tokens->routing;
	const int32_t k = r->top_k;
	struct open *o = open;
	const int32_t *before = o->ids;

	(void)err;
	for (int64_t t = 0; t < r->n_tokens; t++) {
		const int32_t *ids = r->ids + t * k;

		if (t > 0 || (o->next > 0 && o->next == tokens->run->pos))
			compare(state, before, ids, k);
		before = ids;
	}
	memcpy(o->ids, before, (size_t)k * sizeof *before);
	o->next = tokens->run->pos + r->n_tokens;
	return MOE_OK;
}

static enum moe_status merge(const struct moe_stream_setup *setup, void *into, const void *from, struct moe_err *err)
{
	struct state *to = into;
	const struct state *s = from;

	(void)setup;
	(void)err;
	to->n_choices += s->n_choices;
	to->n_shared += s->n_shared;
	return MOE_OK;
}

static const struct moe_stream stream = {
	.state = state_bytes, .scope = MOE_SCOPE_SEQUENCE, .open = open_bytes,
	.add = add, .merge = merge,
};

static double overlap(const struct moe_counts *counts)
{
	const struct state *s = counts->state;

	return s->n_choices ? (double)s->n_shared / (double)s->n_choices : (double)NAN;
}

const struct moe_metric moe_metric_overlap = {
	.name = "overlap", .unit = "1", .all = MOE_ALL_MEAN, .layer = overlap, .stream = &stream,
	.help = "share of a token's experts that the token before it chose as well",
	.formula = "sum_t |K(t) & K(t-1)| / sum_t |K(t)|, over neighbours in the sequence that both choose",
	.source = "definition; K/E where choices are even and independent",
};
