/* Where the matrix of a part lies in a checkpoint: alone, in a stack of experts, or as rows of a tensor that holds
 * several. */
#ifndef MOE_MODEL_STORED_H
#define MOE_MODEL_STORED_H

#include "base/str.h"
#include "model/names.h"

/* The matrix (or vector) of a tensor that is no stack, or of expert e of one that is; a vector of an expert is [n, 1],
 * any other [1, n]. */
struct moe_weight moe_stored_weight(const struct moe_config *config, const struct moe_ckpt *ckpt,
                                    enum moe_naming naming, const struct moe_tensor_spec *spec,
                                    const struct moe_tensor *tensor, int32_t expert);
/* The rows of piece i of such a matrix. */
struct moe_weight moe_stored_piece(const struct moe_config *config, const struct moe_tensor_spec *spec,
                                   const struct moe_weight *weight, int32_t i);

/* What plays a part in a layer (-1: the top), for one expert where the part is an expert's. False where no spec of this
 * naming has it, or the tensor is not there. `name` is room for names. */
bool moe_stored_find(const struct moe_config *config, const struct moe_ckpt *ckpt, enum moe_naming naming,
                     enum moe_part part, int32_t layer, int32_t expert, struct moe_weight *weight,
                     struct moe_buf *name);

/* Does the naming hold the rows of this part in pairs (moe_family.gguf_paired)? */
bool moe_stored_paired(const struct moe_config *config, enum moe_naming naming, enum moe_part part);

#endif
