/* What a table of importance (checkpoint/imatrix.h) says of the tensors of a conversion. Private to this folder.
 *
 * The weight of a column is the mean square of what it met. An expert that saw n of fewer than `least` tokens is known
 * too little: n / least of its weights are its own means, the rest those over all tokens of its layer's experts
 * together; where these are fewer than `least` as well, in the same way their mean over all columns takes its share.
 * Tensors that are one matrix do without the step in the middle. Then weights are divided by their mean, and none is
 * below MOE_LEAST_WEIGHT: a column that met nothing still counts that much. */
#ifndef MOE_CONVERT_IMPORTANCE_H
#define MOE_CONVERT_IMPORTANCE_H

#include "checkpoint/imatrix.h"
#include "convert/view.h"

#define MOE_LEAST_WEIGHT 1e-4f

/* Weights of one worker, grown on demand. Zero-initialise. */
struct moe_weigher {
	float *weights;           /* [cols] of the matrix below */
	double *pool;             /* [cols] */
	float *row;               /* [cols] */
	size_t cap;
	const struct moe_imatrix_entry *entry;   /* NULL: none yet */
	int64_t matrix;
};
void moe_weigher_free(struct moe_weigher *weigher);

/* The entry of a tensor seen under GGUF names: its own, or one of a matrix that meets the same; NULL: none. */
const struct moe_imatrix_entry *moe_importance_find(const struct moe_imatrix *imatrix, const struct moe_view *view,
                                                    const struct moe_seen *seen, struct moe_buf *name);
/* Has the entry the shape that the tensor asks for? */
MOE_MUST_USE enum moe_status moe_importance_check(const struct moe_imatrix *imatrix,
                                                  const struct moe_imatrix_entry *entry, const struct moe_seen *seen,
                                                  struct moe_err *err);
/* Tokens that matrix i of the tensor saw; -1: the table does not say. */
MOE_MUST_USE enum moe_status moe_importance_tokens(const struct moe_imatrix *imatrix,
                                                   const struct moe_imatrix_entry *entry, int64_t i, int64_t *n,
                                                   struct moe_err *err);
/* Matrices of a tensor: experts, heads, or 1; and its columns. */
int64_t moe_seen_matrices(const struct moe_seen *seen);
int64_t moe_seen_cols(const struct moe_seen *seen);
/* weigher->weights of matrix i. */
MOE_MUST_USE enum moe_status moe_importance_weights(struct moe_weigher *weigher, const struct moe_imatrix *imatrix,
                                                    const struct moe_imatrix_entry *entry,
                                                    const struct moe_seen *seen, int64_t i, int64_t least,
                                                    struct moe_err *err);

#endif
