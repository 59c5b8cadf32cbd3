/* What balance losses are made of: how many choices each expert had, and how much of the router's score.
 *
 * For T tokens of a layer with E experts: scores s_it, which sum up to 1 over i; P_i = (1/T) sum_t s_it; and counts c_i
 * of one kind of choice or another. Coefficients are 1 throughout. */
#ifndef MOE_STATS_BALANCE_H
#define MOE_STATS_BALANCE_H

#include "stats/stats.h"
#include "stats/stream.h"

/* All tokens together. Scores are softmax or sigmoid as the trace says (sigmoids over their sum); choices are those in
 * the trace, dropped ones included, ... */
extern const struct moe_stream moe_stream_balance;
/* ... or the top_k largest logits: without bias, groups, noise and capacity. Ties go to the lower expert. */
extern const struct moe_stream moe_stream_balance_own;
/* The same, and the scores are softmax whatever the trace says. */
extern const struct moe_stream moe_stream_balance_softmax;

/* A view of the state of one of these. */
struct moe_balance {
	int32_t n_experts;
	uint64_t n_tokens;         /* T; every mean is NaN where it is 0 */
	const struct moe_fixed *scores;   /* [n_experts] sum_t s_it */
	const uint64_t *chosen;    /* [n_experts] c_i */
	const uint64_t *first;     /* [n_experts] how often expert i had the largest logit */
};
struct moe_balance moe_balance_of(const struct moe_counts *counts);
/* sum_i c_i P_i / T: with c_i/T the part of the tokens that chose i, what all these losses are multiples of. */
double moe_balance_dot(const struct moe_balance *balance, const uint64_t *c);
/* The same over D groups of experts: sum_g (sum_i c_i) (sum_i P_i) / T, i in g. */
double moe_balance_group_dot(const struct moe_balance *balance, const uint64_t *c, int32_t n_groups);

/* Sequence by sequence: a loss of each, and the mean of these. Choices as in moe_stream_balance, or the largest logits
 * with scores that are sigmoids where the trace does not name them. */
extern const struct moe_stream moe_stream_sequences, moe_stream_sequences_own;

/* Means over sequences, NaN where there is none: E/(K T) sum_i c_i P_i; the same of groups, with the mean of
 * E/(K T) c_i in a group and the sum of P_i; and D/(M T) sum_g n_g sum_i P_i, n_g the tokens that have a choice in
 * group g. */
double moe_sequences_expert(const struct moe_counts *counts);
double moe_sequences_device(const struct moe_counts *counts);
double moe_sequences_communication(const struct moe_counts *counts);

#endif
