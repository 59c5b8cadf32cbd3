/* Counting pairs of experts. */
#include "stats/pairs.h"

#include <stdlib.h>
#include <string.h>

/* ---- in one layer ---- */

static size_t together_bytes(const struct moe_stream_setup *setup)
{
	size_t n = (size_t)setup->n_experts;

	return sizeof(struct moe_together) + n * (n + 1) / 2 * sizeof(uint64_t);
}

/* The choices of a token, each once, into out [k]; how many. */
static int32_t distinct(const int32_t *ids, int32_t k, int32_t *out)
{
	int32_t n = 0;

	for (int32_t i = 0; i < k; i++) {
		bool known = ids[i] < 0;

		for (int32_t j = 0; j < n && !known; j++)
			known = out[j] == ids[i];
		if (!known)
			out[n++] = ids[i];
	}
	return n;
}

/* Room for the choices of a token in two layers. */
static size_t ids_bytes(const struct moe_stream_setup *setup) { return 2 * (size_t)setup->top_k * sizeof(int32_t); }

static enum moe_status add_together(const struct moe_stream_tokens *tokens, void *state, void *open,
                                    struct moe_err *err)
{
	const struct moe_routing *r = tokens->routing;
	struct moe_together *s = state;
	int32_t *ids = tokens->scratch;

	(void)open;
	(void)err;
	for (int64_t t = 0; t < r->n_tokens; t++) {
		int32_t n = distinct(r->ids + t * r->top_k, r->top_k, ids);

		s->n_tokens += n > 0;
		for (int32_t i = 0; i < n; i++)
			for (int32_t j = 0; j <= i; j++)
				s->counts[moe_pair_at(ids[i], ids[j], r->n_experts)]++;
	}
	return MOE_OK;
}

static enum moe_status merge_together(const struct moe_stream_setup *setup, void *into, const void *from,
                                      struct moe_err *err)
{
	struct moe_together *to = into;
	const struct moe_together *s = from;
	const size_t n = (size_t)setup->n_experts;

	(void)err;
	to->n_tokens += s->n_tokens;
	for (size_t i = 0; i < n * (n + 1) / 2; i++)
		to->counts[i] += s->counts[i];
	return MOE_OK;
}

const struct moe_stream moe_stream_together = {
	.state = together_bytes, .scratch = ids_bytes, .add = add_together, .merge = merge_together,
};

/* ---- from layer to layer ---- */

static size_t transitions_bytes(const struct moe_stream_setup *setup)
{
	size_t n = (size_t)setup->n_experts;

	return sizeof(struct moe_transitions) + (n * n + 2 * n) * sizeof(uint64_t);
}

static enum moe_status add_transitions(const struct moe_stream_tokens *tokens, void *state, void *open,
                                       struct moe_err *err)
{
	const struct moe_routing *r = tokens->routing, *next = r + 1;
	const size_t n = (size_t)r->n_experts;
	struct moe_transitions *s = state;
	int32_t *ids = tokens->scratch, *after = ids + r->top_k;

	(void)open;
	(void)err;
	if (tokens->row + 1 == tokens->setup->n_layers)
		return MOE_OK;
	for (int64_t t = 0; t < r->n_tokens; t++) {
		int32_t n_ids = distinct(r->ids + t * r->top_k, r->top_k, ids);
		int32_t n_after = distinct(next->ids + t * r->top_k, r->top_k, after);

		if (n_ids == 0 || n_after == 0)
			continue;
		s->n_tokens++;
		for (int32_t i = 0; i < n_ids; i++) {
			uint64_t *row = s->counts + 2 * n + (size_t)ids[i] * n;

			s->counts[ids[i]]++;
			for (int32_t j = 0; j < n_after; j++)
				row[after[j]]++;
		}
		for (int32_t j = 0; j < n_after; j++)
			s->counts[n + (size_t)after[j]]++;
	}
	return MOE_OK;
}

static enum moe_status merge_transitions(const struct moe_stream_setup *setup, void *into, const void *from,
                                         struct moe_err *err)
{
	struct moe_transitions *to = into;
	const struct moe_transitions *s = from;
	const size_t n = (size_t)setup->n_experts;

	(void)err;
	to->n_tokens += s->n_tokens;
	for (size_t i = 0; i < n * n + 2 * n; i++)
		to->counts[i] += s->counts[i];
	return MOE_OK;
}

const struct moe_stream moe_stream_transitions = {
	.state = transitions_bytes, .scratch = ids_bytes, .add = add_transitions, .merge = merge_transitions,
};

int32_t moe_next_layer(const struct moe_stream_setup *setup, int32_t layer)
{
	for (int32_t l = 0; l + 1 < setup->n_layers; l++)
		if (setup->layers[l] == layer)
			return setup->layers[l + 1];
	return -1;
}

/* ---- the largest ---- */

struct keyed {
	double key;
	size_t index;
};

static int falling(const void *a, const void *b)
{
	const struct keyed *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? 1 : -1;
	return (x->index > y->index) - (x->index < y->index);
}

enum moe_status moe_pick_top(const double *keys, size_t n_keys, int64_t n, size_t **order, size_t *n_order,
                             struct moe_err *err)
{
	struct keyed *all = calloc(n_keys + 1, sizeof *all);

	*order = calloc(n_keys + 1, sizeof **order);
	if (!all || !*order) {
		free(all);
		free(*order);
		*order = NULL;
		return moe_err_nomem(err, n_keys * sizeof *all, "rows in order");
	}
	for (size_t i = 0; i < n_keys; i++)
		all[i] = (struct keyed){keys[i], i};
	*n_order = n_keys;
	if (n > 0)
		qsort(all, n_keys, sizeof *all, falling);
	if (n > 0 && (uint64_t)n < n_keys)
		*n_order = (size_t)n;
	for (size_t i = 0; i < *n_order; i++)
		(*order)[i] = all[i].index;
	free(all);
	return MOE_OK;
}
