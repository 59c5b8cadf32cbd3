/* Qwen3-MoE: queries and keys normalised per head, no shared expert.
 *
 * Router: p = softmax(logits); the k largest; divided by their sum where norm_topk_prob (the published models do). */
#include "base/json.h"
#include "model/gguf_form.h"
#include "model/qwen_moe.h"

static const char *const architectures[] = {"Qwen3MoeForCausalLM", NULL};
static const char *const model_types[] = {"qwen3_moe", NULL};

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	enum moe_status st;

	c->vocab_size = 151936;
	c->hidden_size = 2048;
	c->n_layers = 24;
	c->n_heads = 32;
	c->n_kv_heads = 4;
	c->intermediate_size = 6144;
	c->moe_intermediate_size = 768;
	c->n_experts = 128;
	c->max_positions = 32768;
	c->rms_eps = 1e-6;
	c->rope.theta = 10000;
	c->qk_norm = MOE_QK_NORM_HEAD;
	c->router = (struct moe_router_spec){ .policy = "softmax_topk", .top_k = 8, .n_groups = 1, .top_groups = 1,
		                              .scale = 1 };
	st = moe_json_bool(json, "attention_bias", where, &c->qkv_bias, err);
	if (!st && c->qkv_bias)
		st = moe_err_set(err, MOE_EFORMAT, "%s: attention_bias: expected false, found true", where);
	return st ? st : moe_qwen_moe_parse(c, json, where, err);
}

static const struct moe_tensor_spec tensors[] = {
	MOE_ROWS_TOP,
	MOE_ROWS_ATTENTION,
	MOE_ROWS_DENSE,
	MOE_ROWS_EXPERTS("mlp.gate.weight", "mlp.experts.", "gate_proj.weight", "up_proj.weight", "down_proj.weight"),
	MOE_ROWS_END,
};

static const struct moe_key keys[] = {
	MOE_GQA_KEYS,
	{"num_experts", "expert_count", "u32"},
	{"intermediate_size", "feed_forward_length", "u32"},
	{"moe_intermediate_size", "expert_feed_forward_length", "u32"},
	{"norm_topk_prob", "expert_weights_norm", "bool"},
	MOE_GQA_KEYS_END,
};

/* readers normalise, whatever a key says; files of others have none */
static enum moe_status hf_extra(json_t *config, const json_t *keys, struct moe_err *err)
{
	if (!moe_hf_put(config, "norm_topk_prob", json_true()))
		return moe_err_nomem(err, 64, "config");
	return moe_gqa_hf_extra(config, keys, err);
}

static const char *obstacle(const struct moe_config *c)
{
	static const struct moe_gguf_form form = { .normalizes = MOE_GGUF_ALWAYS };

	return moe_gguf_misfit(c, &form);
}

const struct moe_family moe_family_qwen3_moe = {
	.name = "qwen3_moe",
	.help = "Qwen3-30B-A3B, Qwen3-235B-A22B",
	.traits = "queries and keys normalised per head",
	.architectures = architectures,
	.model_types = model_types,
	.gguf_arch = "qwen3moe",
	.gguf_obstacle = obstacle,
	.parse = parse,
	.tensors = tensors,
	.keys = keys,
	.gguf_extra = moe_gqa_gguf_extra,
	.hf_extra = hf_extra,
};
