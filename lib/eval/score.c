/* Scores: log p(token | what came before) = logit - ln sum exp(logits), summed in the order of the tokens.
 * bits per byte = -logprob / (bytes ln 2), perplexity = exp(-logprob / tokens). */
#include "eval/score.h"

#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/table.h"

double moe_score_ppl(const struct moe_score *s) { return s->n_tokens ? exp(-s->logprob / (double)s->n_tokens) : NAN; }

double moe_score_bpb(const struct moe_score *s)
{
	return s->n_bytes ? -s->logprob / ((double)s->n_bytes * 0.693147180559945309417) : NAN;
}

double moe_mtp_agree(const struct moe_mtp_score *s)
{
	return s->score.n_tokens ? (double)s->n_agree / (double)s->score.n_tokens : NAN;
}

void moe_score_add(struct moe_score *sum, const struct moe_score *add)
{
	sum->n_tokens += add->n_tokens;
	sum->n_bytes += add->n_bytes;
	sum->logprob += add->logprob;
}

void moe_mtp_score_add(struct moe_mtp_score *sum, const struct moe_mtp_score *add)
{
	moe_score_add(&sum->score, &add->score);
	sum->n_agree += add->n_agree;
}

static void add_number(struct moe_buf *out, const char *name, double value)
{
	moe_buf_addf(out, ",\"%s\":", name);
	isfinite(value) ? moe_buf_addf(out, "%.6f", value) : moe_buf_adds(out, "null");
}

void moe_score_head(bool mtp, struct moe_buf *out)
{
	moe_buf_adds(out, "source\ttokens\tbytes\tlogprob\tppl\tbpb");
	moe_buf_adds(out, mtp ? "\tmtp_tokens\tmtp_bytes\tmtp_logprob\tmtp_ppl\tmtp_bpb\tmtp_agree\n" : "\n");
}

static void print_columns(const struct moe_score *s, struct moe_buf *out)
{
	moe_buf_addf(out, "\t%lld\t%lld\t%.6f\t%.6f\t%.6f", (long long)s->n_tokens, (long long)s->n_bytes, s->logprob,
	             moe_score_ppl(s), moe_score_bpb(s));
}

static void print_keys(const struct moe_score *s, const char *const names[5], struct moe_buf *out)
{
	moe_buf_addf(out, ",\"%s\":%lld,\"%s\":%lld", names[0], (long long)s->n_tokens, names[1],
	             (long long)s->n_bytes);
	add_number(out, names[2], s->logprob);
	add_number(out, names[3], moe_score_ppl(s));
	add_number(out, names[4], moe_score_bpb(s));
}

void moe_score_print(const struct moe_score *s, const struct moe_mtp_score *mtp, const char *source, bool json,
                     struct moe_buf *out)
{
	static const char *const names[2][5] = {
		{ "tokens", "bytes", "logprob", "ppl", "bpb" },
		{ "mtp_tokens", "mtp_bytes", "mtp_logprob", "mtp_ppl", "mtp_bpb" },
	};
	if (!json) {
		moe_table_quote(out, source, strlen(source));
		print_columns(s, out);
		if (mtp) {
			print_columns(&mtp->score, out);
			moe_buf_addf(out, "\t%.6f", moe_mtp_agree(mtp));
		}
		moe_buf_addc(out, '\n');
		return;
	}
	moe_buf_adds(out, "{\"source\":");
	moe_json_quote(out, source, strlen(source));
	print_keys(s, names[0], out);
	if (mtp) {
		print_keys(&mtp->score, names[1], out);
		add_number(out, "mtp_agree", moe_mtp_agree(mtp));
	}
	moe_buf_adds(out, "}\n");
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
