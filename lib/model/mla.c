/* DeepSeek V2 and V3: config keys, tensor names and GGUF keys they have in common.
 *
 * Names and shapes: the published checkpoints; GGUF: the "deepseek2" architecture, with k_b and v_b split per head. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "model/gguf_keys.h"
#include "model/mla.h"
#include "model/parse.h"

static bool has_q_lora(const struct moe_config *c) { return c->q_lora_rank > 0; }
static bool has_plain_q(const struct moe_config *c) { return c->q_lora_rank == 0; }
static bool has_head(const struct moe_config *c) { return !c->tie_embeddings; }
static bool has_shared(const struct moe_config *c) { return c->n_shared_experts > 0; }
static bool has_bias(const struct moe_config *c) { return c->router.bias; }

#define P "model.layers.{l}."
#define B "blk.{l}."
#define VEC(part_, where_, hf_, gguf_, d0, test) \
	{ .part = part_, .role = MOE_ROLE_NORM, .where = where_, .hf = hf_, .gguf = gguf_, .dims = {d0}, .n_dims = 1, \
	  .present = test, .gguf_f32 = true }
#define MAT(part_, role_, where_, hf_, gguf_, d0, d1, test) \
	{ .part = part_, .role = role_, .where = where_, .hf = hf_, .gguf = gguf_, .dims = {d0, d1}, .n_dims = 2, \
	  .present = test }
#define STACK(part_, gguf_, d0, d1, d2) \
	{ .part = part_, .role = MOE_ROLE_ATTN, .where = MOE_AT_EVERY, .gguf = gguf_, .dims = {d0, d1, d2}, \
	  .n_dims = 3, .gguf_age = MOE_GGUF_NEW }

const struct moe_tensor_spec moe_mla_tensors[] = {
	MAT(MOE_PART_EMBED, MOE_ROLE_EMBED, MOE_AT_TOP, "model.embed_tokens.weight", "token_embd.weight",
	    MOE_DIM_VOCAB, MOE_DIM_HIDDEN, NULL),
	VEC(MOE_PART_FINAL_NORM, MOE_AT_TOP, "model.norm.weight", "output_norm.weight", MOE_DIM_HIDDEN, NULL),
	MAT(MOE_PART_HEAD, MOE_ROLE_HEAD, MOE_AT_TOP, "lm_head.weight", "output.weight",
	    MOE_DIM_VOCAB, MOE_DIM_HIDDEN, has_head),

	VEC(MOE_PART_ATTN_NORM, MOE_AT_EVERY, P "input_layernorm.weight", B "attn_norm.weight", MOE_DIM_HIDDEN, NULL),
	MAT(MOE_PART_Q, MOE_ROLE_ATTN, MOE_AT_EVERY, P "self_attn.q_proj.weight", B "attn_q.weight",
	    MOE_DIM_Q, MOE_DIM_HIDDEN, has_plain_q),
	MAT(MOE_PART_Q_A, MOE_ROLE_ATTN, MOE_AT_EVERY, P "self_attn.q_a_proj.weight", B "attn_q_a.weight",
	    MOE_DIM_Q_LORA, MOE_DIM_HIDDEN, has_q_lora),
	VEC(MOE_PART_Q_A_NORM, MOE_AT_EVERY, P "self_attn.q_a_layernorm.weight", B "attn_q_a_norm.weight",
	    MOE_DIM_Q_LORA, has_q_lora),
	MAT(MOE_PART_Q_B, MOE_ROLE_ATTN, MOE_AT_EVERY, P "self_attn.q_b_proj.weight", B "attn_q_b.weight",
	    MOE_DIM_Q, MOE_DIM_Q_LORA, has_q_lora),
	MAT(MOE_PART_KV_A, MOE_ROLE_ATTN, MOE_AT_EVERY, P "self_attn.kv_a_proj_with_mqa.weight",
	    B "attn_kv_a_mqa.weight", MOE_DIM_KV_A, MOE_DIM_HIDDEN, NULL),
	VEC(MOE_PART_KV_A_NORM, MOE_AT_EVERY, P "self_attn.kv_a_layernorm.weight", B "attn_kv_a_norm.weight",
	    MOE_DIM_KV_LORA, NULL),
	{ .part = MOE_PART_KV_B, .role = MOE_ROLE_ATTN, .where = MOE_AT_EVERY, .hf = P "self_attn.kv_b_proj.weight",
	  .gguf = B "attn_kv_b.weight", .dims = {MOE_DIM_KV_B, MOE_DIM_KV_LORA}, .n_dims = 2,
	  .gguf_age = MOE_GGUF_OLD },
	STACK(MOE_PART_K_B, B "attn_k_b.weight", MOE_DIM_HEADS, MOE_DIM_KV_LORA, MOE_DIM_NOPE),
	STACK(MOE_PART_V_B, B "attn_v_b.weight", MOE_DIM_HEADS, MOE_DIM_V, MOE_DIM_KV_LORA),
	MAT(MOE_PART_O, MOE_ROLE_ATTN, MOE_AT_EVERY, P "self_attn.o_proj.weight", B "attn_output.weight",
	    MOE_DIM_HIDDEN, MOE_DIM_O, NULL),
	MAT(MOE_PART_INDEX_Q, MOE_ROLE_ATTN, MOE_AT_INDEXER, P "self_attn.indexer.wq_b.weight",
	    B "indexer.attn_q_b.weight",
	    MOE_DIM_INDEX_Q, MOE_DIM_Q_LORA, NULL),
	MAT(MOE_PART_INDEX_K, MOE_ROLE_ATTN, MOE_AT_INDEXER, P "self_attn.indexer.wk.weight", B "indexer.attn_k.weight",
	    MOE_DIM_INDEX_HEAD, MOE_DIM_HIDDEN, NULL),
	VEC(MOE_PART_INDEX_K_NORM, MOE_AT_INDEXER, P "self_attn.indexer.k_norm.weight",
	    B "indexer.k_norm.weight",
	    MOE_DIM_INDEX_HEAD, NULL),
	VEC(MOE_PART_INDEX_K_NORM_BIAS, MOE_AT_INDEXER, P "self_attn.indexer.k_norm.bias",
	    B "indexer.k_norm.bias",
	    MOE_DIM_INDEX_HEAD, NULL),
	{ .part = MOE_PART_INDEX_WEIGHTS, .role = MOE_ROLE_ATTN, .where = MOE_AT_INDEXER,
	  .hf = P "self_attn.indexer.weights_proj.weight", .gguf = B "indexer.proj.weight",
	  .dims = {MOE_DIM_INDEX_HEADS, MOE_DIM_HIDDEN}, .n_dims = 2,
	  .unscaled = true },
	VEC(MOE_PART_FFN_NORM, MOE_AT_EVERY, P "post_attention_layernorm.weight", B "ffn_norm.weight",
	    MOE_DIM_HIDDEN, NULL),

	MAT(MOE_PART_GATE, MOE_ROLE_DENSE, MOE_AT_DENSE, P "mlp.gate_proj.weight", B "ffn_gate.weight",
	    MOE_DIM_FFN, MOE_DIM_HIDDEN, NULL),
	MAT(MOE_PART_UP, MOE_ROLE_DENSE, MOE_AT_DENSE, P "mlp.up_proj.weight", B "ffn_up.weight",
	    MOE_DIM_FFN, MOE_DIM_HIDDEN, NULL),
	MAT(MOE_PART_DOWN, MOE_ROLE_DENSE, MOE_AT_DENSE, P "mlp.down_proj.weight", B "ffn_down.weight",
	    MOE_DIM_HIDDEN, MOE_DIM_FFN, NULL),

	{ .part = MOE_PART_ROUTER, .role = MOE_ROLE_ROUTER, .where = MOE_AT_MOE, .hf = P "mlp.gate.weight",
	  .gguf = B "ffn_gate_inp.weight", .dims = {MOE_DIM_EXPERTS, MOE_DIM_HIDDEN}, .n_dims = 2, .gguf_f32 = true },
	{ .part = MOE_PART_ROUTER_BIAS, .role = MOE_ROLE_ROUTER, .where = MOE_AT_MOE,
	  .hf = P "mlp.gate.e_score_correction_bias", .gguf = B "exp_probs_b.bias", .dims = {MOE_DIM_EXPERTS},
	  .n_dims = 1, .present = has_bias, .gguf_f32 = true, .f32 = true },
	MAT(MOE_PART_EXPERT_GATE, MOE_ROLE_EXPS, MOE_AT_MOE, P "mlp.experts.{e}.gate_proj.weight",
	    B "ffn_gate_exps.weight", MOE_DIM_EXPERT_FFN, MOE_DIM_HIDDEN, NULL),
	MAT(MOE_PART_EXPERT_UP, MOE_ROLE_EXPS, MOE_AT_MOE, P "mlp.experts.{e}.up_proj.weight",
	    B "ffn_up_exps.weight", MOE_DIM_EXPERT_FFN, MOE_DIM_HIDDEN, NULL),
	MAT(MOE_PART_EXPERT_DOWN, MOE_ROLE_EXPS, MOE_AT_MOE, P "mlp.experts.{e}.down_proj.weight",
	    B "ffn_down_exps.weight", MOE_DIM_HIDDEN, MOE_DIM_EXPERT_FFN, NULL),
	MAT(MOE_PART_SHARED_GATE, MOE_ROLE_SHARED, MOE_AT_MOE, P "mlp.shared_experts.gate_proj.weight",
	    B "ffn_gate_shexp.weight", MOE_DIM_SHARED_FFN, MOE_DIM_HIDDEN, has_shared),
	MAT(MOE_PART_SHARED_UP, MOE_ROLE_SHARED, MOE_AT_MOE, P "mlp.shared_experts.up_proj.weight",
	    B "ffn_up_shexp.weight", MOE_DIM_SHARED_FFN, MOE_DIM_HIDDEN, has_shared),
	MAT(MOE_PART_SHARED_DOWN, MOE_ROLE_SHARED, MOE_AT_MOE, P "mlp.shared_experts.down_proj.weight",
	    B "ffn_down_shexp.weight", MOE_DIM_HIDDEN, MOE_DIM_SHARED_FFN, has_shared),

	MAT(MOE_PART_MTP_EMBED, MOE_ROLE_EMBED, MOE_AT_MTP, P "embed_tokens.weight", B "nextn.embed_tokens.weight",
	    MOE_DIM_VOCAB, MOE_DIM_HIDDEN, NULL),
	VEC(MOE_PART_MTP_ENORM, MOE_AT_MTP, P "enorm.weight", B "nextn.enorm.weight", MOE_DIM_HIDDEN, NULL),
	VEC(MOE_PART_MTP_HNORM, MOE_AT_MTP, P "hnorm.weight", B "nextn.hnorm.weight", MOE_DIM_HIDDEN, NULL),
	MAT(MOE_PART_MTP_EH_PROJ, MOE_ROLE_MTP, MOE_AT_MTP, P "eh_proj.weight", B "nextn.eh_proj.weight",
	    MOE_DIM_HIDDEN, MOE_DIM_2HIDDEN, NULL),
	VEC(MOE_PART_MTP_NORM, MOE_AT_MTP, P "shared_head.norm.weight", B "nextn.shared_head_norm.weight",
	    MOE_DIM_HIDDEN, NULL),
	MAT(MOE_PART_MTP_HEAD, MOE_ROLE_HEAD, MOE_AT_MTP, P "shared_head.head.weight",
	    B "nextn.shared_head_head.weight", MOE_DIM_VOCAB, MOE_DIM_HIDDEN, NULL),
	{ .hf = NULL, .gguf = NULL },
};

const struct moe_key moe_mla_keys[] = {
	{"vocab_size", "vocab_size", "u32"},
	{"max_position_embeddings", "context_length", "u32"},
	{"hidden_size", "embedding_length", "u32"},
	{"intermediate_size", "feed_forward_length", "u32"},
	{"num_attention_heads", "attention.head_count", "u32"},
	{"first_k_dense_replace", "leading_dense_block_count", "u32"},
	{"n_routed_experts", "expert_count", "u32"},
	{"num_experts_per_tok", "expert_used_count", "u32"},
	{"n_shared_experts", "expert_shared_count", "u32"},
	{"moe_intermediate_size", "expert_feed_forward_length", "u32"},
	{"routed_scaling_factor", "expert_weights_scale", "f32"},
	{"norm_topk_prob", "expert_weights_norm", "bool"},
	{"n_group", "expert_group_count", "u32"},
	{"topk_group", "expert_group_used_count", "u32"},
	{"q_lora_rank", "attention.q_lora_rank", "u32"},
	{"kv_lora_rank", "attention.kv_lora_rank", "u32"},
	{"rms_norm_eps", "attention.layer_norm_rms_epsilon", "f32"},
	{"qk_rope_head_dim", "rope.dimension_count", "u32"},
	{"rope_theta", "rope.freq_base", "f32"},
	{"index_n_heads", "attention.indexer.head_count", "u32"},
	{"index_head_dim", "attention.indexer.key_length", "u32"},
	{"index_topk", "attention.indexer.top_k", "u32"},
	{NULL, NULL, NULL},
};

/* Whole numbers of the config. The limits keep every product of two below 2^63. */
static const struct moe_number numbers[] = {
	MOE_NUMBER("vocab_size", vocab_size, 1, INT32_MAX),
	MOE_NUMBER("hidden_size", hidden_size, 1, INT32_MAX / 2),
	MOE_NUMBER("num_hidden_layers", n_layers, 1, 100000),
	MOE_NUMBER("num_nextn_predict_layers", n_mtp_layers, 0, 1000),
	MOE_NUMBER("num_attention_heads", n_heads, 1, 1 << 20),
	MOE_NUMBER("q_lora_rank", q_lora_rank, 1, INT32_MAX),
	MOE_NUMBER("kv_lora_rank", kv_lora_rank, 1, INT32_MAX - (1 << 20)),
	MOE_NUMBER("qk_nope_head_dim", qk_nope_head_dim, 1, 1 << 20),
	MOE_NUMBER("qk_rope_head_dim", qk_rope_head_dim, 2, 1 << 20),
	MOE_NUMBER("v_head_dim", v_head_dim, 1, 1 << 20),
	MOE_NUMBER("intermediate_size", intermediate_size, 1, INT32_MAX),
	MOE_NUMBER("moe_intermediate_size", moe_intermediate_size, 1, INT32_MAX),
	MOE_NUMBER("n_routed_experts", n_experts, 1, INT32_MAX),
	MOE_NUMBER("n_shared_experts", n_shared_experts, 0, 65536),
	MOE_NUMBER("num_experts_per_tok", router.top_k, 1, INT32_MAX),
	MOE_NUMBER("n_group", router.n_groups, 1, INT32_MAX),
	MOE_NUMBER("topk_group", router.top_groups, 1, INT32_MAX),
	{NULL, 0, 0, 0},
};

/* Layer l has experts iff l >= first_k_dense_replace and l % moe_layer_freq == 0, l counted from the first layer; or as
 * mlp_layer_types says. */
static enum moe_status parse_layers(struct moe_config *c, const json_t *json, const char *where, int32_t first_dense,
                                    struct moe_err *err)
{
	const int32_t n = c->n_layers + c->n_mtp_layers;
	static const char *const words[] = {"dense", "sparse"};
	int32_t freq = 1;
	enum moe_status st = moe_json_i32(json, "first_k_dense_replace", where, 0, INT32_MAX, &first_dense, err);

	if (!st)
		st = moe_json_i32(json, "moe_layer_freq", where, 1, INT32_MAX, &freq, err);
	if (st)
		return st;
	c->layers = calloc((size_t)n, sizeof *c->layers);
	if (!c->layers)
		return moe_err_nomem(err, (size_t)n * sizeof *c->layers, "layers");
	for (int32_t l = 0; l < n && !st; l++) {
		bool sparse = l >= first_dense && l % freq == 0;

		if (l < c->n_layers)
			st = moe_parse_layer_word(json, "mlp_layer_types", where, c->n_layers, l, words, &sparse, err);
		c->layers[l].mixer = "mla";
		c->layers[l].ffn = sparse ? MOE_FFN_MOE : MOE_FFN_DENSE;
		c->layers[l].cache_elems = moe_dim_of(c, MOE_DIM_KV_A);
		c->layers[l].mtp = l >= c->n_layers;
	}
	return st;
}

enum moe_status moe_mla_parse(struct moe_config *c, const json_t *json, const char *where, int32_t first_dense,
                              struct moe_err *err)
{
	static const char *const activations[] = {"silu", NULL};
	const char *activation;
	const json_t *quantization = json_object_get(json, "quantization_config");
	int32_t n_kv_heads = 0;
	double share = 1;
	bool biased = false, given;
	enum moe_status st = moe_parse_numbers(c, json, where, numbers, err);

	if (st)
		return st;
	if (json_is_null(json_object_get(json, "q_lora_rank")))
		c->q_lora_rank = 0;
	if (json_is_null(json_object_get(json, "n_shared_experts")))
		c->n_shared_experts = 0;
	if (json_is_null(json_object_get(json, "num_nextn_predict_layers")))
		c->n_mtp_layers = 0;
	if (c->n_experts == 0 || json_is_null(json_object_get(json, "n_routed_experts")))
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: n_routed_experts is missing: this family's models have experts", where);
	if (c->router.top_k == 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: num_experts_per_tok is missing", where);
	/* Neither changes how this family runs, but a config that is wrong is not to be trusted. */
	st = moe_json_i32(json, "num_key_value_heads", where, 1, INT32_MAX, &n_kv_heads, err);
	if (st)
		return st;
	if (quantization && !json_is_null(quantization) && !json_is_object(quantization))
		return moe_json_refuse(err, quantization, where, "quantization_config: expected an object or null");
	c->n_kv_heads = c->n_heads;
	c->head_dim = c->qk_nope_head_dim + c->qk_rope_head_dim;
	c->mla_norm_eps = 1e-6;
	st = moe_json_i64(json, "max_position_embeddings", where, 1, INT32_MAX, &c->max_positions, err);
	if (!st)
		st = moe_json_f64(json, "rms_norm_eps", where, &c->rms_eps, err);
	if (!st)
		st = moe_parse_range(c->rms_eps, 0, 1, where, "rms_norm_eps", err);
	if (!st)
		st = moe_json_bool(json, "tie_word_embeddings", where, &c->tie_embeddings, err);
	if (!st)
		st = moe_json_bool(json, "attention_bias", where, &biased, err);
	if (!st && biased)
		st = moe_err_set(err, MOE_EFORMAT, "%s: attention_bias: expected false, found true (biased "
		                 "projections are not run)", where);
	if (!st)
		st = moe_parse_word(json, "hidden_act", where, activations, "silu", &activation, err);
	c->rope.n_dims = c->qk_rope_head_dim;
	c->rope.interleaved = true;
	if (!st)
		st = moe_json_bool(json, "rope_interleave", where, &c->rope.interleaved, err);
	/* the rotated part is qk_rope_head_dim, all of it */
	if (!st)
		st = moe_parse_share(json, where, &share, &given, err);
	if (!st)
		st = moe_parse_range(share, 1, 1, where, "partial_rotary_factor", err);
	if (!st)
		st = moe_parse_rope(c, json, where, "qk_rope_head_dim", err);
	if (!st && (c->rope.linear > 0 || c->rope.llama3))
		st = moe_err_set(err, MOE_EFORMAT, "%s: rope scaling: expected none, default or yarn, found %s", where,
		                 c->rope.llama3 ? "llama3" : "linear");
	if (!st)
		st = moe_parse_ids(c, json, where, err);
	if (!st)
		st = parse_layers(c, json, where, first_dense, err);
	return st;
}

void moe_mla_v3_defaults(struct moe_config *c)
{
	c->vocab_size = 129280;
	c->hidden_size = 7168;
	c->n_layers = 61;
	c->n_mtp_layers = 1;
	c->n_heads = 128;
	c->q_lora_rank = 1536;
	c->kv_lora_rank = 512;
	c->qk_nope_head_dim = 128;
	c->qk_rope_head_dim = 64;
	c->v_head_dim = 128;
	c->intermediate_size = 18432;
	c->moe_intermediate_size = 2048;
	c->n_experts = 256;
	c->n_shared_experts = 1;
	c->max_positions = 4096;
	c->rms_eps = 1e-6;
	c->rope.theta = 10000;
	c->bos_id = 0;
	c->n_eos = 1;
	c->eos_ids[0] = 1;
	c->router = (struct moe_router_spec){ .policy = "noaux_tc", .top_k = 8, .n_groups = 8, .top_groups = 4,
	                                      .scale = 2.5, .bias = true };
}

enum moe_status moe_mla_v3_parse(struct moe_config *c, const json_t *json, const char *where, int32_t first_dense,
                                 struct moe_err *err)
{
	static const char *const scorings[] = {"sigmoid", NULL};
	static const char *const methods[] = {"noaux_tc", NULL};
	const char *word;
	bool normalize = true;
	enum moe_status st = moe_mla_parse(c, json, where, first_dense, err);

	if (!st)
		st = moe_parse_word(json, "scoring_func", where, scorings, "sigmoid", &word, err);
	if (!st)
		st = moe_parse_word(json, "topk_method", where, methods, "noaux_tc", &word, err);
	if (!st)
		st = moe_json_bool(json, "norm_topk_prob", where, &normalize, err);
	if (!st)
		st = moe_json_f64(json, "routed_scaling_factor", where, &c->router.scale, err);
	c->router.normalize = normalize;
	return st ? st : moe_parse_groups(c, where, 2, err);
}

const char *moe_mla_obstacle(const struct moe_config *c)
{
	int32_t first_moe = 0;

	if (!c->rope.interleaved)
		return "rotates neighbouring pairs alone";
	if (c->rope.yarn && c->rope.mscale != c->rope.mscale_all_dim)
		return "takes mscale and mscale_all_dim to be the same";
	while (first_moe < c->n_layers && c->layers[first_moe].ffn == MOE_FFN_DENSE)
		first_moe++;
	for (int32_t l = first_moe; l < c->n_layers + c->n_mtp_layers; l++)
		if (c->layers[l].ffn == MOE_FFN_DENSE)
			return "knows no layers without experts between others";
	return NULL;
}

const char *moe_mla_remark(const struct moe_config *c)
{
	if (c->router.n_groups > 1 && !strcmp(c->router.policy, "group_limited"))
		return "goes by the two best experts of a group, not by the best one";
	if (c->rope.yarn && (c->rope.beta_fast != 32 || c->rope.beta_slow != 1))
		return "takes YaRN's beta_fast and beta_slow to be 32 and 1";
	return c->rms_eps != c->mla_norm_eps ? "gives the norms of latents the epsilon of the others" : NULL;
}

/* It knows V2-Lite and Kanana 2 by these numbers, and asks all others for q_lora_rank. */
const char *moe_mla_limit(const struct moe_config *c)
{
	const bool known = c->n_layers == 26 || c->n_layers == 27 || (c->n_layers == 48 && c->vocab_size == 128256);

	return c->q_lora_rank || known ? NULL : "loads models without q_lora_rank of 26 or 27 layers only";
}

/* Keys of one architecture; ok turns false when memory is short. */
struct writer {
	json_t *keys;
	const char *arch;
	bool ok;
};

/* Where the config leaves a key out, its GGUF twin gets the family's default. */
static void put_u32(struct writer *w, const char *key, int64_t value)
{
	w->ok = w->ok && (moe_gguf_key(w->keys, w->arch, key) ||
	                  moe_gguf_put(w->keys, w->arch, key, "u32", json_integer(value)));
}

static void put_f32(struct writer *w, const char *key, double value)
{
	w->ok = w->ok && (moe_gguf_key(w->keys, w->arch, key) ||
	                  moe_gguf_put(w->keys, w->arch, key, "f32", json_real(value)));
}

/* YaRN's g(s, m) as DeepSeek defines it. */
static double yarn_mscale(double factor, double m) { return factor > 1 ? 0.1 * m * log(factor) + 1 : 1; }

/* The numbers of an indexer, and which layers have one of their own where not all do. */
static void put_indexer(struct writer *w, const struct moe_config *c)
{
	json_t *owners = json_array();
	bool shared = false;
	char name[128];

	if (c->index_top_k) {
		put_u32(w, "attention.indexer.head_count", c->index_n_heads);
		put_u32(w, "attention.indexer.key_length", c->index_head_dim);
		put_u32(w, "attention.indexer.top_k", c->index_top_k);
	}
	for (int32_t l = 0; l < c->n_layers; l++) {
		const bool own = c->layers[l].indexer == MOE_INDEXER_OWN;

		shared |= c->layers[l].indexer == MOE_INDEXER_SHARED;
		w->ok = w->ok && !json_array_append_new(owners, json_boolean(own));
	}
	snprintf(name, sizeof name, "%s.attention.indexer.types", w->arch);
	if (shared)
		w->ok = w->ok && !json_object_set_new(w->keys, name, json_pack("{s:s, s:s, s:O}", "type", "array", "of",
		                                                               "bool", "value", owners));
	json_decref(owners);
}

enum moe_status moe_mla_gguf_extra(const struct moe_config *c, json_t *keys, int gating, struct moe_err *err)
{
	char own[64];
	struct writer w = { .keys = keys, .arch = moe_gguf_arch(c, own), .ok = true };
	int32_t first_moe = 0;

	while (first_moe < c->n_layers && c->layers[first_moe].ffn == MOE_FFN_DENSE)
		first_moe++;
	/* the cache holds one shared latent per token, so GGUF calls it one head of c + r keys and c values */
	put_u32(&w, "block_count", (int64_t)c->n_layers + c->n_mtp_layers);
	put_u32(&w, "attention.head_count_kv", 1);
	put_u32(&w, "attention.key_length", moe_dim_of(c, MOE_DIM_KV_A));
	put_u32(&w, "attention.value_length", c->kv_lora_rank);
	put_u32(&w, "attention.key_length_mla", c->head_dim);
	put_u32(&w, "attention.value_length_mla", c->v_head_dim);
	put_u32(&w, "expert_gating_func", gating);
	if (c->n_mtp_layers)
		put_u32(&w, "nextn_predict_layers", c->n_mtp_layers);
	put_u32(&w, "vocab_size", c->vocab_size);
	put_u32(&w, "context_length", c->max_positions);
	put_u32(&w, "embedding_length", c->hidden_size);
	put_u32(&w, "feed_forward_length", c->intermediate_size);
	put_u32(&w, "attention.head_count", c->n_heads);
	put_u32(&w, "leading_dense_block_count", first_moe);
	put_u32(&w, "expert_count", c->n_experts);
	put_u32(&w, "expert_used_count", c->router.top_k);
	put_u32(&w, "expert_shared_count", c->n_shared_experts);
	put_u32(&w, "expert_feed_forward_length", c->moe_intermediate_size);
	put_f32(&w, "expert_weights_scale", c->router.scale);
	if (!moe_gguf_key(keys, w.arch, "expert_weights_norm"))
		w.ok = w.ok && moe_gguf_put(keys, w.arch, "expert_weights_norm", "bool",
		                            json_boolean(c->router.normalize));
	/* a router that ignores the groups of its config (greedy) must not be grouped by a reader of these keys */
	w.ok = w.ok && moe_gguf_put(keys, w.arch, "expert_group_count", "u32", json_integer(c->router.n_groups));
	w.ok = w.ok && moe_gguf_put(keys, w.arch, "expert_group_used_count", "u32",
	                            json_integer(c->router.top_groups));
	if (c->q_lora_rank)
		put_u32(&w, "attention.q_lora_rank", c->q_lora_rank);
	put_u32(&w, "attention.kv_lora_rank", c->kv_lora_rank);
	put_f32(&w, "attention.layer_norm_rms_epsilon", c->rms_eps);
	put_u32(&w, "rope.dimension_count", c->rope.n_dims);
	put_f32(&w, "rope.freq_base", c->rope.theta);
	w.ok = w.ok && moe_gguf_put(keys, w.arch, "rope.scaling.type", "string",
	                            json_string(c->rope.yarn ? "yarn" : "none"));
	if (c->rope.yarn) {
		put_f32(&w, "rope.scaling.factor", c->rope.factor);
		put_u32(&w, "rope.scaling.original_context_length", c->rope.original_positions);
		put_f32(&w, "rope.scaling.yarn_log_multiplier", 0.1 * c->rope.mscale_all_dim);
		put_f32(&w, "rope.scaling.yarn_beta_fast", c->rope.beta_fast);
		put_f32(&w, "rope.scaling.yarn_beta_slow", c->rope.beta_slow);
		if (c->rope.mscale != c->rope.mscale_all_dim)
			put_f32(&w, "rope.scaling.attn_factor",
			        yarn_mscale(c->rope.factor, c->rope.mscale) /
			        yarn_mscale(c->rope.factor, c->rope.mscale_all_dim));
	}
	put_indexer(&w, c);
	return w.ok ? MOE_OK : moe_err_nomem(err, 64, "GGUF keys");
}

/* YaRN: GGUF holds 0.1 mscale_all_dim, and the ratio g(factor, mscale) / g(factor, mscale_all_dim) if not 1. */
static json_t *yarn_of(const json_t *keys, const char *arch)
{
	const double log_mul = moe_gguf_f64(keys, arch, "rope.scaling.yarn_log_multiplier", 0);
	const double all_dim = moe_gguf_f32_value((double)(float)(log_mul * 10));
	const double factor = moe_gguf_f64(keys, arch, "rope.scaling.factor", 1);
	const double ratio = moe_gguf_f64(keys, arch, "rope.scaling.attn_factor", 1);
	double mscale = all_dim;

	if (ratio != 1 && factor > 1)
		mscale = moe_gguf_f32_value((double)(float)((ratio * yarn_mscale(factor, all_dim) - 1) /
		                                            (0.1 * log(factor))));
	return json_pack("{s:s, s:f, s:I, s:f, s:f, s:f, s:f}", "type", "yarn", "factor", factor,
	                 "original_max_position_embeddings",
	                 (json_int_t)moe_gguf_int(keys, arch, "rope.scaling.original_context_length", 4096),
	                 "beta_fast", moe_gguf_f64(keys, arch, "rope.scaling.yarn_beta_fast", 32), "beta_slow",
	                 moe_gguf_f64(keys, arch, "rope.scaling.yarn_beta_slow", 1), "mscale", mscale,
	                 "mscale_all_dim", all_dim);
}

enum moe_status moe_mla_hf_extra(json_t *config, const json_t *keys, int32_t grouped_experts, int32_t groups,
                                 int32_t top_groups, struct moe_err *err)
{
	const char *arch = json_string_value(moe_gguf_key(keys, NULL, "general.architecture"));
	const int64_t n_mtp = moe_gguf_int(keys, arch, "nextn_predict_layers", 0);
	const int64_t blocks = moe_gguf_int(keys, arch, "block_count", 0);
	const int64_t n_rope = moe_gguf_int(keys, arch, "rope.dimension_count", 64);
	const int64_t key_len = moe_gguf_int(keys, arch, "attention.key_length_mla",
	                                     moe_gguf_int(keys, arch, "attention.key_length", 192));
	const int64_t value_len = moe_gguf_int(keys, arch, "attention.value_length_mla",
	                                       moe_gguf_int(keys, arch, "attention.value_length", 128));
	const char *scaling = json_string_value(moe_gguf_key(keys, arch, "rope.scaling.type"));
	const bool grouped = moe_gguf_int(keys, arch, "expert_count", 0) == grouped_experts;
	bool ok = true;

	if (blocks < 1 || n_mtp < 0 || n_mtp >= blocks || key_len <= n_rope)
		return moe_err_set(err, MOE_EFORMAT, "GGUF keys: block_count %lld, nextn_predict_layers %lld, key "
		                   "length %lld, "
		                   "rope.dimension_count %lld make no model", (long long)blocks, (long long)n_mtp,
		                   (long long)key_len, (long long)n_rope);
	if (scaling && strcmp(scaling, "none") && strcmp(scaling, "yarn"))
		return moe_err_set(err, MOE_EFORMAT, "GGUF keys: rope.scaling.type: expected none or yarn, found "
		                   "'%.64s'", scaling);
	ok = !json_object_set_new(config, "num_hidden_layers", json_integer(blocks - n_mtp)) && ok;
	ok = !json_object_set_new(config, "num_nextn_predict_layers", json_integer(n_mtp)) && ok;
	ok = !json_object_set_new(config, "num_key_value_heads",
	                          json_integer(moe_gguf_int(keys, arch, "attention.head_count", 1))) && ok;
	ok = !json_object_set_new(config, "qk_nope_head_dim", json_integer(key_len - n_rope)) && ok;
	ok = !json_object_set_new(config, "qk_rope_head_dim", json_integer(n_rope)) && ok;
	ok = !json_object_set_new(config, "v_head_dim", json_integer(value_len)) && ok;
	ok = !json_object_set_new(config, "moe_layer_freq", json_integer(1)) && ok;
	ok = !json_object_set_new(config, "hidden_act", json_string("silu")) && ok;
	ok = !json_object_set_new(config, "attention_bias", json_false()) && ok;
	/* absent keys mean none here, where the family's class default would mean something else */
	if (!json_object_get(config, "q_lora_rank"))
		ok = !json_object_set_new(config, "q_lora_rank", json_null()) && ok;
	if (!json_object_get(config, "n_shared_experts"))
		ok = !json_object_set_new(config, "n_shared_experts", json_integer(0)) && ok;
	if (!json_object_get(config, "norm_topk_prob"))
		ok = !json_object_set_new(config, "norm_topk_prob", json_false()) && ok;
	if (!json_object_get(config, "n_group"))
		ok = !json_object_set_new(config, "n_group", json_integer(grouped ? groups : 1)) && ok;
	if (!json_object_get(config, "topk_group"))
		ok = !json_object_set_new(config, "topk_group", json_integer(grouped ? top_groups : 1)) && ok;
	ok = !json_object_set_new(config, "rope_scaling",
	                          scaling && !strcmp(scaling, "yarn") ? yarn_of(keys, arch) : json_null()) && ok;
	return ok ? MOE_OK : moe_err_nomem(err, 64, "config");
}

enum moe_status moe_mla_v3_gguf_extra(const struct moe_config *c, json_t *keys, struct moe_err *err)
{
	return moe_mla_gguf_extra(c, keys, 2, err);
}

enum moe_status moe_mla_v3_hf_extra(json_t *config, const json_t *keys, struct moe_err *err)
{
	if (json_object_set_new(config, "scoring_func", json_string("sigmoid")) ||
	    json_object_set_new(config, "topk_method", json_string("noaux_tc")))
		return moe_err_nomem(err, 64, "config");
	return moe_mla_hf_extra(config, keys, 256, 8, 4, err);
}

bool moe_mla_never(const json_t *keys)
{
	(void)keys;
	return false;
}
