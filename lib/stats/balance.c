/* Sums of scores and choices: of all tokens, and of each sequence. A block of sums is a head and arrays behind it:
 *
 *	struct head | scores moe_fixed[E] | chosen u64[E] | first u64[E] | sent u64[D]
 *
 * The state of all tokens is one block. Of sequences, a block is what is open, and the state is the losses of those
 * that are closed. */
#include "stats/balance.h"

#include <math.h>

#include "stats/fixed.h"

struct head {
	uint64_t n_tokens, unused;   /* the size is a multiple of that of a moe_fixed */
};

/* Losses of closed sequences, summed. */
struct closed {
	uint64_t n_sequences;
	struct moe_fixed expert, device, communication;
};

static struct moe_fixed *scores_of(void *block) { return (struct moe_fixed *)((struct head *)block + 1); }
static uint64_t *chosen_of(void *block, int32_t n) { return (uint64_t *)(scores_of(block) + n); }
static uint64_t *first_of(void *block, int32_t n) { return chosen_of(block, n) + n; }
static uint64_t *sent_of(void *block, int32_t n) { return first_of(block, n) + n; }

static size_t block_bytes(const struct moe_stream_setup *setup)
{
	size_t n = (size_t)setup->n_experts;

	return sizeof(struct head) + n * (sizeof(struct moe_fixed) + 2 * sizeof(uint64_t)) +
	       (size_t)setup->n_groups * sizeof(uint64_t);
}

/* Scores, marks of groups, own choices. */
static size_t scratch_bytes(const struct moe_stream_setup *setup)
{
	return (size_t)setup->n_experts * sizeof(double) + (size_t)setup->n_groups * sizeof(int64_t) +
	       (size_t)setup->top_k * sizeof(int32_t);
}

enum choices { STORED, OWN };

/* The groups that a token's choices lie in, each once. marks: [n_groups] the token that was there last, plus 1. */
static void add_sent(const struct moe_stream_setup *setup, const int32_t *ids, int64_t token, int64_t *marks,
                     uint64_t *sent)
{
	const int32_t n_each = setup->n_experts / setup->n_groups;

	for (int32_t k = 0; k < setup->top_k; k++) {
		int32_t group = ids[k] / n_each;

		if (ids[k] < 0 || marks[group] == token + 1)
			continue;
		marks[group] = token + 1;
		sent[group]++;
	}
}

static enum moe_status add_block(const struct moe_stream_tokens *tokens, void *block, enum moe_scoring scoring,
                                 enum choices choices, struct moe_err *err)
{
	const struct moe_stream_setup *setup = tokens->setup;
	const struct moe_routing *r = tokens->routing;
	const int32_t n = r->n_experts, top_k = r->top_k;
	struct moe_fixed *sums = scores_of(block);
	uint64_t *chosen = chosen_of(block, n), *first = first_of(block, n);
	double *scores = tokens->scratch;
	int64_t *marks = (int64_t *)(scores + n);
	int32_t *own = (int32_t *)(marks + setup->n_groups);

	for (int32_t g = 0; g < setup->n_groups; g++)
		marks[g] = 0;
	for (int64_t t = 0; t < r->n_tokens; t++) {
		const float *logits = r->logits + t * n;
		const int32_t *ids = choices == OWN ? own : r->ids + t * top_k;
		enum moe_token is = moe_stream_token(r, t);
		int32_t best = 0;

		if (is == MOE_TOKEN_ELSEWHERE)
			continue;
		if (is == MOE_TOKEN_BAD || !moe_stream_scores(scoring, logits, n, scores))
			return moe_stream_bad(tokens, t, "the logits are not numbers", err);
		if (choices == OWN)
			moe_top_k(logits, n, top_k, own);
		for (int32_t i = 0; i < n; i++) {
			moe_fixed_add(&sums[i], scores[i]);
			best = logits[i] > logits[best] ? i : best;
		}
		for (int32_t k = 0; k < top_k; k++)
			if (ids[k] >= 0)
				chosen[ids[k]]++;
		first[best]++;
		if (setup->n_groups > 0)
			add_sent(setup, ids, t, marks, sent_of(block, n));
		((struct head *)block)->n_tokens++;
	}
	return MOE_OK;
}

/* ---- all tokens ---- */

static enum moe_status add_stored(const struct moe_stream_tokens *tokens, void *state, void *open, struct moe_err *err)
{
	(void)open;
	return add_block(tokens, state, moe_stream_scoring(tokens->setup), STORED, err);
}

static enum moe_status add_own(const struct moe_stream_tokens *tokens, void *state, void *open, struct moe_err *err)
{
	(void)open;
	return add_block(tokens, state, moe_stream_scoring(tokens->setup), OWN, err);
}

static enum moe_status add_softmax(const struct moe_stream_tokens *tokens, void *state, void *open,
                                   struct moe_err *err)
{
	(void)open;
	return add_block(tokens, state, MOE_SCORING_SOFTMAX, OWN, err);
}

static enum moe_status merge_blocks(const struct moe_stream_setup *setup, void *into, const void *from,
                                    struct moe_err *err)
{
	const int32_t n = setup->n_experts;
	void *block = (void *)(uintptr_t)from;   /* only looked at */
	const struct moe_fixed *scores = scores_of(block);
	const uint64_t *counts = chosen_of(block, n);
	uint64_t *to = chosen_of(into, n);

	(void)err;
	((struct head *)into)->n_tokens += ((const struct head *)from)->n_tokens;
	for (int32_t i = 0; i < n; i++)
		moe_fixed_merge(&scores_of(into)[i], &scores[i]);
	for (size_t i = 0; i < 2 * (size_t)n + (size_t)setup->n_groups; i++)
		to[i] += counts[i];
	return MOE_OK;
}

const struct moe_stream moe_stream_balance = {
	.state = block_bytes, .scratch = scratch_bytes, .add = add_stored, .merge = merge_blocks,
};
const struct moe_stream moe_stream_balance_own = {
	.state = block_bytes, .scratch = scratch_bytes, .add = add_own, .merge = merge_blocks,
};
const struct moe_stream moe_stream_balance_softmax = {
	.state = block_bytes, .scratch = scratch_bytes, .add = add_softmax, .merge = merge_blocks,
};

static struct moe_balance view(const void *from, int32_t n)
{
	void *block = (void *)(uintptr_t)from;   /* only looked at */

	return (struct moe_balance){.n_experts = n,
	                            .n_tokens = ((const struct head *)from)->n_tokens,
	                            .scores = scores_of(block),
	                            .chosen = chosen_of(block, n),
	                            .first = first_of(block, n)};
}

struct moe_balance moe_balance_of(const struct moe_counts *counts) { return view(counts->state, counts->n_experts); }

double moe_balance_dot(const struct moe_balance *b, const uint64_t *c)
{
	return moe_balance_group_dot(b, c, b->n_experts);
}

double moe_balance_group_dot(const struct moe_balance *b, const uint64_t *c, int32_t n_groups)
{
	const int32_t n_each = b->n_experts / n_groups;
	const double n_tokens = (double)b->n_tokens;
	double sum = 0;

	for (int32_t g = 0; g < n_groups; g++) {
		struct moe_fixed score = {0};
		uint64_t count = 0;

		for (int32_t i = g * n_each; i < (g + 1) * n_each; i++) {
			moe_fixed_merge(&score, &b->scores[i]);
			count += c[i];
		}
		sum += (double)count * moe_fixed_value(&score);
	}
	return b->n_tokens ? sum / n_tokens / n_tokens : (double)NAN;
}

/* ---- sequences ---- */

static size_t closed_bytes(const struct moe_stream_setup *setup)
{
	(void)setup;
	return sizeof(struct closed);
}

static enum moe_status add_to_sequence(const struct moe_stream_tokens *tokens, void *state, void *open,
                                       struct moe_err *err)
{
	(void)state;
	return add_block(tokens, open, moe_stream_scoring(tokens->setup), STORED, err);
}

/* The score of V3 is a sigmoid unless the trace says otherwise. */
static enum moe_status add_own_to_sequence(const struct moe_stream_tokens *tokens, void *state, void *open,
                                           struct moe_err *err)
{
	(void)state;
	return add_block(tokens, open,
	                 *tokens->setup->scoring ? moe_stream_scoring(tokens->setup) : MOE_SCORING_SIGMOID, OWN, err);
}

static enum moe_status close_sequence(const struct moe_stream_setup *setup, void *state, void *open,
                                      struct moe_err *err)
{
	const int32_t n = setup->n_experts, n_groups = setup->n_groups;
	const struct moe_balance b = view(open, n);
	const double per_choice = (double)n / setup->top_k;
	struct closed *c = state;

	(void)err;
	if (b.n_tokens == 0)   /* none of this layer */
		return MOE_OK;
	c->n_sequences++;
	moe_fixed_add(&c->expert, per_choice * moe_balance_dot(&b, b.chosen));
	if (n_groups == 0)
		return MOE_OK;
	/* The mean of E/(K T) c_i over the E/D experts of a group is D/(K T) times their sum. */
	moe_fixed_add(&c->device,
	              (double)n_groups / setup->top_k * moe_balance_group_dot(&b, b.chosen, n_groups));
	double sum = 0;

	for (int32_t g = 0; g < n_groups; g++) {
		struct moe_fixed score = {0};

		for (int32_t i = g * (n / n_groups); i < (g + 1) * (n / n_groups); i++)
			moe_fixed_merge(&score, &b.scores[i]);
		sum += (double)sent_of(open, n)[g] * moe_fixed_value(&score);
	}
	moe_fixed_add(&c->communication,
	              (double)n_groups / setup->top_groups * sum / (double)b.n_tokens / (double)b.n_tokens);
	return MOE_OK;
}

static enum moe_status merge_closed(const struct moe_stream_setup *setup, void *into, const void *from,
                                    struct moe_err *err)
{
	struct closed *to = into;
	const struct closed *c = from;

	(void)setup;
	(void)err;
	to->n_sequences += c->n_sequences;
	moe_fixed_merge(&to->expert, &c->expert);
	moe_fixed_merge(&to->device, &c->device);
	moe_fixed_merge(&to->communication, &c->communication);
	return MOE_OK;
}

const struct moe_stream moe_stream_sequences = {
	.state = closed_bytes, .scope = MOE_SCOPE_SEQUENCE, .open = block_bytes, .scratch = scratch_bytes,
	.add = add_to_sequence, .close = close_sequence, .merge = merge_closed,
};
const struct moe_stream moe_stream_sequences_own = {
	.state = closed_bytes, .scope = MOE_SCOPE_SEQUENCE, .open = block_bytes, .scratch = scratch_bytes,
	.add = add_own_to_sequence, .close = close_sequence, .merge = merge_closed,
};

static double mean(const struct closed *c, const struct moe_fixed *sum)
{
	return c->n_sequences ? moe_fixed_value(sum) / (double)c->n_sequences : (double)NAN;
}

double moe_sequences_expert(const struct moe_counts *counts)
{
	const struct closed *c = counts->state;

	return mean(c, &c->expert);
}

double moe_sequences_device(const struct moe_counts *counts)
{
	const struct closed *c = counts->state;

	return mean(c, &c->device);
}

double moe_sequences_communication(const struct moe_counts *counts)
{
	const struct closed *c = counts->state;

	return mean(c, &c->communication);
}
