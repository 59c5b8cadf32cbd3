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

static void add_number(struct moe_buf *out, const char *name, double value)
{
	moe_buf_addf(out, ",\"%s\":", name);
	isfinite(value) ? moe_buf_addf(out, "%.6f", value) : moe_buf_adds(out, "null");
}

void moe_score_print(const struct moe_score *s, const char *source, bool json, struct moe_buf *out)
{
	const double ppl = moe_score_ppl(s), bpb = moe_score_bpb(s);
	if (!json) {
		moe_table_quote(out, source, strlen(source));
		moe_buf_addf(out, "\t%lld\t%lld\t%.6f\t%.6f\t%.6f\n", (long long)s->n_tokens, (long long)s->n_bytes,
		             s->logprob, ppl, bpb);
		return;
	}
	moe_buf_adds(out, "{\"source\":");
	moe_json_quote(out, source, strlen(source));
	moe_buf_addf(out, ",\"tokens\":%lld,\"bytes\":%lld", (long long)s->n_tokens, (long long)s->n_bytes);
	add_number(out, "logprob", s->logprob);
	add_number(out, "ppl", ppl);
	add_number(out, "bpb", bpb);
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
	int64_t pos;
	const float *logits;
	double logprob[MAX_ROWS];
};

static bool is_scored(const struct moe_sequence *seq, int64_t pos)
{
	return pos >= seq->n_given && pos < seq->n_tokens;
}

static void score_piece(void *arg, int64_t begin, int64_t end, int thread)
{
	(void)thread;
	struct rows *rows = arg;
	const struct moe_scorer *scorer = rows->scorer;
	for (int64_t i = begin; i < end; i++)
		if (is_scored(scorer->seq, rows->pos + i + 1))
			rows->logprob[i] = moe_log_prob(rows->logits + i * scorer->vocab_size, scorer->vocab_size,
			                                scorer->seq->tokens[rows->pos + i + 1]);
}

enum moe_status moe_scorer_rows(struct moe_scorer *scorer, int64_t pos, int64_t n_rows, const float *logits,
                                struct moe_err *err)
{
	for (int64_t done = 0; done < n_rows; done += MAX_ROWS) {
		struct rows rows = { .scorer = scorer,
			             .pos = pos + done,
			             .logits = logits + done * scorer->vocab_size };
		const int64_t n = n_rows - done < MAX_ROWS ? n_rows - done : MAX_ROWS;
		moe_pool_for(scorer->pool, n, 1, score_piece, &rows);
		for (int64_t i = 0; i < n; i++) {
			const int64_t at = rows.pos + i + 1;
			if (!is_scored(scorer->seq, at))
				continue;
			struct moe_str bytes = { 0 };
			if (scorer->tokenizer &&
			    !moe_tokenizer_bytes(scorer->tokenizer, scorer->seq->tokens[at], &bytes))
				return moe_err_set(err, MOE_EFORMAT, "token id %d has no text",
				                   (int)scorer->seq->tokens[at]);
			if (isnan(rows.logprob[i]))
				return moe_err_set(err, MOE_EFORMAT, "the logits at position %lld are not numbers",
				                   (long long)(at - 1));
			scorer->sum.n_tokens++;
			scorer->sum.n_bytes += (int64_t)bytes.n;
			scorer->sum.logprob += rows.logprob[i];
		}
	}
	return MOE_OK;
}
