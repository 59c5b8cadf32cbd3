/* DeepSeekMoE 16B (V1): multi-head attention, fine-grained experts beside shared ones, softmax router.
 *
 * Router: s = softmax(logits); the k largest; divided by their sum where norm_topk_prob; no scaling factor.
 * DeepSeekMoE report, sections 3 and 4; names as published. A layer has experts iff l >= first_k_dense_replace and
 * l % moe_layer_freq == 0. */
#include "base/json.h"
#include "model/gguf_form.h"
#include "model/gqa.h"

static const char *const architectures[] = {"DeepseekForCausalLM", NULL};
static const char *const model_types[] = {"deepseek", NULL};

static const struct moe_number numbers[] = {
	MOE_NUMBER("moe_intermediate_size", moe_intermediate_size, 1, INT32_MAX),
	MOE_NUMBER("n_routed_experts", n_experts, 1, INT32_MAX),
	MOE_NUMBER("n_shared_experts", n_shared_experts, 0, 65536),
	{NULL, 0, 0, 0},
};

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	static const char *const scorings[] = {"softmax", NULL};
	const char *word;
	int32_t first = 0, freq = 1;
	bool biased = false;
	enum moe_status st;

	c->vocab_size = 102400;
	c->hidden_size = 4096;
	c->n_layers = 30;
	c->n_heads = 32;
	c->intermediate_size = 11008;
	c->moe_intermediate_size = 1407;
	c->max_positions = 2048;
	c->rms_eps = 1e-6;
	c->rope.theta = 10000;
	c->bos_id = 100000;
	c->n_eos = 1;
	c->eos_ids[0] = 100001;
	c->router = (struct moe_router_spec){ .policy = "softmax_topk", .n_groups = 1, .top_groups = 1, .scale = 1 };
	st = moe_gqa_parse(c, json, where, numbers, err);
	if (!st)
		st = moe_parse_word(json, "scoring_func", where, scorings, "softmax", &word, err);
	if (!st)
		st = moe_json_bool(json, "norm_topk_prob", where, &c->router.normalize, err);
	if (!st)
		st = moe_json_bool(json, "attention_bias", where, &biased, err);
	if (!st && biased)
		st = moe_err_set(err, MOE_EFORMAT, "%s: attention_bias: expected false, found true", where);
	if (!st)
		st = moe_json_i32(json, "first_k_dense_replace", where, 0, INT32_MAX, &first, err);
	if (!st)
		st = moe_json_i32(json, "moe_layer_freq", where, 1, INT32_MAX, &freq, err);
	if (st)
		return st;
	c->router.normalize = c->router.normalize && c->router.top_k > 1;
	return moe_gqa_place_experts(c, json, where, first, freq, 0, NULL, err);
}

static const struct moe_tensor_spec tensors[] = {
	MOE_ROWS_TOP,
	MOE_ROWS_ATTENTION,
	MOE_ROWS_DENSE,
	MOE_ROWS_EXPERTS("mlp.gate.weight", "mlp.experts.", "gate_proj.weight", "up_proj.weight", "down_proj.weight"),
	MOE_ROWS_SHARED("mlp.shared_experts."),
	MOE_ROWS_END,
};

static const struct moe_key keys[] = {
	MOE_GQA_KEYS,
	{"n_routed_experts", "expert_count", "u32"},
	{"intermediate_size", "feed_forward_length", "u32"},
	{"moe_intermediate_size", "expert_feed_forward_length", "u32"},
	{"n_shared_experts", "expert_shared_count", "u32"},
	{"first_k_dense_replace", "leading_dense_block_count", "u32"},
	MOE_GQA_KEYS_END,
};

static const char *obstacle(const struct moe_config *c)
{
	static const struct moe_gguf_form form = { .leading_dense = true, .square = true,
	                                           .normalizes = MOE_GGUF_NEVER };

	return c->n_shared_experts ? moe_gguf_misfit(c, &form) : "needs shared experts";
}

const struct moe_family moe_family_deepseek_v1 = {
	.name = "deepseek_v1",
	.help = "DeepSeekMoE 16B",
	.traits = "softmax router, shared experts",
	.architectures = architectures,
	.model_types = model_types,
	.gguf_arch = "deepseek",
	.gguf_obstacle = obstacle,
	.gguf_paired = true,
	.parse = parse,
	.tensors = tensors,
	.keys = keys,
	.gguf_extra = moe_gqa_gguf_extra,
	.hf_extra = moe_gqa_hf_extra,
};
