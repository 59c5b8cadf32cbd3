/* Log-likelihood of sequences, and what follows from it. */
#ifndef MOE_EVAL_SCORE_H
#define MOE_EVAL_SCORE_H

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

/* Appends the row of a source under this header line; json: an object of the same names, NaN as null. */
#define MOE_SCORE_HEAD "source\ttokens\tbytes\tlogprob\tppl\tbpb\n"
void moe_score_print(const struct moe_score *score, const char *source, bool json, struct moe_buf *out);

/* Adds up the rows of logits that moe_hooks.logits delivers for one sequence. tokenizer NULL: bytes stay 0. */
struct moe_scorer {
	const struct moe_tokenizer *tokenizer;
	struct moe_pool *pool;
	int32_t vocab_size;
	const struct moe_sequence *seq;
	struct moe_score sum;
};
/* Rows [n_rows][vocab] of the tokens at pos..: row i scores token pos + i + 1. */
MOE_MUST_USE enum moe_status moe_scorer_rows(struct moe_scorer *scorer, int64_t pos, int64_t n_rows,
                                             const float *logits, struct moe_err *err);

/* ln softmax(logits)[id], in double precision. */
double moe_log_prob(const float *logits, int32_t n, int32_t id);

#endif
