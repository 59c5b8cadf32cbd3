/* What the Qwen2 and Qwen3 families share. Only model/family/ includes this. */
#ifndef MOE_MODEL_QWEN_MOE_H
#define MOE_MODEL_QWEN_MOE_H

#include "model/gqa.h"

/* Everything behind the family's defaults. A layer has experts iff it is not in mlp_only_layers and
 * (l + 1) % decoder_sparse_step == 0. */
MOE_MUST_USE enum moe_status moe_qwen_moe_parse(struct moe_config *config, const json_t *json, const char *where,
                                                struct moe_err *err);

/* The same for those without experts. */
MOE_MUST_USE enum moe_status moe_qwen_dense_parse(struct moe_config *config, const json_t *json, const char *where,
                                                  struct moe_err *err);

#endif
