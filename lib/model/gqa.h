/* What families with grouped-query attention and Llama's names share. Only model/family/ includes this. */
#ifndef MOE_MODEL_GQA_H
#define MOE_MODEL_GQA_H

#include "model/model.h"
#include "model/parse.h"

/* Rows of a tensor table. Names are those of Hugging Face checkpoints; these families have no GGUF form here. */
#define MOE_P "model.layers.{l}."
#define MOE_ROW(part_, role_, where_, hf_, n, d0, d1, test) \
	{ .part = MOE_PART_##part_, .role = MOE_ROLE_##role_, .where = MOE_AT_##where_, .hf = hf_, .n_dims = n, \
	  .dims = {MOE_DIM_##d0, MOE_DIM_##d1}, .present = test }
#define MOE_VEC(part, role, where, hf, d0, test) MOE_ROW(part, role, where, hf, 1, d0, 1, test)
#define MOE_MAT(part, role, where, hf, d0, d1, test) MOE_ROW(part, role, where, hf, 2, d0, d1, test)

#define MOE_ROWS_TOP \
	MOE_MAT(EMBED, EMBED, TOP, "model.embed_tokens.weight", VOCAB, HIDDEN, NULL), \
	MOE_VEC(FINAL_NORM, NORM, TOP, "model.norm.weight", HIDDEN, NULL), \
	MOE_MAT(HEAD, HEAD, TOP, "lm_head.weight", VOCAB, HIDDEN, moe_gqa_has_head)

#define MOE_ROWS_PROJECTIONS \
	MOE_VEC(ATTN_NORM, NORM, EVERY, MOE_P "input_layernorm.weight", HIDDEN, NULL), \
	MOE_MAT(Q, ATTN, EVERY, MOE_P "self_attn.q_proj.weight", Q_ALL, HIDDEN, NULL), \
	MOE_MAT(K, ATTN, EVERY, MOE_P "self_attn.k_proj.weight", KV_ALL, HIDDEN, NULL), \
	MOE_MAT(V, ATTN, EVERY, MOE_P "self_attn.v_proj.weight", KV_ALL, HIDDEN, NULL), \
	MOE_MAT(O, ATTN, EVERY, MOE_P "self_attn.o_proj.weight", HIDDEN, Q_ALL, NULL), \
	MOE_VEC(Q_BIAS, ATTN, EVERY, MOE_P "self_attn.q_proj.bias", Q_ALL, moe_gqa_has_bias), \
	MOE_VEC(K_BIAS, ATTN, EVERY, MOE_P "self_attn.k_proj.bias", KV_ALL, moe_gqa_has_bias), \
	MOE_VEC(V_BIAS, ATTN, EVERY, MOE_P "self_attn.v_proj.bias", KV_ALL, moe_gqa_has_bias), \
	MOE_VEC(O_BIAS, ATTN, EVERY, MOE_P "self_attn.o_proj.bias", HIDDEN, moe_gqa_has_o_bias), \
	MOE_VEC(FFN_NORM, NORM, EVERY, MOE_P "post_attention_layernorm.weight", HIDDEN, NULL)

#define MOE_ROWS_ATTENTION \
	MOE_ROWS_PROJECTIONS, \
	MOE_VEC(Q_NORM, NORM, EVERY, MOE_P "self_attn.q_norm.weight", HEAD, moe_gqa_norms_heads), \
	MOE_VEC(K_NORM, NORM, EVERY, MOE_P "self_attn.k_norm.weight", HEAD, moe_gqa_norms_heads), \
	MOE_VEC(Q_NORM, NORM, EVERY, MOE_P "self_attn.q_norm.weight", Q_ALL, moe_gqa_norms_whole), \
	MOE_VEC(K_NORM, NORM, EVERY, MOE_P "self_attn.k_norm.weight", KV_ALL, moe_gqa_norms_whole)

#define MOE_ROWS_DENSE \
	MOE_MAT(GATE, DENSE, DENSE, MOE_P "mlp.gate_proj.weight", FFN, HIDDEN, NULL), \
	MOE_MAT(UP, DENSE, DENSE, MOE_P "mlp.up_proj.weight", FFN, HIDDEN, NULL), \
	MOE_MAT(DOWN, DENSE, DENSE, MOE_P "mlp.down_proj.weight", HIDDEN, FFN, NULL)

/* router and the three matrices of an expert; q is what stands between the layer and "{e}" */
#define MOE_ROWS_EXPERTS(router, q, gate, up, down) \
	MOE_MAT(ROUTER, ROUTER, MOE, MOE_P router, EXPERTS, HIDDEN, NULL), \
	MOE_ROWS_NETWORKS(q, gate, up, down)
#define MOE_ROWS_NETWORKS(q, gate, up, down) \
	MOE_MAT(EXPERT_GATE, EXPS, MOE, MOE_P q "{e}." gate, EXPERT_FFN, HIDDEN, NULL), \
	MOE_MAT(EXPERT_UP, EXPS, MOE, MOE_P q "{e}." up, EXPERT_FFN, HIDDEN, NULL), \
	MOE_MAT(EXPERT_DOWN, EXPS, MOE, MOE_P q "{e}." down, HIDDEN, EXPERT_FFN, NULL)

#define MOE_ROWS_SHARED(q) \
	MOE_MAT(SHARED_GATE, SHARED, MOE, MOE_P q "gate_proj.weight", SHARED_FFN, HIDDEN, moe_gqa_has_shared), \
	MOE_MAT(SHARED_UP, SHARED, MOE, MOE_P q "up_proj.weight", SHARED_FFN, HIDDEN, moe_gqa_has_shared), \
	MOE_MAT(SHARED_DOWN, SHARED, MOE, MOE_P q "down_proj.weight", HIDDEN, SHARED_FFN, moe_gqa_has_shared)

#define MOE_ROWS_ROUTER_BIAS(hf_) \
	{ .part = MOE_PART_ROUTER_BIAS, .role = MOE_ROLE_ROUTER, .where = MOE_AT_MOE, .hf = MOE_P hf_, .n_dims = 1, \
	  .dims = {MOE_DIM_EXPERTS}, .f32 = true, .present = moe_gqa_has_router_bias }

#define MOE_ROWS_END { .hf = NULL, .gguf = NULL }

bool moe_gqa_has_head(const struct moe_config *config);      /* embeddings are not tied */
bool moe_gqa_has_bias(const struct moe_config *config);      /* qkv_bias */
bool moe_gqa_has_o_bias(const struct moe_config *config);    /* o_bias */
bool moe_gqa_norms_heads(const struct moe_config *config);   /* qk_norm per head */
bool moe_gqa_norms_whole(const struct moe_config *config);   /* qk_norm over all heads */
bool moe_gqa_has_router_bias(const struct moe_config *config);   /* router.bias */
bool moe_gqa_has_shared(const struct moe_config *config);    /* n_shared_experts > 0 */

/* The router of a model without experts. */
#define MOE_GQA_NO_ROUTER (struct moe_router_spec){ .policy = "", .n_groups = 1, .top_groups = 1, .scale = 1 }

/* Reads what these families spell alike, then `numbers` of the family's own; config holds the family's defaults.
 * n_kv_heads absent: n_heads; head_dim absent: hidden_size / n_heads; rope.n_dims 0: rope.share of head_dim, unless the
 * config says another share. Makes the layers, every one dense with this attention. */
MOE_MUST_USE enum moe_status moe_gqa_parse(struct moe_config *config, const json_t *json, const char *where,
                                           const struct moe_number *numbers, struct moe_err *err);
/* The end of moe_gqa_parse, for families whose numbers have other keys: head counts and sizes are set and make sense;
 * reads the rotation and the ids of tokens, makes the layers. */
MOE_MUST_USE enum moe_status moe_gqa_finish(struct moe_config *config, const json_t *json, const char *where,
                                            struct moe_err *err);
/* Experts in layer l from first on where (l + shift) % step == 0 and l is not in the list json[key] (NULL: no list).
 * Then experts, top_k and the expert width must make sense together. */
MOE_MUST_USE enum moe_status moe_gqa_place_experts(struct moe_config *config, const json_t *json, const char *where,
                                                   int32_t first, int32_t step, int32_t shift, const char *key,
                                                   struct moe_err *err);

#endif
