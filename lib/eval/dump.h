/* f32 tensors written into one safetensors file in any order: logits and hidden states as they come. */
#ifndef MOE_EVAL_DUMP_H
#define MOE_EVAL_DUMP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "eval/sequences.h"

struct moe_dump;

MOE_MUST_USE enum moe_status moe_dump_open(struct moe_dump **out, const char *path, unsigned flags,
                                           struct moe_watch *watch, struct moe_err *err);
/* Before begin: F32 [rows, cols]. Names are declared once each and copied. */
MOE_MUST_USE enum moe_status moe_dump_declare(struct moe_dump *dump, const char *name, int64_t rows, int64_t cols,
                                              struct moe_err *err);
/* Checks free space and writes the header. */
MOE_MUST_USE enum moe_status moe_dump_begin(struct moe_dump *dump, struct moe_err *err);
/* Declares logits.I [tokens, vocab] of every sequence, number I, and with mtp mtp_logits.I [tokens - 1, vocab], number
 * n + I; then begins. */
MOE_MUST_USE enum moe_status moe_dump_logits(struct moe_dump *dump, const struct moe_sequences *seqs,
                                             int64_t vocab_size, bool mtp, struct moe_err *err);
/* Declares hidden.I.N [tokens, hidden] for N = 0..n_layers of every sequence, number I (n_layers + 1) + N; begins.
 * Where there is an encoder the tokens are its own up to N = n_encoder_layers. */
MOE_MUST_USE enum moe_status moe_dump_hidden(struct moe_dump *dump, const struct moe_sequences *seqs,
                                             int32_t n_encoder_layers, int32_t n_layers, int64_t hidden_size,
                                             struct moe_err *err);
/* The rows that makes. */
int64_t moe_dump_hidden_rows(const struct moe_sequences *seqs, int32_t n_encoder_layers, int32_t n_layers);
/* Rows [row, row + n_rows) of the tensor declared as number `index`. */
MOE_MUST_USE enum moe_status moe_dump_rows(struct moe_dump *dump, int64_t index, int64_t row, int64_t n_rows,
                                           const float *values, struct moe_err *err);
/* Every row of every tensor must have come. Frees dump whatever happens. */
MOE_MUST_USE enum moe_status moe_dump_commit(struct moe_dump *dump, struct moe_err *err);
void moe_dump_abort(struct moe_dump *dump); /* NULL is fine */

#endif
