/* Log-likelihood of sequences, and what follows from it. */
#ifndef MOE_EVAL_SCORE_H
#define MOE_EVAL_SCORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/pool.h"
#include "eval/record.h"
#include "eval/result.h"
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

/* The row of a source, for a result of these columns; mtp NULL: the first MOE_SCORE_N_COLUMNS. */
#define MOE_SCORE_COLUMNS "source\ttokens\tbytes\tlogprob\tppl\tbpb"
#define MOE_SCORE_MTP_COLUMNS \
	MOE_SCORE_COLUMNS "\tmtp_tokens\tmtp_bytes\tmtp_logprob\tmtp_ppl\tmtp_bpb\tmtp_agree"
enum { MOE_SCORE_N_COLUMNS = 6, MOE_SCORE_N_MTP_COLUMNS = 12 };
MOE_MUST_USE enum moe_status moe_score_row(struct moe_result *result, const struct moe_score *score,
                                           const struct moe_mtp_score *mtp, const char *source, struct moe_err *err);
/* The last row, of what the rows say. */
MOE_MUST_USE enum moe_status moe_score_total(struct moe_result *result, bool mtp, struct moe_err *err);

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

/* Feeds the session a sequence but for its last token, and scores what follows its n_given tokens, at least one. Of the
 * sequence that was fed `before` (NULL: none) it keeps what both begin with, where the session can go back to that and
 * nobody records; the scores are the same. */
MOE_MUST_USE enum moe_status moe_scorer_continuation(struct moe_scorer *scorer, struct moe_session *session,
                                                     struct moe_record *record, const struct moe_sequence *seq,
                                                     int64_t number, const struct moe_sequence *before,
                                                     struct moe_err *err);

/* ln softmax(logits)[id], in double precision. */
double moe_log_prob(const float *logits, int32_t n, int32_t id);

#endif
