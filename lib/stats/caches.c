/* Caches of every size in one replay. */
#include "stats/caches.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats/rows.h"

/* What a replay works on: lists of keys, first the one that stays longest. */
struct replay {
	const struct moe_caches *c;
	int32_t width, top_k;
	int64_t n_tokens;
	uint64_t *hits[MOE_CACHE_RULES];   /* [n_keys] each */
	int32_t *list[MOE_CACHE_RULES];    /* [n_keys] each, the first n_listed of them in use */
	int32_t n_listed[MOE_CACHE_RULES];
	uint64_t *n_chosen;                /* [n_keys] */
	/* For Belady: the tokens that choose a key, ascending, are uses[from[key]] up to uses[from[key + 1]]. */
	uint64_t *from;                    /* [n_keys + 1] */
	uint64_t *at;                      /* [n_keys] the next of them */
	uint32_t *uses;
	int32_t *ids;                      /* [top_k] of the token at hand, each once */
	int32_t n_ids;
};

/* ---- the sequence of choices ---- */

static int32_t keys_of(const struct moe_stream_setup *setup, bool shared)
{
	return shared ? setup->n_fed * setup->n_experts : setup->n_experts;
}

static int32_t width_of(int32_t n_keys) { return n_keys <= 256 ? 1 : n_keys <= 65536 ? 2 : 4; }

static size_t state_bytes_of(const struct moe_stream_setup *setup, bool shared)
{
	return sizeof(struct moe_caches) + (size_t)keys_of(setup, shared) * MOE_CACHE_RULES * sizeof(uint64_t);
}

static size_t state_bytes(const struct moe_stream_setup *setup) { return state_bytes_of(setup, false); }
static size_t state_bytes_shared(const struct moe_stream_setup *setup) { return state_bytes_of(setup, true); }

/* A part under way is known by the sequence in the state. */
static size_t open_bytes(const struct moe_stream_setup *setup)
{
	(void)setup;
	return 1;
}

static enum moe_status make_room(struct moe_caches *c, size_t n_more, size_t max, struct moe_err *err)
{
	size_t cap = c->cap_bytes ? c->cap_bytes : 4096;
	void *grown;

	if (n_more > max - c->n_bytes)
		return moe_err_set(err, MOE_EFORMAT,
		                   "caches: the sequence of choices, which Belady's rule and the static list need, "
		                   "passes %zu bytes for a layer: ask for fewer layers, or for parts of the trace",
		                   max);
	while (cap < c->n_bytes + n_more)
		cap *= 2;
	if (cap == c->cap_bytes)
		return MOE_OK;
	grown = realloc(c->ids, cap);
	if (!grown)
		return moe_err_nomem(err, cap, "the sequence of choices");
	c->ids = grown;
	c->cap_bytes = cap;
	return MOE_OK;
}

/* The choices of a token as keys; an absent or a repeated one stands as the first, and counts once. */
static enum moe_status add_token(struct moe_caches *c, const int32_t *ids, int32_t k, int32_t base, size_t max,
                                 struct moe_err *err)
{
	const int32_t width = width_of(c->n_keys);
	int32_t first = -1;
	enum moe_status status;

	for (int32_t i = k - 1; i >= 0; i--)
		first = ids[i] >= 0 ? ids[i] : first;
	if (first < 0)
		return MOE_OK;
	status = make_room(c, (size_t)k * (size_t)width, max, err);
	for (int32_t i = 0; i < k && !status; i++) {
		int32_t id = i == 0 || ids[i] < 0 ? first : ids[i];
		uint32_t key;

		for (int32_t j = 0; j < i; j++)
			id = ids[j] == id ? first : id;
		key = (uint32_t)(base + id);
		for (int32_t b = 0; b < width; b++)
			c->ids[c->n_bytes++] = (uint8_t)(key >> 8 * b);
	}
	return status;
}

static enum moe_status add(const struct moe_stream_tokens *tokens, void *state, void *open, struct moe_err *err)
{
	const struct moe_routing *r = tokens->routing;
	struct moe_caches *c = state;
	enum moe_status status = MOE_OK;

	(void)open;
	c->n_keys = keys_of(tokens->setup, false);
	for (int64_t t = 0; t < r->n_tokens && !status; t++)
		status = add_token(c, r->ids + t * r->top_k, r->top_k, 0,
		                   MOE_CACHES_MAX / (size_t)tokens->setup->n_fed, err);
	return status;
}

/* A token passes layer after layer. */
static enum moe_status add_shared(const struct moe_stream_tokens *tokens, void *state, void *open, struct moe_err *err)
{
	const struct moe_stream_setup *setup = tokens->setup;
	struct moe_caches *c = state;
	enum moe_status status = MOE_OK;

	(void)open;
	if (tokens->row != setup->rows[0])
		return MOE_OK;
	c->n_keys = keys_of(setup, true);
	for (int64_t t = 0; t < tokens->routing->n_tokens; t++)
		for (int32_t l = 0; l < setup->n_fed && !status; l++) {
			const struct moe_routing *r = tokens->run->layers + setup->rows[l];

			status = add_token(c, r->ids + t * r->top_k, r->top_k, l * setup->n_experts, MOE_CACHES_MAX,
			                   err);
		}
	return status;
}

/* ---- the replay ---- */

static void take_token(struct replay *p, int64_t token)
{
	const uint8_t *from = p->c->ids + (size_t)token * (size_t)p->top_k * (size_t)p->width;

	p->n_ids = 0;
	for (int32_t k = 0; k < p->top_k; k++) {
		uint32_t key = 0;

		for (int32_t b = 0; b < p->width; b++)
			key |= (uint32_t)*from++ << 8 * b;
		if (k == 0 || (int32_t)key != p->ids[0])
			p->ids[p->n_ids++] = (int32_t)key;
	}
}

static int32_t position_of(const struct replay *p, enum moe_cache_rule rule, int32_t key)
{
	const int32_t *list = p->list[rule];
	int32_t n = p->n_listed[rule], i = 0;

	while (i < n && list[i] != key)
		i++;
	return i;
}

static void look_up(struct replay *p, enum moe_cache_rule rule)
{
	for (int32_t i = 0; i < p->n_ids; i++) {
		int32_t at = position_of(p, rule, p->ids[i]);

		if (at < p->n_listed[rule])
			p->hits[rule][at]++;
	}
}

/* Moves a key, or a new one, forward to a place of its list. */
static void move(struct replay *p, enum moe_cache_rule rule, int32_t from, int32_t to, int32_t key)
{
	int32_t *list = p->list[rule];

	p->n_listed[rule] += from == p->n_listed[rule];
	memmove(list + to + 1, list + to, (size_t)(from - to) * sizeof *list);
	list[to] = key;
}

static void take_in_last(struct replay *p, int32_t key)
{
	move(p, MOE_CACHE_LRU, position_of(p, MOE_CACHE_LRU, key), 0, key);
}

static void take_in_frequent(struct replay *p, int32_t key)
{
	const int32_t *list = p->list[MOE_CACHE_LFU];
	int32_t from = position_of(p, MOE_CACHE_LFU, key), to = from;

	p->n_chosen[key]++;
	while (to > 0 && p->n_chosen[list[to - 1]] <= p->n_chosen[key])
		to--;
	move(p, MOE_CACHE_LFU, from, to, key);
}

static uint64_t next_use(const struct replay *p, int32_t key)
{
	return p->at[key] < p->from[key + 1] ? p->uses[p->at[key]] : UINT64_MAX;
}

/* In a cache of one place more after another, the newcomer pushes out whoever is needed last, down to the size that
 * held it already. */
static void take_in_needed(struct replay *p, int32_t key)
{
	int32_t *list = p->list[MOE_CACHE_BELADY], *n = &p->n_listed[MOE_CACHE_BELADY], carried = key;
	uint64_t use = next_use(p, key);

	for (int32_t i = 0; i < *n; i++) {
		int32_t here = list[i];
		uint64_t here_use;

		if (here == key) {
			list[i] = carried;
			return;
		}
		here_use = next_use(p, here);
		if (use < here_use) {
			list[i] = carried;
			carried = here;
			use = here_use;
		}
	}
	list[(*n)++] = carried;
}

static void replay_token(struct replay *p, int64_t token)
{
	take_token(p, token);
	look_up(p, MOE_CACHE_LRU);
	look_up(p, MOE_CACHE_LFU);
	look_up(p, MOE_CACHE_BELADY);
	if (token >= p->n_tokens / 2)
		look_up(p, MOE_CACHE_STATIC);
	for (int32_t i = 0; i < p->n_ids; i++)
		p->at[p->ids[i]]++;
	for (int32_t i = 0; i < p->n_ids; i++) {
		take_in_last(p, p->ids[i]);
		take_in_frequent(p, p->ids[i]);
		take_in_needed(p, p->ids[i]);
	}
}

/* Who uses a key when; and the list of the first half. Returns the choices of the second half. */
static uint64_t prepare(struct replay *p)
{
	const int32_t n_keys = p->c->n_keys;
	int32_t *fixed = p->list[MOE_CACHE_STATIC];
	uint64_t n = 0, n_late = 0;

	/* from[key + 1] counts, then says where the next use goes. */
	for (int64_t t = 0; t < p->n_tokens; t++) {
		take_token(p, t);
		for (int32_t i = 0; i < p->n_ids; i++) {
			p->from[p->ids[i] + 1]++;
			p->n_chosen[p->ids[i]] += t < p->n_tokens / 2;
		}
		n_late += t >= p->n_tokens / 2 ? (uint64_t)p->n_ids : 0;
	}
	for (int32_t key = 0; key < n_keys; key++) {
		uint64_t count = p->from[key + 1];

		p->from[key + 1] = p->at[key] = n;
		n += count;
	}
	for (int64_t t = 0; t < p->n_tokens; t++) {
		take_token(p, t);
		for (int32_t i = 0; i < p->n_ids; i++)
			p->uses[p->from[p->ids[i] + 1]++] = (uint32_t)t;
	}
	for (int32_t key = 0; key < n_keys; key++) {
		int32_t at = key;

		for (; at > 0 && p->n_chosen[fixed[at - 1]] < p->n_chosen[key]; at--)
			fixed[at] = fixed[at - 1];
		fixed[at] = key;
	}
	p->n_listed[MOE_CACHE_STATIC] = n_keys;
	memset(p->n_chosen, 0, (size_t)n_keys * sizeof *p->n_chosen);
	return n_late;
}

static enum moe_status replay(const struct moe_stream_setup *setup, struct moe_caches *c, struct moe_err *err)
{
	const size_t n_keys = (size_t)c->n_keys;
	struct replay p = {.c = c, .width = width_of(c->n_keys), .top_k = setup->top_k};
	size_t n_stored = c->n_bytes / (size_t)p.width;
	uint64_t *words = calloc(3 * n_keys + 1, sizeof *words);
	int32_t *lists = calloc(MOE_CACHE_RULES * n_keys + (size_t)p.top_k, sizeof *lists);
	enum moe_status status = MOE_OK;

	p.uses = calloc(n_stored, sizeof *p.uses);
	if (!words || !lists || !p.uses) {
		status = moe_err_nomem(err, n_stored * sizeof *p.uses, "the uses of experts");
		goto out;
	}
	p.n_tokens = (int64_t)(n_stored / (size_t)p.top_k);
	p.n_chosen = words;
	p.at = words + n_keys;
	p.from = words + 2 * n_keys;
	p.ids = lists + MOE_CACHE_RULES * n_keys;
	for (int rule = 0; rule < MOE_CACHE_RULES; rule++) {
		p.hits[rule] = c->hits + (size_t)rule * n_keys;
		p.list[rule] = lists + (size_t)rule * n_keys;
	}
	c->n_late += prepare(&p);
	c->n_choices += p.from[n_keys];
	for (int64_t t = 0; t < p.n_tokens; t++)
		replay_token(&p, t);
out:
	free(words);
	free(lists);
	free(p.uses);
	return status;
}

static enum moe_status close_part(const struct moe_stream_setup *setup, void *state, void *open, struct moe_err *err)
{
	struct moe_caches *c = state;
	enum moe_status status = c->n_bytes > 0 ? replay(setup, c, err) : MOE_OK;

	(void)open;
	free(c->ids);
	c->ids = NULL;
	c->n_bytes = c->cap_bytes = 0;
	return status;
}

static enum moe_status merge(const struct moe_stream_setup *setup, void *into, const void *from, struct moe_err *err)
{
	struct moe_caches *to = into;
	const struct moe_caches *c = from;

	(void)setup;
	(void)err;
	if (c->n_keys == 0)   /* nothing yet */
		return MOE_OK;
	to->n_keys = c->n_keys;
	to->n_choices += c->n_choices;
	to->n_late += c->n_late;
	for (size_t i = 0; i < MOE_CACHE_RULES * (size_t)c->n_keys; i++)
		to->hits[i] += c->hits[i];
	return MOE_OK;
}

static void clear(const struct moe_stream_setup *setup, void *state)
{
	(void)setup;
	free(((struct moe_caches *)state)->ids);
}

const struct moe_stream moe_stream_caches = {
	.state = state_bytes, .scope = MOE_SCOPE_PART, .open = open_bytes,
	.add = add, .close = close_part, .merge = merge, .clear = clear,
};
const struct moe_stream moe_stream_caches_shared = {
	.state = state_bytes_shared, .scope = MOE_SCOPE_PART, .open = open_bytes,
	.add = add_shared, .close = close_part, .merge = merge, .clear = clear,
};

void moe_caches_put(const struct moe_counts *counts, struct moe_rows *rows)
{
	static const enum moe_cache_rule order[] = {
		MOE_CACHE_LRU, MOE_CACHE_LFU, MOE_CACHE_STATIC, MOE_CACHE_BELADY};
	const struct moe_caches *c = counts->state;
	uint64_t sums[MOE_CACHE_RULES] = {0};

	for (int32_t i = 0; i < c->n_keys; i++) {
		moe_rows_u64(rows, (uint64_t)i + 1);
		for (int k = 0; k < MOE_CACHE_RULES; k++) {
			enum moe_cache_rule rule = order[k];
			uint64_t n = rule == MOE_CACHE_STATIC ? c->n_late : c->n_choices;

			sums[rule] += c->hits[(size_t)rule * (size_t)c->n_keys + (size_t)i];
			moe_rows_f64(rows, n ? (double)sums[rule] / (double)n : (double)NAN);
		}
	}
}
