/* Experts left out, put in another order, cut, averaged, or made of a dense network: what each expert of a destination
 * is made of. A view asks while it looks for its matrices, so that a source of any container serves. Each surgery is a
 * file of convert/surgery/. Private to this folder. */
#ifndef MOE_CONVERT_SURGERY_H
#define MOE_CONVERT_SURGERY_H

#include "base/str.h"
#include "checkpoint/checkpoint.h"
#include "convert/convert.h"
#include "model/model.h"
#include "model/names.h"

/* A part of an expert of the source, and how much of it goes into a new one: weights add up to 1. */
struct moe_term {
	int32_t expert, part;
	float weight;
};

/* Zero-initialise; moe_surgery_free. */
struct moe_surgery {
	const struct moe_config *own;    /* the source's config, borrowed */
	int32_t n_layers, n_experts;     /* of the destination */
	/* Expert e of layer l is made of terms [first[i], first[i + 1]), i = l n_experts + e; those of layers without
	 * experts mean nothing. */
	size_t *first, n_terms;
	struct moe_term *terms;          /* [n_terms], malloc'd as first is */
	int32_t n_parts;                 /* that every expert is cut into; 1: none is cut */
	float down_factor;               /* on the matrix that leaves an expert */
	float down_bias_factor;          /* on what is added to that */
	float bias_factor;               /* on the biases that join the choice */
	/* Of a dense network: experts are copies, with Gaussian noise of this deviation; the router is noise alone. */
	bool upcycled;
	float shared_factor;             /* on the matrix that leaves the shared expert */
	double noise, router_noise;
	uint64_t seed;
};

/* What becomes of the numbers of a matrix: the weighted sum of its terms, times factor, plus noise. */
struct moe_edit {
	const struct moe_term *terms;    /* [n_terms] */
	size_t n_terms;
	float factor;
	double noise;
	uint64_t seed, stream;           /* of the noise; its counter is the element's place in the matrix */
};

bool moe_surgery_asked(const struct moe_surgery_opts *opts);
/* Decides, and writes what follows into json, the destination's config; `own` is the source's, which must outlive the
 * surgery, `before` what json says so far. Notes for the user are appended. MOE_EUSAGE where the router would choose or
 * weigh otherwise, saying why. */
MOE_MUST_USE enum moe_status moe_surgery_plan(struct moe_surgery *surgery, const struct moe_surgery_opts *opts,
                                              const struct moe_ckpt *src, const struct moe_config *own,
                                              const struct moe_config *before, json_t *json, struct moe_buf *notes,
                                              struct moe_err *err);
/* Did the config take it all? `before` is that of the source, `after` what json says now. */
MOE_MUST_USE enum moe_status moe_surgery_check(const struct moe_surgery *surgery, const struct moe_config *before,
                                               const struct moe_config *after, struct moe_err *err);
void moe_surgery_free(struct moe_surgery *surgery);

/* ---- for views ---- */

/* Are tensors of this spec of a layer made otherwise than by their names? */
bool moe_surgery_touches(const struct moe_surgery *surgery, const struct moe_tensor_spec *spec);
/* Are they one row, or one number, for each expert? */
bool moe_surgery_by_rows(const struct moe_tensor_spec *spec);
/* Are they made of nothing but the config and the seed? */
bool moe_surgery_is_new(const struct moe_surgery *surgery, const struct moe_tensor_spec *spec);
/* Fills such a tensor. */
void moe_surgery_make(const struct moe_surgery *surgery, const struct moe_tensor_spec *spec, int32_t layer,
                      float *values, size_t n);
/* Term k of a part of new expert e (-1: none), as moe_stored_find finds it in the source. */
bool moe_surgery_find(const struct moe_surgery *surgery, const struct moe_ckpt *src, enum moe_naming naming,
                      enum moe_part part, int32_t layer, int32_t expert, size_t k, struct moe_weight *weight,
                      struct moe_buf *name);
/* The row, or the number, of term k of new expert e in such a tensor of the source. */
bool moe_surgery_row(const struct moe_surgery *surgery, const struct moe_ckpt *src, enum moe_naming naming,
                     const struct moe_tensor_spec *spec, int32_t layer, int32_t expert, size_t k,
                     struct moe_weight *weight, struct moe_buf *name);
/* False where its numbers stay as they are. */
bool moe_surgery_edits(const struct moe_surgery *surgery, enum moe_part part, int32_t layer, int32_t expert,
                       struct moe_edit *edit);
/* Adds the noise of an edit to elements [at, at + n) of the matrix. */
void moe_edit_add_noise(const struct moe_edit *edit, size_t at, float *values, size_t n);

#endif
