/* How much each column of each matrix matters, learnt from text: the sums over tokens of the squares of what matrices
 * are multiplied with (their inputs), and how many tokens these were, in llama.cpp's format (checkpoint/imatrix.h).
 *
 * Every sum is one chain of additions in double precision, from the first token to the last as they are fed, rounded
 * once, when it is written: threads, chunks and batches change nothing. */
#ifndef MOE_EVAL_IMPORTANCE_H
#define MOE_EVAL_IMPORTANCE_H

#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "device/device.h"
#include "eval/sequences.h"
#include "model/model.h"

struct moe_importance;

/* Entries for all that a run multiplies with activations, under the names of GGUF; with mtp, of layers of multi-token
 * prediction too. The model is borrowed. */
MOE_MUST_USE enum moe_status moe_importance_new(struct moe_importance **out, const struct moe_model *model, bool mtp,
                                                struct moe_err *err);
void moe_importance_free(struct moe_importance *importance);   /* NULL is fine */
/* For moe_device.listener while the model runs; a view. */
const struct moe_listener *moe_importance_listener(const struct moe_importance *importance);
/* Bytes of the table, but for its header. */
double moe_importance_bytes(const struct moe_importance *importance);
/* The table of what was heard, from the sources of these sequences. What met no token is left out; experts are in or
 * out together. A sum that is no finite number is MOE_EFORMAT, and nothing is written. */
MOE_MUST_USE enum moe_status moe_importance_write(const struct moe_importance *importance, const char *path,
                                                  unsigned flags, const struct moe_sequences *seqs,
                                                  struct moe_watch *watch, struct moe_err *err);

#endif
