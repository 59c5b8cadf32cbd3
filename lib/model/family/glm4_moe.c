/* GLM-4.5: half of each head rotated, biased q, k, v, optional norms per head, DeepSeek-V3's router and MTP layer. */
#include "base/json.h"
#include "model/gguf_form.h"
#include "model/gqa.h"

static const char *const architectures[] = {"Glm4MoeForCausalLM", NULL};
static const char *const model_types[] = {"glm4_moe", NULL};

static const struct moe_number numbers[] = {
	MOE_NUMBER("moe_intermediate_size", moe_intermediate_size, 1, INT32_MAX),
	MOE_NUMBER("n_routed_experts", n_experts, 1, INT32_MAX),
	MOE_NUMBER("n_shared_experts", n_shared_experts, 0, 65536),
	MOE_NUMBER("n_group", router.n_groups, 1, INT32_MAX),
	MOE_NUMBER("topk_group", router.top_groups, 1, INT32_MAX),
	MOE_NUMBER("num_nextn_predict_layers", n_mtp_layers, 0, 1000),
	{NULL, 0, 0, 0},
};

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	bool normed = false;
	int32_t first = 1;
	enum moe_status st;

	c->vocab_size = 151552;
	c->hidden_size = 4096;
	c->n_layers = 46;
	c->n_heads = 96;
	c->n_kv_heads = 8;
	c->head_dim = 128;
	c->intermediate_size = 10944;
	c->moe_intermediate_size = 1408;
	c->n_experts = 128;
	c->n_shared_experts = 1;
	c->max_positions = 131072;
	c->rms_eps = 1e-5;
	c->rope.theta = 10000;
	c->rope.share = 0.5;
	c->bos_id = -1;
	c->router = (struct moe_router_spec){ .policy = "noaux_tc",
		                              .top_k = 8,
		                              .n_groups = 1,
		                              .top_groups = 1,
		                              .scale = 1,
		                              .normalize = true,
		                              .bias = true };
	st = moe_json_bool(json, "attention_bias", where, &c->qkv_bias, err);
	if (!st)
		st = moe_json_bool(json, "use_qk_norm", where, &normed, err);
	c->qk_norm = normed ? MOE_QK_NORM_HEAD : MOE_QK_NORM_NONE;
	if (!st)
		st = moe_gqa_parse(c, json, where, numbers, err);
	if (!st)
		st = moe_json_bool(json, "norm_topk_prob", where, &c->router.normalize, err);
	if (!st)
		st = moe_json_f64(json, "routed_scaling_factor", where, &c->router.scale, err);
	if (!st)
		st = moe_parse_range(c->router.scale, 1e-9, 1e9, where, "routed_scaling_factor", err);
	if (!st)
		st = moe_json_i32(json, "first_k_dense_replace", where, 0, INT32_MAX, &first, err);
	if (!st)
		st = moe_gqa_place_experts(c, json, where, first, 1, 0, NULL, err);
	return st ? st : moe_parse_groups(c, where, 2, err);
}

static bool has_mtp(const struct moe_config *c) { return c->n_mtp_layers > 0; }

static const struct moe_tensor_spec tensors[] = {
	MOE_ROWS_TOP,
	MOE_ROWS_ATTENTION_BEFORE("post_attention_norm"),
	MOE_ROWS_DENSE,
	MOE_ROWS_EXPERTS("mlp.gate.weight", "mlp.experts.", "gate_proj.weight", "up_proj.weight", "down_proj.weight"),
	MOE_ROWS_ROUTER_BIAS("mlp.gate.e_score_correction_bias"),
	MOE_ROWS_SHARED("mlp.shared_experts."),
	MOE_MAT(MTP_EMBED, EMBED, MTP, MOE_P "embed_tokens.weight", MOE_B "nextn.embed_tokens.weight", VOCAB,
	        HIDDEN, has_mtp),
	MOE_VEC(MTP_ENORM, NORM, MTP, MOE_P "enorm.weight", MOE_B "nextn.enorm.weight", HIDDEN, has_mtp),
	MOE_VEC(MTP_HNORM, NORM, MTP, MOE_P "hnorm.weight", MOE_B "nextn.hnorm.weight", HIDDEN, has_mtp),
	MOE_MAT(MTP_EH_PROJ, MTP, MTP, MOE_P "eh_proj.weight", MOE_B "nextn.eh_proj.weight", HIDDEN, 2HIDDEN, has_mtp),
	MOE_VEC(MTP_NORM, NORM, MTP, MOE_P "shared_head.norm.weight", MOE_B "nextn.shared_head_norm.weight", HIDDEN,
	        has_mtp),
	MOE_MAT(MTP_HEAD, HEAD, MTP, MOE_P "shared_head.head.weight", MOE_B "nextn.shared_head_head.weight", VOCAB,
	        HIDDEN, has_mtp),
	MOE_ROWS_END,
};

static const struct moe_key keys[] = {
	MOE_GQA_KEYS,
	{"n_routed_experts", "expert_count", "u32"},
	{"intermediate_size", "feed_forward_length", "u32"},
	{"moe_intermediate_size", "expert_feed_forward_length", "u32"},
	{"n_shared_experts", "expert_shared_count", "u32"},
	{"first_k_dense_replace", "leading_dense_block_count", "u32"},
	{"routed_scaling_factor", "expert_weights_scale", "f32"},
	{"norm_topk_prob", "expert_weights_norm", "bool"},
	{"n_group", "expert_group_count", "u32"},
	{"topk_group", "expert_group_used_count", "u32"},
	MOE_GQA_KEYS_END,
};

/* The share of a head that is rotated. */
static enum moe_status hf_extra(json_t *config, const json_t *keys, struct moe_err *err)
{
	enum moe_status st = moe_gqa_hf_extra(config, keys, err);
	const double head = json_number_value(json_object_get(config, "head_dim"));
	const double rotated = (double)moe_gguf_int(keys, "glm4moe", "rope.dimension_count", 0);

	if (!st && rotated > 0 && head > 0 && !moe_hf_put(config, "partial_rotary_factor", json_real(rotated / head)))
		st = moe_err_nomem(err, 64, "config");
	return st;
}

static const char *obstacle(const struct moe_config *c)
{
	static const struct moe_gguf_form form = { .leading_dense = true };

	return moe_gguf_misfit(c, &form);
}

const struct moe_family moe_family_glm4_moe = {
	.name = "glm4_moe",
	.help = "GLM-4.5, GLM-4.5-Air, GLM-4.6",
	.traits = "half of each head rotated, multi-token-prediction layers",
	.architectures = architectures,
	.model_types = model_types,
	.gguf_arch = "glm4moe",
	.gguf_obstacle = obstacle,
	.parse = parse,
	.tensors = tensors,
	.keys = keys,
	.gguf_extra = moe_gqa_gguf_extra,
	.hf_extra = hf_extra,
};
