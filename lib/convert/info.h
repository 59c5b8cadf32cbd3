/* What a model is and costs, as one object: from its config, and from its tensors where they are there. */
#ifndef MOE_CONVERT_INFO_H
#define MOE_CONVERT_INFO_H

#include <jansson.h>

#include "checkpoint/checkpoint.h"
#include "model/account.h"

/* ckpt NULL, or without tensors: the stored_* keys are absent. The names of the keys are the promise of --info --json.
 * *out is a new reference. */
MOE_MUST_USE enum moe_status moe_info(json_t **out, const struct moe_config *config, const struct moe_ckpt *ckpt,
                                      const char *path, struct moe_err *err);

#endif
