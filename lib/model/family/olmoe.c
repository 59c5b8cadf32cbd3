/* OLMoE: queries and keys normalised over the whole projection, optional clamp, experts in every layer.
 *
 * Router: p = softmax(logits); the k largest; divided by their sum where norm_topk_prob (the release does not). */
#include "base/json.h"
#include "model/gguf_form.h"
#include "model/gqa.h"

static const char *const architectures[] = {"OlmoeForCausalLM", NULL};
static const char *const model_types[] = {"olmoe", NULL};

static const struct moe_number numbers[] = {
	MOE_NUMBER("num_experts", n_experts, 1, INT32_MAX),
	{NULL, 0, 0, 0},
};

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	enum moe_status st;

	c->vocab_size = 50304;
	c->hidden_size = 2048;
	c->n_layers = 16;
	c->n_heads = 16;
	c->intermediate_size = 2048;
	c->n_experts = 64;
	c->max_positions = 4096;
	c->rms_eps = 1e-5;
	c->rope.theta = 10000;
	c->bos_id = -1;
	c->n_eos = 1;
	c->eos_ids[0] = 50279;
	c->qk_norm = MOE_QK_NORM_WHOLE;
	c->router = (struct moe_router_spec){ .policy = "softmax_topk", .top_k = 8, .n_groups = 1, .top_groups = 1,
		                              .scale = 1 };
	st = moe_json_bool(json, "attention_bias", where, &c->qkv_bias, err);
	if (!st && c->qkv_bias)
		st = moe_err_set(err, MOE_EFORMAT, "%s: attention_bias: expected false, found true", where);
	if (!st)
		st = moe_gqa_parse(c, json, where, numbers, err);
	if (!st)
		st = moe_json_bool(json, "norm_topk_prob", where, &c->router.normalize, err);
	if (!st)
		st = moe_json_f64(json, "clip_qkv", where, &c->clip_qkv, err);
	if (!st && c->clip_qkv != 0)
		st = moe_parse_range(c->clip_qkv, 1e-9, 1e9, where, "clip_qkv", err);
	if (st)
		return st;
	c->moe_intermediate_size = c->intermediate_size;
	return moe_gqa_place_experts(c, json, where, 0, 1, 0, NULL, err);
}

static const struct moe_tensor_spec tensors[] = {
	MOE_ROWS_TOP,
	MOE_ROWS_ATTENTION,
	MOE_ROWS_EXPERTS("mlp.gate.weight", "mlp.experts.", "gate_proj.weight", "up_proj.weight", "down_proj.weight"),
	MOE_ROWS_END,
};

static const struct moe_key keys[] = {
	MOE_GQA_KEYS,
	{"num_experts", "expert_count", "u32"},
	{"intermediate_size", "feed_forward_length", "u32"},
	MOE_GQA_KEYS_END,
};

static const char *obstacle(const struct moe_config *c)
{
	static const struct moe_gguf_form form = { .head = true, .square = true, .normalizes = MOE_GGUF_NEVER };

	return c->n_kv_heads != c->n_heads ? "expects as many key-value heads as heads" : moe_gguf_misfit(c, &form);
}

const struct moe_family moe_family_olmoe = {
	.name = "olmoe",
	.help = "OLMoE-1B-7B",
	.traits = "norms over whole projections, optional clamp",
	.architectures = architectures,
	.model_types = model_types,
	.gguf_arch = "olmoe",
	.gguf_obstacle = obstacle,
	.parse = parse,
	.tensors = tensors,
	.keys = keys,
	.gguf_extra = moe_gqa_gguf_extra,
	.hf_extra = moe_gqa_hf_extra,
};
