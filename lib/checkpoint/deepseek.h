/* Names and configurations of DeepSeek's own inference layout, as its convert.py writes them. Private to this folder.
 *
 *   model.layers.{l}.self_attn.q_b_proj.weight_scale_inv   <->   layers.{l}.attn.wq_b.scale */
#ifndef MOE_CHECKPOINT_DEEPSEEK_H
#define MOE_CHECKPOINT_DEEPSEEK_H

#include <jansson.h>

#include "base/str.h"
#include "checkpoint/checkpoint.h"

/* A tensor's name there, from the one published, appended, and how ranks share it; false: it has none. */
bool moe_deepseek_name(const char *published, struct moe_buf *own, enum moe_cut *cut);
/* The other way round; a name that is none of these is appended as it is. */
void moe_deepseek_published(const char *own, struct moe_buf *published);

/* Is this the configuration of the inference program (ModelArgs)? */
bool moe_deepseek_is_args(const json_t *json);
/* It as config.json (a new reference). */
MOE_MUST_USE enum moe_status moe_deepseek_config(json_t **config, const json_t *args, const char *where,
                                                 struct moe_err *err);

#endif
