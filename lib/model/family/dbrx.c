/* DBRX: queries, keys and values in one matrix and clamped, LayerNorm without bias, experts in every layer.
 *
 * Router: p = softmax(logits); the k largest, divided by their p-norm (moe_normalize_expert_weights, null: not). The
 * experts of a layer share three tensors of experts * width rows: w1 (gate), v1 (up), and w2 (down) stored by its
 * inputs. The keys of config.json lie in attn_config and ffn_config, theta in the former. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "model/gguf_form.h"
#include "model/gqa.h"

static const char *const architectures[] = {"DbrxForCausalLM", NULL};
static const char *const model_types[] = {"dbrx", NULL};

static const struct moe_number numbers[] = {
	MOE_NUMBER("vocab_size", vocab_size, 1, INT32_MAX),
	MOE_NUMBER("d_model", hidden_size, 1, INT32_MAX / 2),
	MOE_NUMBER("n_layers", n_layers, 1, 100000),
	MOE_NUMBER("n_heads", n_heads, 1, 1 << 20),
	{NULL, 0, 0, 0},
};

static const struct moe_number attn_numbers[] = {
	MOE_NUMBER("kv_n_heads", n_kv_heads, 1, 1 << 20),
	{NULL, 0, 0, 0},
};

static const struct moe_number ffn_numbers[] = {
	MOE_NUMBER("ffn_hidden_size", moe_intermediate_size, 1, INT32_MAX),
	MOE_NUMBER("moe_num_experts", n_experts, 1, INT32_MAX),
	MOE_NUMBER("moe_top_k", router.top_k, 1, INT32_MAX),
	{NULL, 0, 0, 0},
};

/* An object of the config and what messages call it; absent: NULL, in which lookups find nothing. */
struct section {
	const json_t *json;
	char where[1024];
};

static enum moe_status find_section(struct section *section, const json_t *json, const char *key, const char *where,
                                    struct moe_err *err)
{
	section->json = json_object_get(json, key);
	snprintf(section->where, sizeof section->where, "%.1000s: %s", where, key);
	if (!section->json || json_is_null(section->json)) {
		section->json = NULL;
		return MOE_OK;
	}
	return json_is_object(section->json) ? MOE_OK
	       : moe_json_refuse(err, section->json, section->where, "expected an object");
}

static enum moe_status parse_attention(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	struct section attn;
	enum moe_status st = find_section(&attn, json, "attn_config", where, err);

	if (!st)
		st = moe_parse_numbers(c, attn.json, attn.where, attn_numbers, err);
	if (!st && c->n_heads % c->n_kv_heads)
		st = moe_err_set(err, MOE_EFORMAT, "%s: kv_n_heads: expected a divisor of n_heads %d, found %d",
		                 attn.where, c->n_heads, c->n_kv_heads);
	if (!st && c->hidden_size % c->n_heads)
		st = moe_err_set(err, MOE_EFORMAT, "%s: d_model: expected a multiple of n_heads %d, found %d", where,
		                 c->n_heads, c->hidden_size);
	if (!st)
		st = moe_json_f64(attn.json, "clip_qkv", attn.where, &c->clip_qkv, err);
	if (!st && moe_json_has(attn.json, "clip_qkv"))
		st = moe_parse_range(c->clip_qkv, 1e-9, 1e9, attn.where, "clip_qkv", err);
	if (st)
		return st;
	c->head_dim = c->hidden_size / c->n_heads;
	st = moe_gqa_finish(c, json, where, err);
	/* the released key wins over those that other families use */
	if (!st)
		st = moe_json_f64(attn.json, "rope_theta", attn.where, &c->rope.theta, err);
	return st ? st : moe_parse_range(c->rope.theta, 1.0 + 1e-6, 1e15, attn.where, "rope_theta", err);
}

static enum moe_status parse_experts(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	static const char *const activations[] = {"silu", NULL};
	static const char norm_key[] = "moe_normalize_expert_weights";
	const char *activation;
	struct section ffn, act;
	enum moe_status st = find_section(&ffn, json, "ffn_config", where, err);

	if (!st)
		st = moe_parse_numbers(c, ffn.json, ffn.where, ffn_numbers, err);
	if (!st)
		st = moe_parse_top_k(c, "moe_top_k", ffn.where, err);
	if (!st)
		st = find_section(&act, ffn.json, "ffn_act_fn", ffn.where, err);
	if (!st)
		st = moe_parse_word(act.json, "name", act.where, activations, "silu", &activation, err);
	if (st)
		return st;
	c->router.p_norm = json_is_null(json_object_get(ffn.json, norm_key)) ? 0 : 1;
	st = moe_json_f64(ffn.json, norm_key, ffn.where, &c->router.p_norm, err);
	if (!st && moe_json_has(ffn.json, norm_key))
		st = moe_parse_range(c->router.p_norm, 1e-3, 1e3, ffn.where, norm_key, err);
	return st ? st : moe_gqa_place_experts(c, json, where, 0, 1, 0, NULL, err);
}

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	enum moe_status st;

	c->vocab_size = 32000;
	c->hidden_size = 2048;
	c->n_layers = 24;
	c->n_heads = 16;
	c->n_kv_heads = 1;
	c->moe_intermediate_size = 3584;
	c->n_experts = 4;
	c->max_positions = 2048;
	c->layer_norm = true;
	c->rms_eps = 1e-5;
	c->rope.theta = 10000;
	c->bos_id = -1;
	c->router = (struct moe_router_spec){ .policy = "dbrx", .top_k = 1, .n_groups = 1, .top_groups = 1,
		                              .scale = 1 };
	st = moe_parse_numbers(c, json, where, numbers, err);
	if (!st)
		st = moe_json_i64(json, "max_seq_len", where, 1, INT32_MAX, &c->max_positions, err);
	if (!st)
		st = moe_json_bool(json, "tie_word_embeddings", where, &c->tie_embeddings, err);
	if (!st)
		st = parse_attention(c, json, where, err);
	return st ? st : parse_experts(c, json, where, err);
}

#define BLOCK "transformer.blocks.{l}."
#define EXPERTS(part_, hf_, turned, d0, d1) \
	{ .part = MOE_PART_EXPERT_##part_, .role = MOE_ROLE_EXPS, .where = MOE_AT_MOE, \
	  .hf = BLOCK "ffn.experts.mlp." hf_, .stack = MOE_STACK_ROWS, .input_major = turned, .n_dims = 2, \
	  .dims = {MOE_DIM_##d0, MOE_DIM_##d1} }

static const struct moe_tensor_spec tensors[] = {
	MOE_MAT(EMBED, EMBED, TOP, "transformer.wte.weight", "token_embd.weight", VOCAB, HIDDEN, NULL),
	MOE_VEC(FINAL_NORM, NORM, TOP, "transformer.norm_f.weight", "output_norm.weight", HIDDEN, NULL),
	MOE_MAT(HEAD, HEAD, TOP, "lm_head.weight", "output.weight", VOCAB, HIDDEN, moe_gqa_has_head),
	MOE_VEC(ATTN_NORM, NORM, EVERY, BLOCK "norm_attn_norm.norm_1.weight", MOE_B "attn_norm.weight", HIDDEN, NULL),
	{ .part = MOE_PART_Q,
	  .role = MOE_ROLE_ATTN,
	  .where = MOE_AT_EVERY,
	  .hf = BLOCK "norm_attn_norm.attn.Wqkv.weight",
	  .gguf = MOE_B "attn_qkv.weight",
	  .n_dims = 2,
	  .dims = { MOE_DIM_QKV, MOE_DIM_HIDDEN },
	  .n_pieces = 3,
	  .pieces = { { MOE_PART_Q, MOE_DIM_Q_ALL },
	              { MOE_PART_K, MOE_DIM_KV_ALL },
	              { MOE_PART_V, MOE_DIM_KV_ALL } } },
	MOE_MAT(O, ATTN, EVERY, BLOCK "norm_attn_norm.attn.out_proj.weight", MOE_B "attn_output.weight", HIDDEN,
	        Q_ALL, NULL),
	MOE_VEC(FFN_NORM, NORM, EVERY, BLOCK "norm_attn_norm.norm_2.weight", MOE_B "attn_output_norm.weight", HIDDEN,
	        NULL),
	MOE_ROWS_ROUTER(BLOCK "ffn.router.layer.weight", .present = NULL),
	EXPERTS(GATE, "w1", false, EXPERT_FFN, HIDDEN),
	EXPERTS(UP, "v1", false, EXPERT_FFN, HIDDEN),
	EXPERTS(DOWN, "w2", true, HIDDEN, EXPERT_FFN),
	MOE_ROWS_STACKS,
	MOE_ROWS_END,
};

static const struct moe_key keys[] = {
	MOE_GQA_KEYS,
	{"vocab_size", "vocab_size", "u32"},
	{"max_seq_len", "context_length", "u32"},
	{"d_model", "embedding_length", "u32"},
	{"n_layers", "block_count", "u32"},
	{"n_heads", "attention.head_count", "u32"},
	MOE_GQA_KEYS_END,
};

static enum moe_status hf_extra(json_t *config, const json_t *keys, struct moe_err *err)
{
	const double clip = moe_gguf_f64(keys, "dbrx", "attention.clamp_kqv", 0);
	json_t *attn = json_pack("{s:I, s:f}", "kv_n_heads",
	                         (json_int_t)moe_gguf_int(keys, "dbrx", "attention.head_count_kv", 1), "rope_theta",
	                         moe_gguf_f64(keys, "dbrx", "rope.freq_base", 10000));
	json_t *ffn = json_pack("{s:I, s:I, s:I}", "ffn_hidden_size",
	                        (json_int_t)moe_gguf_int(keys, "dbrx", "feed_forward_length", 0), "moe_num_experts",
	                        (json_int_t)moe_gguf_int(keys, "dbrx", "expert_count", 0), "moe_top_k",
	                        (json_int_t)moe_gguf_int(keys, "dbrx", "expert_used_count", 0));
	bool ok = attn && ffn && (clip <= 0 || moe_hf_put(attn, "clip_qkv", json_real(clip)));

	/* both are stolen, also when that fails */
	ok = moe_hf_put(config, "attn_config", attn) && ok;
	ok = moe_hf_put(config, "ffn_config", ffn) && ok;
	return ok ? MOE_OK : moe_err_nomem(err, 64, "config");
}

static const char *obstacle(const struct moe_config *c)
{
	static const struct moe_gguf_form form = { .head = true, .square = true, .clips = true };

	if (c->clip_qkv <= 0)
		return "always clamps queries, keys and values";
	return c->router.p_norm != 1 ? "divides the weights of experts by their sum" : moe_gguf_misfit(c, &form);
}

const struct moe_family moe_family_dbrx = {
	.name = "dbrx",
	.help = "DBRX Base, Instruct",
	.traits = "fused and clamped projections, LayerNorm, weights divided by a norm",
	.architectures = architectures,
	.model_types = model_types,
	.gguf_arch = "dbrx",
	.gguf_obstacle = obstacle,
	.parse = parse,
	.tensors = tensors,
	.keys = keys,
	.gguf_extra = moe_gqa_gguf_extra,
	.hf_extra = hf_extra,
};
