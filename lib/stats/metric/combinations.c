/* Which sets of experts tokens were sent to: how many different ones, of how many there could be.
 *
 * A set is known by the sum of two hashes of its experts, 128 bits in all: of n sets two are taken for one with a
 * chance of n^2 / 2^129. */
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "model/account.h"
#include "stats/rows.h"
#include "stats/stats.h"

/* A set, and how many tokens it had. */
struct set {
	uint64_t hash[2];
	uint64_t n_tokens;   /* 0: free */
};

/* A hash table that grows. */
struct state {
	uint64_t n_tokens;   /* with top_k experts */
	size_t n, cap;
	struct set *sets;    /* [cap] */
};

static size_t state_bytes(const struct moe_stream_setup *setup)
{
	(void)setup;
	return sizeof(struct state);
}

/* The set, or the free place where it would be. */
static struct set *find(const struct state *s, const uint64_t hash[2])
{
	size_t at = (size_t)hash[0] & (s->cap - 1);

	while (s->sets[at].n_tokens && (s->sets[at].hash[0] != hash[0] || s->sets[at].hash[1] != hash[1]))
		at = (at + 1) & (s->cap - 1);
	return &s->sets[at];
}

static enum moe_status put(struct state *s, const uint64_t hash[2], uint64_t n_tokens, struct moe_err *err)
{
	struct set *set;

	if (2 * (s->n + 1) > s->cap) {
		struct state grown = {.cap = s->cap ? 2 * s->cap : 1024};

		grown.sets = calloc(grown.cap, sizeof *grown.sets);
		if (!grown.sets)
			return moe_err_nomem(err, grown.cap * sizeof *grown.sets, "the combinations of experts");
		for (size_t i = 0; i < s->cap; i++)
			if (s->sets[i].n_tokens)
				*find(&grown, s->sets[i].hash) = s->sets[i];
		free(s->sets);
		s->sets = grown.sets;
		s->cap = grown.cap;
	}
	set = find(s, hash);
	s->n += set->n_tokens == 0;
	*set = (struct set){.hash = {hash[0], hash[1]}, .n_tokens = set->n_tokens + n_tokens};
	s->n_tokens += n_tokens;
	return MOE_OK;
}

/* A token with fewer experts than top_k has none of the sets that are possible. */
static enum moe_status add(const struct moe_stream_tokens *tokens, void *state, void *open, struct moe_err *err)
{
	const struct moe_routing *r = tokens->routing;
	enum moe_status status = MOE_OK;

	(void)open;
	for (int64_t t = 0; t < r->n_tokens && !status; t++) {
		uint64_t hash[2] = {0, 0};
		int32_t n = 0;

		for (int32_t k = 0; k < r->top_k; k++) {
			const int32_t id = r->ids[t * r->top_k + k];

			if (id < 0)
				continue;
			hash[0] += moe_rng_mix((uint64_t)id + 1);
			hash[1] += moe_rng_mix((uint64_t)id + (UINT64_C(1) << 40));
			n++;
		}
		if (n == r->top_k)
			status = put(state, hash, 1, err);
	}
	return status;
}

static enum moe_status merge(const struct moe_stream_setup *setup, void *into, const void *from, struct moe_err *err)
{
	const struct state *s = from;
	enum moe_status status = MOE_OK;

	(void)setup;
	for (size_t i = 0; i < s->cap && !status; i++)
		if (s->sets[i].n_tokens)
			status = put(into, s->sets[i].hash, s->sets[i].n_tokens, err);
	return status;
}

static void clear(const struct moe_stream_setup *setup, void *state)
{
	(void)setup;
	free(((struct state *)state)->sets);
}

static const struct moe_stream stream = {.state = state_bytes, .add = add, .merge = merge, .clear = clear};

/* log2 of n over k. */
static double log2_of(int32_t n, int32_t k)
{
	double sum = 0;

	for (int32_t i = 1; i <= k; i++)
		sum += log2(((double)n - k + i) / i);
	return sum;
}

static enum moe_status put_rows(const struct moe_counts *counts, struct moe_rows *rows, struct moe_err *err)
{
	const struct state *s = counts->state;
	const int32_t n = counts->n_experts, k = counts->setup->top_k;
	uint64_t n_once = 0;
	char possible[48];

	(void)err;
	for (size_t i = 0; i < s->cap; i++)
		n_once += s->sets[i].n_tokens == 1;
	moe_combinations_text(n, k, possible);
	moe_rows_u64(rows, s->n_tokens);
	moe_rows_u64(rows, s->n);
	moe_rows_str(rows, possible);
	moe_rows_f64(rows, log2_of(n, k));
	moe_rows_f64(rows, (double)s->n * exp2(-log2_of(n, k)));
	moe_rows_f64(rows, s->n_tokens ? (double)n_once / (double)s->n_tokens : (double)NAN);
	return MOE_OK;
}

static const char *const columns[] = {"tokens", "used", "possible", "possible_log2", "share", "unseen", NULL};

const struct moe_metric moe_metric_combinations = {
	.name = "combinations", .unit = "tokens, sets, sets, bits, 1, 1", .all = MOE_ALL_NONE, .stream = &stream,
	.columns = columns, .rows = put_rows,
	.help = "different sets of experts that tokens had, of those possible; keeps a count for each that is used",
	.formula = "used = #{K(t)}, possible = E! / (K! (E - K)!), share = used / possible, unseen = #{seen once} / T",
	.source = "Dai et al. 2024, DeepSeekMoE, section 3.1; unseen: Good 1953, The population frequencies of species",
};
