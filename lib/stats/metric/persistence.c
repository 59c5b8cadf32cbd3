/* How sure an expert is to be chosen again by the next token of the sequence. */
#include <math.h>
#include <string.h>

#include "stats/stats.h"

struct open {
	int64_t next;    /* position that would follow; 0: nothing yet */
	int32_t ids[];   /* [top_k] of the token before it */
};

/* [n_experts] choices that have a token behind them, [n_experts] those that it repeats */
static size_t state_bytes(const struct moe_stream_setup *setup)
{
	return 2 * (size_t)setup->n_experts * sizeof(uint64_t);
}

static size_t open_bytes(const struct moe_stream_setup *setup)
{
	return sizeof(struct open) + (size_t)setup->top_k * sizeof(int32_t);
}

/* A token behind it that chooses nothing, as of a layer that it does not reach, is no successor. */
static void compare(uint64_t *followed, uint64_t *repeated, const int32_t *before, const int32_t *ids, int32_t k)
{
	for (int32_t i = 0; i < k && ids[0] >= 0; i++) {
		if (before[i] < 0)
			continue;
		followed[before[i]]++;
		for (int32_t j = 0; j < k; j++)
			if (before[i] == ids[j]) {
				repeated[before[i]]++;
				break;
			}
	}
}

static enum moe_status add(const struct moe_stream_tokens *tokens, void *state, void *open, struct moe_err *err)
{
	const struct moe_routing *r = tokens->routing;
	const int32_t k = r->top_k;
	uint64_t *followed = state;
	struct open *o = open;
	const int32_t *before = o->ids;

	(void)err;
	for (int64_t t = 0; t < r->n_tokens; t++) {
		const int32_t *ids = r->ids + t * k;

		if (t > 0 || (o->next > 0 && o->next == tokens->run->pos))
			compare(followed, followed + r->n_experts, before, ids, k);
		before = ids;
	}
	memcpy(o->ids, before, (size_t)k * sizeof *before);
	o->next = tokens->run->pos + r->n_tokens;
	return MOE_OK;
}

static enum moe_status merge(const struct moe_stream_setup *setup, void *into, const void *from, struct moe_err *err)
{
	uint64_t *to = into;
	const uint64_t *s = from;

	(void)err;
	for (size_t i = 0; i < 2 * (size_t)setup->n_experts; i++)
		to[i] += s[i];
	return MOE_OK;
}

static const struct moe_stream stream = {
	.state = state_bytes, .scope = MOE_SCOPE_SEQUENCE, .open = open_bytes, .add = add, .merge = merge,
};

static double persistence(const struct moe_counts *counts, int32_t expert)
{
	const uint64_t *followed = counts->state, *repeated = followed + counts->n_experts;

	return followed[expert] ? (double)repeated[expert] / (double)followed[expert] : (double)NAN;
}

const struct moe_metric moe_metric_persistence = {
	.name = "persistence", .unit = "1", .all = MOE_ALL_MEAN, .expert = persistence, .stream = &stream,
	.help = "the part of an expert's tokens after which the next token of the sequence chooses it again",
	.formula = "#{t: e in K(t), e in K(t+1)} / #{t: e in K(t), t has a successor}",
	.source = "Jiang et al. 2024, Mixtral of Experts, section 5",
};
