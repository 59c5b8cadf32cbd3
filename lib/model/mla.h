/* What the DeepSeek V2 and V3 families share: latent attention, SwiGLU experts with shared ones, MTP layers, YaRN.
 * Only model/family/ includes this. */
#ifndef MOE_MODEL_MLA_H
#define MOE_MODEL_MLA_H

#include "model/model.h"

/* Hugging Face and GGUF ("deepseek2") names of every tensor; ends with hf == gguf == NULL. */
extern const struct moe_tensor_spec moe_mla_tensors[];
/* Config keys and their GGUF twins; ends with hf NULL. */
extern const struct moe_key moe_mla_keys[];

/* What DeepSeek-V3's published configuration class has where a config says nothing. */
void moe_mla_v3_defaults(struct moe_config *config);
/* Reads everything but the router's rule into config, which holds the family's defaults: numbers that are absent keep
 * them, first_dense is that of first_k_dense_replace. Then the layers. */
MOE_MUST_USE enum moe_status moe_mla_parse(struct moe_config *config, const json_t *json, const char *where,
                                           int32_t first_dense, struct moe_err *err);
/* The same, and DeepSeek-V3's router into config->router, which holds its defaults. */
MOE_MUST_USE enum moe_status moe_mla_v3_parse(struct moe_config *config, const json_t *json, const char *where,
                                              int32_t first_dense, struct moe_err *err);
/* The indexer's numbers and their checks, behind the parsers above: every layer has one of its own, except those of the
 * main model for which owns [n_layers] says false. owns NULL: all. */
MOE_MUST_USE enum moe_status moe_mla_indexer_parse(struct moe_config *config, const json_t *json, const char *where,
                                                   const bool *owns, struct moe_err *err);
/* moe_family.gguf_obstacle. */
const char *moe_mla_obstacle(const struct moe_config *config);
/* moe_family.gguf_remark. */
const char *moe_mla_remark(const struct moe_config *config);
/* moe_family.gguf_limit. */
const char *moe_mla_limit(const struct moe_config *config);
/* moe_family.gguf_extra and .hf_extra; gating is the value of expert_gating_func (1 softmax, 2 sigmoid). */
MOE_MUST_USE enum moe_status moe_mla_gguf_extra(const struct moe_config *config, json_t *keys, int gating,
                                                struct moe_err *err);
MOE_MUST_USE enum moe_status moe_mla_hf_extra(json_t *config, const json_t *keys, int32_t grouped_experts,
                                              int32_t groups, int32_t top_groups, struct moe_err *err);

/* Both for a router as DeepSeek-V3's. */
MOE_MUST_USE enum moe_status moe_mla_v3_gguf_extra(const struct moe_config *config, json_t *keys, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_mla_v3_hf_extra(json_t *config, const json_t *keys, struct moe_err *err);

/* Both for a router as DeepSeek-V3's. */
MOE_MUST_USE enum moe_status moe_mla_v3_gguf_extra(const struct moe_config *config, json_t *keys, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_mla_v3_hf_extra(json_t *config, const json_t *keys, struct moe_err *err);
/* moe_family.gguf_is_ours of families whose keys are those of another: a config.json tells them. */
bool moe_mla_never(const json_t *keys);

#endif
