/* Maximal violation of balance in batches. With C_b choices in batch b, C_b MaxVio_b = E max_e c_be - C_b is a whole
 * number, so the mean over batches, each weighing as much as it has choices, is a quotient of whole numbers. */
#include <math.h>
#include <string.h>

#include "stats/stats.h"

struct state {
	uint64_t n_choices, n_peaks;   /* sum_b C_b, sum_b max_e c_be */
};

/* The batch that is being filled. */
struct open {
	int64_t n_tokens;
	uint64_t counts[];   /* [n_experts] */
};

static size_t state_bytes(const struct moe_stream_setup *setup)
{
	(void)setup;
	return sizeof(struct state);
}

static size_t open_bytes(const struct moe_stream_setup *setup)
{
	return sizeof(struct open) + (size_t)setup->n_experts * sizeof(uint64_t);
}

static enum moe_status end_batch(const struct moe_stream_setup *setup, void *state, void *open, struct moe_err *err)
{
	struct state *s = state;
	struct open *o = open;
	uint64_t max = 0;

	(void)err;
	for (int32_t e = 0; e < setup->n_experts; e++) {
		s->n_choices += o->counts[e];
		max = o->counts[e] > max ? o->counts[e] : max;
	}
	s->n_peaks += max;
	memset(o, 0, open_bytes(setup));
	return MOE_OK;
}

static enum moe_status add(const struct moe_stream_tokens *tokens, void *state, void *open, struct moe_err *err)
{
	const struct moe_stream_setup *setup = tokens->setup;
	const struct moe_routing *r = tokens->routing;
	struct open *o = open;

	for (int64_t t = 0; t < r->n_tokens; t++) {
		for (int32_t k = 0; k < r->top_k; k++)
			if (r->ids[t * r->top_k + k] >= 0)
				o->counts[r->ids[t * r->top_k + k]]++;
		if (++o->n_tokens < setup->batch_tokens)
			continue;
		enum moe_status status = end_batch(setup, state, open, err);

		if (status)
			return status;
	}
	return MOE_OK;
}

static enum moe_status merge(const struct moe_stream_setup *setup, void *into, const void *from, struct moe_err *err)
{
	struct state *to = into;
	const struct state *s = from;

	(void)setup;
	(void)err;
	to->n_choices += s->n_choices;
	to->n_peaks += s->n_peaks;
	return MOE_OK;
}

static const struct moe_stream stream = {
	.state = state_bytes, .scope = MOE_SCOPE_PART, .open = open_bytes,
	.add = add, .close = end_batch, .merge = merge,
};

static double maxvio_batch(const struct moe_counts *counts)
{
	const struct state *s = counts->state;

	if (s->n_choices == 0)
		return (double)NAN;
	return (counts->n_experts * (double)s->n_peaks - (double)s->n_choices) / (double)s->n_choices;
}

const struct moe_metric moe_metric_maxvio_batch = {
	.name = "maxvio_batch", .unit = "1", .all = MOE_ALL_MEAN, .layer = maxvio_batch, .stream = &stream,
	.help = "MaxVio of batches of --batch-tokens tokens, averaged",
	.formula = "sum_b C_b MaxVio_b / sum_b C_b, batches b of N tokens that follow each other in a part",
	.source = "Wang et al. 2024, Auxiliary-Loss-Free Load Balancing Strategy for Mixture-of-Experts",
};
