/* Printing what a tokenizer made, and undoing it. */
#include "eval/tokens.h"

enum { WRITE_BYTES = 1 << 16 };   /* of a line written at a time */

enum moe_status moe_tokens_write_ids(const struct moe_sequences *seqs, int64_t n_skip, struct moe_out *out,
                                     struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	struct moe_buf line = {0};
	for (int64_t i = 0; i < seqs->n && !status; i++) {
		const struct moe_sequence *seq = &seqs->items[i];
		line.n = 0;
		for (int64_t t = n_skip; t < seq->n_tokens && !status; t++) {
			moe_buf_addf(&line, t > n_skip ? " %d" : "%d", (int)seq->tokens[t]);
			if (line.n < WRITE_BYTES)
				continue;
			status = moe_buf_check(&line, err);
			if (!status)
				status = moe_out_write(out, line.p, line.n, err);
			line.n = 0;
		}
		moe_buf_addc(&line, '\n');
		if (!status)
			status = moe_buf_check(&line, err);
		if (!status)
			status = moe_out_write(out, line.p, line.n, err);
	}
	moe_buf_free(&line);
	return status;
}

enum moe_status moe_tokens_write_text(const struct moe_sequences *seqs, const struct moe_tokenizer *tokenizer,
                                      struct moe_out *out, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	for (int64_t i = 0; i < seqs->n && !status; i++) {
		const struct moe_sequence *seq = &seqs->items[i];
		struct moe_buf text = {0};
		status = moe_tokenizer_decode(tokenizer, seq->tokens, (size_t)seq->n_tokens, false, &text, err);
		if (!status)
			status = moe_out_write(out, text.p ? text.p : "", text.n, err);
		moe_buf_free(&text);
	}
	return status;
}
