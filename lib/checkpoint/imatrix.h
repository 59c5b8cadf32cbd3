/* Tables of importance ("imatrix"): for each matrix of a model, the sums over tokens of the squares of the numbers that
 * its columns were multiplied with, and how many tokens these were; for stacks of experts, of each expert alone.
 *
 * Two formats of llama.cpp are read. GGUF (general.type "imatrix", since 2025): for every tensor NAME F32 tensors
 * NAME.in_sum2 [matrices, columns] and NAME.counts [matrices, 1]. The older one, without a magic: int32 n, then n times
 * int32 length, name, int32 calls, int32 n_values, f32 values (means times calls); then perhaps int32 calls of all,
 * int32 length and name of the text. It has no counts of experts, and its values for experts without tokens are all
 * alike. Names are those of GGUF. Numbers stay in the mapped file: nothing of their size is in memory. */
#ifndef MOE_CHECKPOINT_IMATRIX_H
#define MOE_CHECKPOINT_IMATRIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/file.h"
#include "checkpoint/checkpoint.h"

struct moe_imatrix_entry {
	const char *name;        /* of the tensor, "blk.3.ffn_up_exps.weight" */
	int64_t n_values;        /* sums of all its matrices, one behind the other */
	int64_t n_counts;        /* 0: how many tokens is not known, and sums are in units of any size */
	const uint8_t *values;   /* [n_values] little-endian f32 */
	const uint8_t *counts;   /* [n_counts] the same */
};

struct moe_imatrix {
	char *path;
	size_t n;
	struct moe_imatrix_entry *entries;   /* [n] by name */
	struct moe_ckpt *ckpt;               /* of a GGUF file, else NULL */
	struct moe_map map;                  /* of an older one */
	struct moe_arena arena;
};

/* Checks structure, not values: these are checked as they are read. */
MOE_MUST_USE enum moe_status moe_imatrix_open(struct moe_imatrix *imatrix, const char *path, struct moe_watch *watch,
                                              struct moe_err *err);
void moe_imatrix_close(struct moe_imatrix *imatrix);   /* a zero-initialised one is fine */
/* A view, or NULL. */
const struct moe_imatrix_entry *moe_imatrix_find(const struct moe_imatrix *imatrix, const char *name);
/* Values [at, at + n): finite and not below 0, else MOE_EFORMAT. */
MOE_MUST_USE enum moe_status moe_imatrix_values(const struct moe_imatrix *imatrix,
                                                const struct moe_imatrix_entry *entry, int64_t at, int64_t n,
                                                float *out, struct moe_err *err);
/* Count i: whole, not below 0, at most 2^63 - 1, else MOE_EFORMAT. */
MOE_MUST_USE enum moe_status moe_imatrix_count(const struct moe_imatrix *imatrix,
                                               const struct moe_imatrix_entry *entry, int64_t i, int64_t *out,
                                               struct moe_err *err);

#endif
