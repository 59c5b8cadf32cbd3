/* Sequences as lines of ids, and as text. */
#ifndef MOE_EVAL_TOKENS_H
#define MOE_EVAL_TOKENS_H

#include "base/file.h"
#include "eval/sequences.h"

/* One line of ids per sequence, without the first n_skip of each. */
MOE_MUST_USE enum moe_status moe_tokens_write_ids(const struct moe_sequences *seqs, int64_t n_skip, struct moe_out *out,
                                                  struct moe_err *err);
/* The text of each sequence, nothing between them. */
MOE_MUST_USE enum moe_status moe_tokens_write_text(const struct moe_sequences *seqs,
                                                   const struct moe_tokenizer *tokenizer,
                                                   struct moe_out *out, struct moe_err *err);

#endif
