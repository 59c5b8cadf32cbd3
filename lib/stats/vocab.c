/* Counting choices by token id. */
#include "stats/vocab.h"

#include <stdlib.h>

#include "base/rng.h"

static size_t state_bytes(const struct moe_stream_setup *setup)
{
	(void)setup;
	return sizeof(struct moe_vocab);
}

/* The entry of a pair, or the free one where it would be. */
static struct moe_vocab_entry *entry_of(const struct moe_vocab *v, uint32_t token, uint32_t expert)
{
	size_t at = (size_t)moe_rng_mix((uint64_t)token << 32 | expert) & (v->cap - 1);

	while (v->entries[at].count != 0 && (v->entries[at].token != token || v->entries[at].expert != expert))
		at = (at + 1) & (v->cap - 1);
	return &v->entries[at];
}

static enum moe_status put(struct moe_vocab *v, uint32_t token, uint32_t expert, uint64_t count, struct moe_err *err)
{
	struct moe_vocab_entry *entry;

	if (2 * (v->n + 1) > v->cap) {
		struct moe_vocab grown = {.cap = v->cap ? 2 * v->cap : 1024};

		grown.entries = calloc(grown.cap, sizeof *grown.entries);
		if (!grown.entries)
			return moe_err_nomem(err, grown.cap * sizeof *grown.entries, "the counts of token ids");
		for (size_t i = 0; i < v->cap; i++)
			if (v->entries[i].count)
				*entry_of(&grown, v->entries[i].token, v->entries[i].expert) = v->entries[i];
		free(v->entries);
		v->entries = grown.entries;
		v->cap = grown.cap;
	}
	entry = entry_of(v, token, expert);
	v->n += entry->count == 0;
	entry->token = token;
	entry->expert = expert;
	entry->count += count;
	return MOE_OK;
}

uint64_t moe_vocab_count(const struct moe_vocab *v, uint32_t token, uint32_t expert)
{
	return v->cap ? entry_of(v, token, expert)->count : 0;
}

static enum moe_status add(const struct moe_stream_tokens *tokens, void *state, void *open, struct moe_err *err)
{
	const struct moe_routing *r = tokens->routing;
	struct moe_vocab *v = state;
	enum moe_status status = MOE_OK;

	(void)open;
	for (int64_t t = 0; t < r->n_tokens && !status; t++) {
		int32_t token = tokens->run->tokens[t];
		uint64_t n = 0;

		for (int32_t k = 0; k < r->top_k && !status; k++) {
			int32_t id = r->ids[t * r->top_k + k];

			if (id < 0)
				continue;
			if (token < 0)
				return moe_stream_bad(tokens, t, "its token id is not known", err);
			n++;
			status = put(v, (uint32_t)token, (uint32_t)id, 1, err);
		}
		if (n > 0 && !status)
			status = put(v, (uint32_t)token, MOE_VOCAB_ALL, n, err);
		v->n_choices += n;
	}
	return status;
}

static enum moe_status merge(const struct moe_stream_setup *setup, void *into, const void *from, struct moe_err *err)
{
	const struct moe_vocab *v = from;
	enum moe_status status = MOE_OK;

	(void)setup;
	for (size_t i = 0; i < v->cap && !status; i++)
		if (v->entries[i].count)
			status = put(into, v->entries[i].token, v->entries[i].expert, v->entries[i].count, err);
	((struct moe_vocab *)into)->n_choices += v->n_choices;
	return status;
}

static void clear(const struct moe_stream_setup *setup, void *state)
{
	(void)setup;
	free(((struct moe_vocab *)state)->entries);
}

const struct moe_stream moe_stream_vocab = {.state = state_bytes, .add = add, .merge = merge, .clear = clear};
