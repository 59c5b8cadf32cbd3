/* Scores: log p(token | what came before) = logit - ln sum exp(logits), summed in the order of the tokens.
 * bits per byte = -logprob / (bytes ln 2), perplexity = exp(-logprob / tokens). */
#include "eval/score.h"

#include <math.h>
#include <string.h>

double moe_score_ppl(const struct moe_score *s) { return s->n_tokens ? exp(-s->logprob / (double)s->n_tokens) : NAN; }

double moe_score_bpb(const struct moe_score *s)
{
	return s->n_bytes ? -s->logprob / ((double)s->n_bytes * 0.693147180559945309417) : NAN;
}

double moe_mtp_agree(const struct moe_mtp_score *s)
{
	return s->score.n_tokens ? (double)s->n_agree / (double)s->score.n_tokens : NAN;
}

/* Columns of one head, from `at` on. */
enum { TOKENS, BYTES, LOGPROB, PPL, BPB, N_OF_HEAD };
enum { OWN = 1, MTP = OWN + N_OF_HEAD, AGREE = MTP + N_OF_HEAD };

static void add_fields(const struct moe_score *s, struct moe_field *fields)
{
	fields[TOKENS] = moe_field_int(s->n_tokens);
	fields[BYTES] = moe_field_int(s->n_bytes);
	fields[LOGPROB] = moe_field_real(s->logprob);
	fields[PPL] = moe_field_real(moe_score_ppl(s));
	fields[BPB] = moe_field_real(moe_score_bpb(s));
}

enum moe_status moe_score_row(struct moe_result *result, const struct moe_score *score, const struct moe_mtp_score *mtp,
                              const char *source, struct moe_err *err)
{
	struct moe_field fields[MOE_SCORE_N_MTP_COLUMNS] = { moe_field_text(source, strlen(source)) };
	add_fields(score, fields + OWN);
	if (mtp) {
		add_fields(&mtp->score, fields + MTP);
		fields[AGREE] = moe_field_real(moe_mtp_agree(mtp));
	}
	return moe_result_row(result, fields, err);
}

static struct moe_score sum_of(const struct moe_result *result, int at)
{
	return (struct moe_score){
		.n_tokens = (int64_t)moe_result_sum(result, at + TOKENS),
		.n_bytes = (int64_t)moe_result_sum(result, at + BYTES),
		.logprob = moe_result_sum(result, at + LOGPROB),
	};
}

enum moe_status moe_score_total(struct moe_result *result, bool mtp, struct moe_err *err)
{
	struct moe_field fields[MOE_SCORE_N_MTP_COLUMNS] = { moe_field_text("total", 5) };
	const struct moe_score own = sum_of(result, OWN);
	add_fields(&own, fields + OWN);
	if (mtp) {
		const struct moe_score other = sum_of(result, MTP);
		add_fields(&other, fields + MTP);
		const double n_agree = moe_result_dot(result, MTP + TOKENS, AGREE);
		fields[AGREE] = moe_field_real(other.n_tokens ? n_agree / (double)other.n_tokens : NAN);
	}
	return moe_result_last(result, fields, err);
}

double moe_log_prob(const float *logits, int32_t n, int32_t id)
{
	float max = logits[0];
	double sum = 0;
	for (int32_t i = 1; i < n; i++)
		max = logits[i] > max ? logits[i] : max;
	for (int32_t i = 0; i < n; i++)
		sum += exp((double)logits[i] - max);
	return (double)logits[id] - max - log(sum);
}

/* Rows a call delivers are few (the session's head block); each is scored on its own, then summed in order. */
enum { MAX_ROWS = 256 };

struct rows {
	const struct moe_scorer *scorer;
	int64_t first; /* the token that row 0 scores */
	bool wants_best;
	const float *logits;
	double logprob[MAX_ROWS];
	int32_t best[MAX_ROWS];
};

static bool is_scored(const struct moe_sequence *seq, int64_t pos)
{
	return pos >= seq->n_given && pos < seq->n_tokens;
}

/* The largest, the lower of equals. */
static int32_t likeliest(const float *logits, int32_t n)
{
	int32_t best = 0;
	for (int32_t i = 1; i < n; i++)
		best = logits[i] > logits[best] ? i : best;
	return best;
}

static void score_piece(void *arg, int64_t begin, int64_t end, int thread)
{
	(void)thread;
	struct rows *rows = arg;
	const struct moe_scorer *scorer = rows->scorer;
	for (int64_t i = begin; i < end; i++) {
		const float *logits = rows->logits + i * scorer->vocab_size;
		if (is_scored(scorer->seq, rows->first + i))
			rows->logprob[i] = moe_log_prob(logits, scorer->vocab_size,
			                                scorer->seq->tokens[rows->first + i]);
		if (rows->wants_best)
			rows->best[i] = likeliest(logits, scorer->vocab_size);
	}
}

/* Adds the tokens that rows score to sum; what: the name of the logits in messages. */
static enum moe_status add_rows(const struct rows *rows, int64_t n, const char *what, struct moe_score *sum,
                                struct moe_err *err)
{
	const struct moe_scorer *scorer = rows->scorer;
	for (int64_t i = 0; i < n; i++) {
		const int64_t at = rows->first + i;
		if (!is_scored(scorer->seq, at))
			continue;
		struct moe_str bytes = { 0 };
		if (scorer->tokenizer && !moe_tokenizer_bytes(scorer->tokenizer, scorer->seq->tokens[at], &bytes))
			return moe_err_set(err, MOE_EFORMAT, "token id %d has no text", (int)scorer->seq->tokens[at]);
		if (isnan(rows->logprob[i]))
			return moe_err_set(err, MOE_EFORMAT, "the %s for position %lld are not numbers", what,
			                   (long long)at);
		sum->n_tokens++;
		sum->n_bytes += (int64_t)bytes.n;
		sum->logprob += rows->logprob[i];
	}
	return MOE_OK;
}

enum moe_status moe_scorer_rows(struct moe_scorer *scorer, int64_t pos, int64_t n_rows, const float *logits,
                                struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	for (int64_t done = 0; done < n_rows && !status; done += MAX_ROWS) {
		struct rows rows = { .scorer = scorer,
			             .first = pos + done + 1,
			             .wants_best = scorer->likeliest != NULL,
			             .logits = logits + done * scorer->vocab_size };
		const int64_t n = n_rows - done < MAX_ROWS ? n_rows - done : MAX_ROWS;
		moe_pool_for(scorer->pool, n, 1, score_piece, &rows);
		if (scorer->likeliest)
			memcpy(scorer->likeliest + pos + done, rows.best, (size_t)n * sizeof *rows.best);
		status = add_rows(&rows, n, "logits", &scorer->sum, err);
	}
	return status;
}

enum moe_status moe_scorer_mtp_rows(struct moe_scorer *scorer, int64_t pos, int64_t n_rows, const float *logits,
                                    struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	for (int64_t done = 0; done < n_rows && !status; done += MAX_ROWS) {
		struct rows rows = { .scorer = scorer,
			             .first = pos + done + 2,
			             .wants_best = true,
			             .logits = logits + done * scorer->vocab_size };
		const int64_t n = n_rows - done < MAX_ROWS ? n_rows - done : MAX_ROWS;
		moe_pool_for(scorer->pool, n, 1, score_piece, &rows);
		status = add_rows(&rows, n, "logits of the MTP layer", &scorer->mtp.score, err);
		for (int64_t i = 0; i < n && !status; i++)
			scorer->mtp.n_agree += is_scored(scorer->seq, rows.first + i) &&
			                       rows.best[i] == scorer->likeliest[rows.first + i - 1];
	}
	return status;
}

enum moe_status moe_scorer_continuation(struct moe_scorer *scorer, struct moe_session *session,
                                        struct moe_record *record, const struct moe_sequence *seq, int64_t number,
                                        const struct moe_sequence *before, struct moe_err *err)
{
	const int64_t last = seq->n_given - 1;   /* the first row of logits that is wanted */
	scorer->seq = seq;
	scorer->sum = (struct moe_score){ 0 };
	enum moe_status status = moe_record_go_on(record, session, seq, number, before, last, err);
	const int64_t from = moe_session_pos(session);
	if (!status && last > from)
		status = moe_session_feed(session, seq->tokens + from, last - from, false, MOE_LOGITS_NONE, err);
	if (!status)
		status = moe_session_feed(session, seq->tokens + last, seq->n_tokens - 1 - last, false, MOE_LOGITS_ALL,
		                          err);
	return status ? status : moe_record_finish(record, err);
}
