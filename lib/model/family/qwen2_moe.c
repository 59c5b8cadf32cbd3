/* Qwen1.5-MoE and Qwen2-MoE: biased q, k, v; one shared expert behind a sigmoid gate.
 *
 * Router: p = softmax(logits); the k largest; divided by their sum where norm_topk_prob.
 * y = routed + sigmoid(w_g x) shared(x). */
#include "base/json.h"
#include "model/gguf_form.h"
#include "model/qwen_moe.h"

static const char *const architectures[] = {"Qwen2MoeForCausalLM", NULL};
static const char *const model_types[] = {"qwen2_moe", NULL};

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	enum moe_status st;

	c->vocab_size = 151936;
	c->hidden_size = 2048;
	c->n_layers = 24;
	c->n_heads = c->n_kv_heads = 16;
	c->intermediate_size = 5632;
	c->moe_intermediate_size = 1408;
	c->shared_intermediate_size = 5632;
	c->n_experts = 60;
	c->n_shared_experts = 1;
	c->shared_gate = c->qkv_bias = true;
	c->max_positions = 32768;
	c->rms_eps = 1e-6;
	c->rope.theta = 10000;
	c->router = (struct moe_router_spec){ .policy = "softmax_topk", .top_k = 4, .n_groups = 1, .top_groups = 1,
		                              .scale = 1 };
	st = moe_json_bool(json, "qkv_bias", where, &c->qkv_bias, err);
	return st ? st : moe_qwen_moe_parse(c, json, where, err);
}

static const struct moe_tensor_spec tensors[] = {
	MOE_ROWS_TOP,
	MOE_ROWS_ATTENTION,
	MOE_ROWS_DENSE,
	MOE_ROWS_EXPERTS("mlp.gate.weight", "mlp.experts.", "gate_proj.weight", "up_proj.weight", "down_proj.weight"),
	MOE_ROWS_SHARED("mlp.shared_expert."),
	{ .part = MOE_PART_SHARED_MIX, .role = MOE_ROLE_SHARED, .where = MOE_AT_MOE,
	  .hf = MOE_P "mlp.shared_expert_gate.weight", .n_dims = 2, .dims = {MOE_DIM_1, MOE_DIM_HIDDEN},
	  .present = moe_gqa_has_shared, .unscaled = true },
	{ .part = MOE_PART_SHARED_MIX, .role = MOE_ROLE_SHARED, .where = MOE_AT_MOE,
	  .gguf = MOE_B "ffn_gate_inp_shexp.weight", .n_dims = 1, .dims = {MOE_DIM_HIDDEN},
	  .present = moe_gqa_has_shared, .gguf_f32 = true },
	MOE_ROWS_END,
};

static const struct moe_key keys[] = {
	MOE_GQA_KEYS,
	{"num_experts", "expert_count", "u32"},
	{"intermediate_size", "feed_forward_length", "u32"},
	{"moe_intermediate_size", "expert_feed_forward_length", "u32"},
	{"shared_expert_intermediate_size", "expert_shared_feed_forward_length", "u32"},
	MOE_GQA_KEYS_END,
};

static const char *obstacle(const struct moe_config *c)
{
	static const struct moe_gguf_form form = { .head = true, .square = true, .normalizes = MOE_GGUF_NEVER };

	return moe_gguf_misfit(c, &form);
}

const struct moe_family moe_family_qwen2_moe = {
	.name = "qwen2_moe",
	.help = "Qwen1.5-MoE-A2.7B, Qwen2-57B-A14B",
	.traits = "a shared expert behind a gate, layers without experts between others",
	.architectures = architectures,
	.model_types = model_types,
	.gguf_arch = "qwen2moe",
	.gguf_obstacle = obstacle,
	.parse = parse,
	.tensors = tensors,
	.keys = keys,
	.gguf_extra = moe_gqa_gguf_extra,
	.hf_extra = moe_gqa_hf_extra,
};
