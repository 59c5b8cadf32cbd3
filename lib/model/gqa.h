/* What families with grouped-query attention and Llama's names share. Only model/family/ includes this. */
#ifndef MOE_MODEL_GQA_H
#define MOE_MODEL_GQA_H

#include "model/model.h"
#include "model/parse.h"

/* Rows of a tensor table, with the names of Hugging Face checkpoints and of GGUF: what follows "blk.{l}." there, NULL
 * where the part has no name of its own. Vectors are F32 in GGUF, as routers are. */
#define MOE_P "model.layers.{l}."
#define MOE_B "blk.{l}."
#define MOE_ROW(part_, role_, where_, hf_, gguf_, n, d0, d1, test) \
	{ .part = MOE_PART_##part_, .role = MOE_ROLE_##role_, .where = MOE_AT_##where_, .hf = hf_, .gguf = gguf_, \
	  .n_dims = n, .dims = {MOE_DIM_##d0, MOE_DIM_##d1}, .present = test, .gguf_f32 = (n) == 1 }
#define MOE_VEC(part, role, where, hf, gguf, d0, test) MOE_ROW(part, role, where, hf, gguf, 1, d0, 1, test)
#define MOE_MAT(part, role, where, hf, gguf, d0, d1, test) MOE_ROW(part, role, where, hf, gguf, 2, d0, d1, test)

#define MOE_ROWS_TOP \
	MOE_MAT(EMBED, EMBED, TOP, "model.embed_tokens.weight", "token_embd.weight", VOCAB, HIDDEN, NULL), \
	MOE_VEC(FINAL_NORM, NORM, TOP, "model.norm.weight", "output_norm.weight", HIDDEN, NULL), \
	MOE_MAT(HEAD, HEAD, TOP, "lm_head.weight", "output.weight", VOCAB, HIDDEN, moe_gqa_has_head), \
	MOE_ROWS_ROPE

/* What GGUF holds of the rotation's scaling as a tensor: divisors of the frequencies. */
#define MOE_ROWS_ROPE \
	MOE_ROPE(ROPE_FREQS, "rope_freqs.weight", moe_gqa_has_freqs), \
	MOE_ROPE(ROPE_LONG, "rope_factors_long.weight", moe_gqa_has_factors), \
	MOE_ROPE(ROPE_SHORT, "rope_factors_short.weight", moe_gqa_has_factors)
#define MOE_ROPE(part_, gguf_, test) \
	{ .part = MOE_PART_##part_, .role = MOE_ROLE_NORM, .where = MOE_AT_TOP, .gguf = gguf_, .n_dims = 1, \
	  .dims = {MOE_DIM_ROPE_HALF}, .present = test, .gguf_f32 = true, .made = true }

/* norm: GGUF's name of the norm before the network */
#define MOE_ROWS_PROJECTIONS(norm) \
	MOE_VEC(ATTN_NORM, NORM, EVERY, MOE_P "input_layernorm.weight", MOE_B "attn_norm.weight", HIDDEN, NULL), \
	MOE_MAT(Q, ATTN, EVERY, MOE_P "self_attn.q_proj.weight", MOE_B "attn_q.weight", Q_ALL, HIDDEN, NULL), \
	MOE_MAT(K, ATTN, EVERY, MOE_P "self_attn.k_proj.weight", MOE_B "attn_k.weight", KV_ALL, HIDDEN, NULL), \
	MOE_MAT(V, ATTN, EVERY, MOE_P "self_attn.v_proj.weight", MOE_B "attn_v.weight", KV_ALL, HIDDEN, NULL), \
	MOE_MAT(O, ATTN, EVERY, MOE_P "self_attn.o_proj.weight", MOE_B "attn_output.weight", HIDDEN, Q_ALL, NULL), \
	MOE_VEC(Q_BIAS, ATTN, EVERY, MOE_P "self_attn.q_proj.bias", MOE_B "attn_q.bias", Q_ALL, moe_gqa_has_bias), \
	MOE_VEC(K_BIAS, ATTN, EVERY, MOE_P "self_attn.k_proj.bias", MOE_B "attn_k.bias", KV_ALL, moe_gqa_has_bias), \
	MOE_VEC(V_BIAS, ATTN, EVERY, MOE_P "self_attn.v_proj.bias", MOE_B "attn_v.bias", KV_ALL, moe_gqa_has_bias), \
	MOE_VEC(O_BIAS, ATTN, EVERY, MOE_P "self_attn.o_proj.bias", MOE_B "attn_output.bias", HIDDEN, \
	        moe_gqa_has_o_bias), \
	MOE_VEC(FFN_NORM, NORM, EVERY, MOE_P "post_attention_layernorm.weight", MOE_B norm ".weight", HIDDEN, NULL)

#define MOE_ROWS_NORMS(q, k) \
	MOE_VEC(Q_NORM, NORM, EVERY, MOE_P q, MOE_B "attn_q_norm.weight", HEAD, moe_gqa_norms_heads), \
	MOE_VEC(K_NORM, NORM, EVERY, MOE_P k, MOE_B "attn_k_norm.weight", HEAD, moe_gqa_norms_heads)
#define MOE_ROWS_ATTENTION_BEFORE(norm) \
	MOE_ROWS_PROJECTIONS(norm), \
	MOE_ROWS_NORMS("self_attn.q_norm.weight", "self_attn.k_norm.weight"), \
	MOE_VEC(Q_NORM, NORM, EVERY, MOE_P "self_attn.q_norm.weight", MOE_B "attn_q_norm.weight", Q_ALL, \
	        moe_gqa_norms_whole), \
	MOE_VEC(K_NORM, NORM, EVERY, MOE_P "self_attn.k_norm.weight", MOE_B "attn_k_norm.weight", KV_ALL, \
	        moe_gqa_norms_whole)
#define MOE_ROWS_ATTENTION MOE_ROWS_ATTENTION_BEFORE("ffn_norm")

/* q is what stands between the layer and the matrix */
#define MOE_ROWS_DENSE_AT(q) \
	MOE_MAT(GATE, DENSE, DENSE, MOE_P q "gate_proj.weight", MOE_B "ffn_gate.weight", FFN, HIDDEN, NULL), \
	MOE_MAT(UP, DENSE, DENSE, MOE_P q "up_proj.weight", MOE_B "ffn_up.weight", FFN, HIDDEN, NULL), \
	MOE_MAT(DOWN, DENSE, DENSE, MOE_P q "down_proj.weight", MOE_B "ffn_down.weight", HIDDEN, FFN, NULL)
#define MOE_ROWS_DENSE MOE_ROWS_DENSE_AT("mlp.")

#define MOE_ROWS_ROUTER(hf_, ...) \
	{ .part = MOE_PART_ROUTER, .role = MOE_ROLE_ROUTER, .where = MOE_AT_MOE, .hf = hf_, \
	  .gguf = MOE_B "ffn_gate_inp.weight", .n_dims = 2, .dims = {MOE_DIM_EXPERTS, MOE_DIM_HIDDEN}, \
	  .gguf_f32 = true, __VA_ARGS__ }

/* router and the three matrices of an expert; q is what stands between the layer and "{e}" */
#define MOE_ROWS_EXPERTS(router, q, gate, up, down) \
	MOE_ROWS_ROUTER(MOE_P router, .present = NULL), \
	MOE_ROWS_NETWORKS(q, gate, up, down)
#define MOE_ROWS_NETWORKS(q, gate, up, down) \
	MOE_EXPERTS(GATE, MOE_P q "{e}." gate, "ffn_gate", EXPERT_FFN, HIDDEN), \
	MOE_EXPERTS(UP, MOE_P q "{e}." up, "ffn_up", EXPERT_FFN, HIDDEN), \
	MOE_EXPERTS(DOWN, MOE_P q "{e}." down, "ffn_down", HIDDEN, EXPERT_FFN)
/* One of them: apart in Hugging Face checkpoints, a stack in GGUF, apart in old files of it. */
#define MOE_EXPERTS(part_, hf_, gguf_, d0, d1) \
	{ .part = MOE_PART_EXPERT_##part_, .role = MOE_ROLE_EXPS, .where = MOE_AT_MOE, .hf = hf_, \
	  .gguf = MOE_B gguf_ "_exps.weight", .n_dims = 2, .dims = {MOE_DIM_##d0, MOE_DIM_##d1}, \
	  .gguf_age = MOE_GGUF_NEW }, \
	{ .part = MOE_PART_EXPERT_##part_, .role = MOE_ROLE_EXPS, .where = MOE_AT_MOE, \
	  .gguf = MOE_B gguf_ ".{e}.weight", .n_dims = 2, .dims = {MOE_DIM_##d0, MOE_DIM_##d1}, \
	  .gguf_age = MOE_GGUF_OLD }
/* The stacks of GGUF, for families whose own tensors hold more than one of them. */
#define MOE_ROWS_STACKS \
	MOE_STACK(GATE, "ffn_gate_exps.weight", 2, EXPERT_FFN, HIDDEN), \
	MOE_STACK(UP, "ffn_up_exps.weight", 2, EXPERT_FFN, HIDDEN), \
	MOE_STACK(DOWN, "ffn_down_exps.weight", 2, HIDDEN, EXPERT_FFN)
#define MOE_STACK(part_, gguf_, n, d0, d1) \
	{ .part = MOE_PART_EXPERT_##part_, .role = MOE_ROLE_EXPS, .where = MOE_AT_MOE, .gguf = MOE_B gguf_, \
	  .n_dims = n, .dims = {MOE_DIM_##d0, MOE_DIM_##d1}, .gguf_f32 = (n) == 1 }

#define MOE_ROWS_SHARED(q) \
	MOE_MAT(SHARED_GATE, SHARED, MOE, MOE_P q "gate_proj.weight", MOE_B "ffn_gate_shexp.weight", SHARED_FFN, \
	        HIDDEN, moe_gqa_has_shared), \
	MOE_MAT(SHARED_UP, SHARED, MOE, MOE_P q "up_proj.weight", MOE_B "ffn_up_shexp.weight", SHARED_FFN, HIDDEN, \
	        moe_gqa_has_shared), \
	MOE_MAT(SHARED_DOWN, SHARED, MOE, MOE_P q "down_proj.weight", MOE_B "ffn_down_shexp.weight", HIDDEN, \
	        SHARED_FFN, moe_gqa_has_shared)

#define MOE_ROWS_ROUTER_BIAS(hf_) \
	{ .part = MOE_PART_ROUTER_BIAS, .role = MOE_ROLE_ROUTER, .where = MOE_AT_MOE, .hf = MOE_P hf_, \
	  .gguf = MOE_B "exp_probs_b.bias", .n_dims = 1, .dims = {MOE_DIM_EXPERTS}, .f32 = true, .gguf_f32 = true, \
	  .present = moe_gqa_has_router_bias }

#define MOE_ROWS_END { .hf = NULL, .gguf = NULL }

bool moe_gqa_has_head(const struct moe_config *config);      /* embeddings are not tied */
bool moe_gqa_has_bias(const struct moe_config *config);      /* qkv_bias */
bool moe_gqa_has_o_bias(const struct moe_config *config);    /* o_bias */
bool moe_gqa_norms_heads(const struct moe_config *config);   /* qk_norm per head */
bool moe_gqa_norms_whole(const struct moe_config *config);   /* qk_norm over all heads */
bool moe_gqa_has_router_bias(const struct moe_config *config);   /* router.bias */
bool moe_gqa_has_shared(const struct moe_config *config);    /* n_shared_experts > 0 */
bool moe_gqa_has_freqs(const struct moe_config *config);     /* frequencies scaled as Llama 3's */
bool moe_gqa_has_factors(const struct moe_config *config);   /* LongRoPE */

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
