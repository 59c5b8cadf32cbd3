/* What a checkpoint's tensors hold: hashes, defects, and the distance to another checkpoint, tensor by tensor under
 * Hugging Face names whatever the containers are. */
#ifndef MOE_CONVERT_CHECK_H
#define MOE_CONVERT_CHECK_H

#include "base/pool.h"
#include "convert/view.h"

struct moe_tensor_hash {
	char stored[33];    /* of the stored bytes, in the order of the seen tensor's segments, block scales last */
	char decoded[33];   /* of the values as little-endian f32 in Hugging Face order */
	char sha256[65];    /* of the same bytes as stored; "": not asked for */
};

struct moe_tensor_check {
	int64_t n_nan, n_inf;
	/* against a reference: largest and root mean square difference, the latter relative to the reference's root
	 * mean square, and the cosine of the angle between the two (1 where both are zero) */
	double max, rms, rel, cosine;
	/* what these are made of, to be added up over tensors */
	double n, squares, own_squares, ref_squares, product;
};
/* Adds the counts and the sums of one to those of another, and its numbers follow. Begin with zeros. */
void moe_check_add(struct moe_tensor_check *sum, const struct moe_tensor_check *check);

/* Works on tensors [first, first + n) of a view in Hugging Face naming; out[i] is that of tensor first + i. */
MOE_MUST_USE enum moe_status moe_check_hash(const struct moe_view *view, size_t first, size_t n, struct moe_pool *pool,
                                            bool sha256, struct moe_tensor_hash *out, struct moe_err *err);
/* ref: another view, or NULL; ref_index[i] is the tensor of ref to compare tensor first + i with, of equal shape;
 * where it is negative, nothing is looked at, and out[i] is zeros. */
MOE_MUST_USE enum moe_status moe_check_values(const struct moe_view *view, const struct moe_view *ref,
                                              const int64_t *ref_index, size_t first, size_t n, struct moe_pool *pool,
                                              struct moe_tensor_check *out, struct moe_err *err);

#endif
