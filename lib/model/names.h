/* Tensor names: from a container's name to (spec, layer, expert) and back; what a model is made of. */
#ifndef MOE_MODEL_NAMES_H
#define MOE_MODEL_NAMES_H

#include "base/str.h"
#include "model/model.h"

struct moe_tensor_id {
	const struct moe_tensor_spec *spec;
	int32_t layer;    /* -1: none */
	int32_t expert;   /* -1: none, or a whole stack */
	bool scales;      /* the block scales of that tensor, not the tensor itself */
};

/* What the name of a tensor's block scales ends with, behind the tensor's own name. */
#define MOE_SCALES_SUFFIX "_scale_inv"

/* How the tensors of a checkpoint are called: as its format has it, or in GGUF's old way where a tensor of that kind is
 * there. */
enum moe_naming moe_names_form(const struct moe_config *config, const struct moe_ckpt *ckpt);
/* False where no spec of the family matches, or layer/expert are out of range or of the wrong kind. A tensor that holds
 * the stack of all experts has expert -1. */
bool moe_names_parse(const struct moe_config *config, enum moe_naming naming, const char *name,
                     struct moe_tensor_id *id);
/* Is it another name of the embedding (moe_family.copies)? */
bool moe_names_copies(const struct moe_config *config, enum moe_naming naming, const char *name);
/* Is it a name that the family leaves alone (moe_family.skipped), or another one of the embedding? */
bool moe_names_skipped(const struct moe_config *config, enum moe_naming naming, const char *name);
/* Appends the name. */
void moe_names_format(const struct moe_config *config, const struct moe_tensor_id *id, enum moe_naming naming,
                      struct moe_buf *out);
/* True for the tensors that exist once per expert. */
bool moe_spec_is_expert(const struct moe_tensor_spec *spec);
/* May the tensors of this spec be stored with block scales in a checkpoint of this config (fp8_blocks)? */
bool moe_spec_scaled(const struct moe_config *config, const struct moe_tensor_spec *spec);
/* The block scales of a stored tensor, or NULL. */
const struct moe_tensor *moe_names_scales(const struct moe_ckpt *ckpt, const struct moe_tensor *tensor);
/* Is it a part of an MXFP4 matrix, its codes or its exponents, stored as U8? */
bool moe_spec_is_mx(const struct moe_tensor_spec *spec);
/* Do the experts of a layer share tensors in Hugging Face checkpoints of this family? */
bool moe_names_stacked(const struct moe_config *config);
/* Is this tensor the stack of all experts? */
bool moe_spec_is_stack(const struct moe_tensor_spec *spec, enum moe_naming naming);
/* Is the spec one of this naming, leaving aside where it applies? */
bool moe_spec_in(const struct moe_tensor_spec *spec, enum moe_naming naming);
/* dims of one tensor as stored (of one expert, or of the stack: in GGUF [E, rows, cols]). Returns n_dims. */
int32_t moe_spec_dims(const struct moe_config *config, const struct moe_tensor_spec *spec, enum moe_naming naming,
                      int64_t dims[MOE_MAX_DIMS]);
/* Does the spec exist in this layer (-1: the top)? */
bool moe_spec_applies(const struct moe_config *config, const struct moe_tensor_spec *spec, int32_t layer);

/* Calls fn for every tensor the family expects in this naming, block scales apart, in canonical order (top, then layer
 * by layer in spec order, experts ascending); stops at the first status that is not MOE_OK and returns it. */
MOE_MUST_USE enum moe_status moe_names_each(const struct moe_config *config, enum moe_naming naming,
	enum moe_status (*fn)(void *arg, const struct moe_tensor_id *id, const int64_t *dims, int32_t n_dims,
	                      struct moe_err *err),
	void *arg, struct moe_err *err);

/* How many tensors moe_names_each visits, and their block scales, by arithmetic: INT64_MAX where they are more than
 * that. */
int64_t moe_names_count(const struct moe_config *config, enum moe_naming naming);

/* Role of a tensor in reports: MTP wins over the others. */
enum moe_role moe_id_role(const struct moe_config *config, const struct moe_tensor_id *id);

#endif
