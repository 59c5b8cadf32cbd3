/* Log-likelihood of sequences, and what follows from it. */
#ifndef MOE_EVAL_SCORE_H
#define MOE_EVAL_SCORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/pool.h"
#include "eval/sequences.h"
#include "text/tokenizer.h"

/* Sums over scored tokens; sums of parts add up to the whole. */
struct moe_score {
	int64_t n_tokens, n_bytes; /* bytes of the text scored; 0 where only ids are known */
	double logprob; /* nats */
};

double moe_score_ppl(const struct moe_score *score); /* exp(-logprob / tokens); NaN for no tokens */
double moe_score_bpb(const struct moe_score *score); /* -logprob / (bytes ln 2); NaN for no bytes */

/* What the MTP head makes of the same tokens, two ahead of the last it was given: all that are scored but a sequence's
 * second, which it cannot predict. */
struct moe_mtp_score {
	struct moe_score score;
	int64_t n_agree; /* tokens where its likeliest is the likeliest of the model's own head */
};
double moe_mtp_agree(const struct moe_mtp_score *score); /* n_agree / tokens; NaN for no tokens */

/* *sum += add. */
void moe_score_add(struct moe_score *sum, const struct moe_score *add);
void moe_mtp_score_add(struct moe_mtp_score *sum, const struct moe_mtp_score *add);

/* Appends the header line, and the row of a source under it; mtp NULL or false: without the columns of the MTP head.
 * json: an object of the same names, NaN as null, and no header. */
void moe_score_head(bool mtp, struct moe_buf *out);
void moe_score_print(const struct moe_score *score, const struct moe_mtp_score *mtp, const char *source, bool json,
                     struct moe_buf *out);

/* Adds up the rows of logits that moe_hooks.logits delivers for one sequence. tokenizer NULL: bytes stay 0. */
struct moe_scorer {
	const struct moe_tokenizer *tokenizer;
	struct moe_pool *pool;
	int32_t vocab_size;
	const struct moe_sequence *seq;
	struct moe_score sum;
	struct moe_mtp_score mtp;
	int32_t *likeliest; /* [n_tokens] of seq: what each row of logits is for; NULL where no MTP head is scored */
};
/* Rows [n_rows][vocab] of the tokens at pos..: row i scores token pos + i + 1. */
MOE_MUST_USE enum moe_status moe_scorer_rows(struct moe_scorer *scorer, int64_t pos, int64_t n_rows,
                                             const float *logits, struct moe_err *err);
/* Rows that moe_hooks.mtp_logits delivers: row i scores token pos + i + 2. Those of the model's own head that score the
 * same tokens came before. */
MOE_MUST_USE enum moe_status moe_scorer_mtp_rows(struct moe_scorer *scorer, int64_t pos, int64_t n_rows,
                                                 const float *logits, struct moe_err *err);

/* ln softmax(logits)[id], in double precision. */
double moe_log_prob(const float *logits, int32_t n, int32_t id);

#endif
