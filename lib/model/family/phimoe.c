/* PhiMoE: Mixtral's names, LayerNorm and projections with biases, LongRoPE.
 *
 * Router: SparseMixer, two experts chosen one after the other, each weighed by a softmax over the scores near it;
 * router_jitter_noise says how near. */
#include "base/json.h"
#include "model/gguf_form.h"
#include "model/gqa.h"

static const char *const architectures[] = {"PhiMoEForCausalLM", "PhimoeForCausalLM", NULL};
static const char *const model_types[] = {"phimoe", NULL};

static const struct moe_number numbers[] = {
	MOE_NUMBER("num_local_experts", n_experts, 2, INT32_MAX),
	{NULL, 0, 0, 0},
};

static enum moe_status parse_own(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	int64_t window = 0;
	enum moe_status st = moe_json_f64(json, "router_jitter_noise", where, &c->router.eps, err);

	if (!st)
		st = moe_parse_range(c->router.eps, 0, 1e6, where, "router_jitter_noise", err);
	if (!st && c->router.top_k != 2)
		st = moe_err_set(err, MOE_EFORMAT, "%s: num_experts_per_tok: expected 2, found %d", where,
		                 c->router.top_k);
	if (!st)
		st = moe_json_i64(json, "sliding_window", where, 1, INT64_MAX, &window, err);
	for (int32_t l = 0; !st && l < c->n_layers; l++)
		c->layers[l].window = window;
	return st;
}

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	enum moe_status st;

	c->vocab_size = 32064;
	c->hidden_size = 4096;
	c->n_layers = 32;
	c->n_heads = 32;
	c->n_kv_heads = 8;
	c->intermediate_size = 6400;
	c->n_experts = 16;
	c->max_positions = 131072;
	c->rms_eps = 1e-5;
	c->layer_norm = true;
	c->rope.theta = 1e6;
	c->rope.may_lengthen = true;
	c->bos_id = 1;
	c->n_eos = 1;
	c->eos_ids[0] = 2;
	c->router = (struct moe_router_spec){ .policy = "sparsemixer", .top_k = 2, .n_groups = 1, .top_groups = 1,
		                              .scale = 1, .eps = 0.01 };
	st = moe_json_bool(json, "attention_bias", where, &c->qkv_bias, err);
	c->o_bias = c->qkv_bias;
	if (!st)
		st = moe_json_bool(json, "lm_head_bias", where, &c->head_bias, err);
	if (!st)
		st = moe_gqa_parse(c, json, where, numbers, err);
	if (!st)
		st = parse_own(c, json, where, err);
	c->moe_intermediate_size = c->intermediate_size;
	return st ? st : moe_gqa_place_experts(c, json, where, 0, 1, 0, NULL, err);
}

static bool has_head_bias(const struct moe_config *c) { return c->head_bias; }

static const struct moe_tensor_spec tensors[] = {
	MOE_ROWS_TOP,
	MOE_VEC(FINAL_NORM_BIAS, NORM, TOP, "model.norm.bias", "output_norm.bias", HIDDEN, NULL),
	MOE_VEC(HEAD_BIAS, HEAD, TOP, "lm_head.bias", "output.bias", VOCAB, has_head_bias),
	MOE_ROWS_ATTENTION,
	MOE_VEC(ATTN_NORM_BIAS, NORM, EVERY, MOE_P "input_layernorm.bias", MOE_B "attn_norm.bias", HIDDEN, NULL),
	MOE_VEC(FFN_NORM_BIAS, NORM, EVERY, MOE_P "post_attention_layernorm.bias", MOE_B "ffn_norm.bias", HIDDEN, NULL),
	MOE_ROWS_EXPERTS("block_sparse_moe.gate.weight", "block_sparse_moe.experts.", "w1.weight", "w3.weight",
	                 "w2.weight"),
	MOE_ROWS_END,
};

static const struct moe_key keys[] = {
	MOE_GQA_KEYS,
	{"num_local_experts", "expert_count", "u32"},
	{"intermediate_size", "feed_forward_length", "u32"},
	MOE_GQA_KEYS_END,
};

static const char *obstacle(const struct moe_config *c)
{
	static const struct moe_gguf_form form = { .head = true, .square = true };

	if (!c->qkv_bias || !c->head_bias)
		return "needs biases in attention and head";
	if (c->rope.factors && c->rope.magnitudes[0] != c->rope.magnitudes[1])
		return "knows one magnitude for rotations of all lengths";
	return moe_gguf_misfit(c, &form);
}

static const char *remark(const struct moe_config *c)
{
	(void)c;
	return "runs it with a norm that keeps the mean, and a plain softmax router";
}

const struct moe_family moe_family_phimoe = {
	.name = "phimoe",
	.help = "Phi-3.5-MoE",
	.traits = "SparseMixer, LayerNorm with biases, LongRoPE",
	.architectures = architectures,
	.model_types = model_types,
	.gguf_arch = "phimoe",
	.gguf_obstacle = obstacle,
	.gguf_remark = remark,
	.parse = parse,
	.tensors = tensors,
	.keys = keys,
	.gguf_extra = moe_gqa_gguf_extra,
	.hf_extra = moe_gqa_hf_extra,
};
