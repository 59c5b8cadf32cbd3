/* Hunyuan-A13B: queries and keys normalised per head behind the rotation, a stretched base, one shared network.
 *
 * Router: p = softmax(logits); the k largest; divided by their sum. y = routed + shared(x). Some numbers may be lists
 * in the config, one entry for each layer. */
#include "base/json.h"
#include "model/gguf_form.h"
#include "model/gqa.h"

static const char *const architectures[] = {"HunYuanMoEV1ForCausalLM", NULL};
static const char *const model_types[] = {"hunyuan_v1_moe", NULL};

static const struct moe_number numbers[] = {
	MOE_NUMBER("attention_head_dim", head_dim, 1, 1 << 20),
	{NULL, 0, 0, 0},
};

/* Keys whose other values mean another model. */
static enum moe_status check_variants(const json_t *json, const char *where, struct moe_err *err)
{
	static const char *const keys[] = {"attention_bias", "mlp_bias", "use_cla", "moe_layer_num_skipped"};

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		const json_t *value = json_object_get(json, keys[i]);

		if (value && !json_is_null(value) && !json_is_false(value) &&
		    !(json_is_integer(value) && json_integer_value(value) == 0))
			return moe_json_refuse(err, value, where, "%s: expected false or 0", keys[i]);
	}
	return MOE_OK;
}

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	bool normed = true, shared = true;
	enum moe_status st;

	c->vocab_size = 290943;
	c->hidden_size = 4096;
	c->n_layers = 32;
	c->n_heads = 32;
	c->intermediate_size = 11008;
	c->n_experts = 1;
	c->n_shared_experts = 1;
	c->max_positions = 2048;
	c->rms_eps = 1e-5;
	c->rope.theta = 10000;
	c->rope.may_stretch = true;
	c->bos_id = 1;
	c->n_eos = 1;
	c->eos_ids[0] = 2;
	c->qk_norm_late = true;
	c->router = (struct moe_router_spec){ .policy = "softmax_topk", .top_k = 1, .n_groups = 1, .top_groups = 1,
		                              .scale = 1, .normalize = true };
	st = check_variants(json, where, err);
	if (!st)
		st = moe_json_bool(json, "use_qk_norm", where, &normed, err);
	c->qk_norm = normed ? MOE_QK_NORM_HEAD : MOE_QK_NORM_NONE;
	if (!st)
		st = moe_json_bool(json, "use_mixed_mlp_moe", where, &shared, err);
	if (!st)
		st = moe_gqa_parse(c, json, where, numbers, err);
	c->moe_intermediate_size = c->intermediate_size;
	if (!st)
		st = moe_parse_uniform(json, "num_experts", where, c->n_layers, 1, INT32_MAX, &c->n_experts, err);
	if (!st)
		st = moe_parse_uniform(json, "moe_topk", where, c->n_layers, 1, INT32_MAX, &c->router.top_k, err);
	if (!st)
		st = moe_parse_top_k(c, "moe_topk", where, err);
	if (!st)
		st = moe_parse_uniform(json, "moe_intermediate_size", where, c->n_layers, 1, INT32_MAX,
		                       &c->moe_intermediate_size, err);
	if (!st)
		st = moe_parse_uniform(json, "num_shared_expert", where, c->n_layers, 1, 64, &c->n_shared_experts, err);
	if (!st && (int64_t)c->n_shared_experts * c->intermediate_size > INT32_MAX)
		st = moe_err_set(err, MOE_EFORMAT, "%s: num_shared_expert: %d of width %d are too wide", where,
		                 c->n_shared_experts, c->intermediate_size);
	if (st)
		return st;
	if (!shared)
		c->n_shared_experts = 0;
	c->shared_intermediate_size = c->n_shared_experts * c->intermediate_size;
	return moe_gqa_place_experts(c, json, where, 0, 1, 0, NULL, err);
}

static const struct moe_tensor_spec tensors[] = {
	MOE_ROWS_TOP,
	MOE_ROWS_PROJECTIONS("ffn_norm"),
	MOE_ROWS_NORMS("self_attn.query_layernorm.weight", "self_attn.key_layernorm.weight"),
	MOE_ROWS_ROUTER(MOE_P "mlp.gate.wg.weight", .f32 = true),
	MOE_ROWS_NETWORKS("mlp.experts.", "gate_proj.weight", "up_proj.weight", "down_proj.weight"),
	MOE_ROWS_SHARED("mlp.shared_mlp."),
	MOE_ROWS_END,
};

static const struct moe_key keys[] = {
	MOE_GQA_KEYS,
	{"num_experts", "expert_count", "u32"},
	{"moe_topk", "expert_used_count", "u32"},
	{"moe_intermediate_size", "expert_feed_forward_length", "u32"},
	{"intermediate_size", "expert_shared_feed_forward_length", "u32"},
	{"num_shared_expert", "expert_shared_count", "u32"},
	MOE_GQA_KEYS_END,
};

static const char *obstacle(const struct moe_config *c)
{
	static const struct moe_gguf_form form = { .normalizes = MOE_GGUF_ALWAYS };

	if (!c->n_shared_experts || c->qk_norm != MOE_QK_NORM_HEAD)
		return "needs shared experts, and norms of queries and keys";
	return moe_gguf_misfit(c, &form);
}

const struct moe_family moe_family_hunyuan_v1_moe = {
	.name = "hunyuan_v1_moe",
	.help = "Hunyuan-A13B",
	.traits = "queries and keys normalised after rotation",
	.architectures = architectures,
	.model_types = model_types,
	.gguf_arch = "hunyuan-moe",
	.gguf_obstacle = obstacle,
	.parse = parse,
	.tensors = tensors,
	.keys = keys,
	.gguf_extra = moe_gqa_gguf_extra,
	.hf_extra = moe_gqa_hf_extra,
};
