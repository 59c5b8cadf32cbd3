/* Ernie 4.5: a range of layers with experts beside dense ones, rotation of neighbouring pairs, tied embeddings.
 *
 * Router: p = softmax(logits); the k largest of p + bias; p divided by their sum. Shared experts are one network. */
#include "base/json.h"
#include "model/gguf_form.h"
#include "model/gqa.h"

static const char *const architectures[] = {"Ernie4_5_MoeForCausalLM", NULL};
static const char *const model_types[] = {"ernie4_5_moe", NULL};

static const struct moe_number numbers[] = {
	MOE_NUMBER("moe_k", router.top_k, 1, INT32_MAX),
	MOE_NUMBER("moe_num_experts", n_experts, 0, INT32_MAX),
	MOE_NUMBER("moe_num_shared_experts", n_shared_experts, 0, 65536),
	MOE_NUMBER("moe_intermediate_size", moe_intermediate_size, 1, INT32_MAX),
	{NULL, 0, 0, 0},
};

/* Layer l has experts iff start <= l <= end and (l + 1) % interval == 0; end -1 is the last layer. */
static enum moe_status place(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	int32_t start = 1, end = -1, interval = 1;
	enum moe_status st = moe_json_i32(json, "moe_layer_start_index", where, 0, INT32_MAX, &start, err);

	if (!st)
		st = moe_json_i32(json, "moe_layer_end_index", where, -1, INT32_MAX, &end, err);
	if (!st)
		st = moe_json_i32(json, "moe_layer_interval", where, 1, INT32_MAX, &interval, err);
	if (!st)
		st = moe_gqa_place_experts(c, json, where, start, interval, 1, NULL, err);
	for (int32_t l = 0; !st && end >= 0 && l < c->n_layers; l++)
		if (l > end)
			c->layers[l].ffn = MOE_FFN_DENSE;
	return st;
}

/* What the published models do not vary, and this does not run otherwise. */
static enum moe_status check_fixed(const json_t *json, const char *where, struct moe_err *err)
{
	static const char *const gates[] = {"topk", NULL};
	bool biased = false, balanced = true;
	double least = 1e-12;
	const char *gate;
	enum moe_status st = moe_json_bool(json, "use_bias", where, &biased, err);

	if (!st && biased)
		st = moe_err_set(err, MOE_EFORMAT, "%s: use_bias: expected false, found true", where);
	if (!st)
		st = moe_json_bool(json, "moe_use_aux_free", where, &balanced, err);
	if (!st && !balanced)
		st = moe_err_set(err, MOE_EFORMAT,
		                 "%s: moe_use_aux_free: expected true (routers with a correction bias), "
		                 "found false",
		                 where);
	if (!st)
		st = moe_parse_word(json, "moe_gate", where, gates, "topk", &gate, err);
	if (!st)
		st = moe_json_f64(json, "moe_norm_min", where, &least, err);
	if (!st && least != 1e-12)
		st = moe_err_set(err, MOE_EFORMAT, "%s: moe_norm_min: expected 1e-12, found %g", where, least);
	return st;
}

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	enum moe_status st;

	c->vocab_size = 103424;
	c->hidden_size = 2560;
	c->n_layers = 28;
	c->n_heads = 20;
	c->n_kv_heads = 4;
	c->intermediate_size = 12288;
	c->moe_intermediate_size = 1536;
	c->n_experts = 64;
	c->n_shared_experts = 2;
	c->max_positions = 131072;
	c->rms_eps = 1e-5;
	c->tie_embeddings = true;
	c->rope.theta = 500000;
	c->rope.interleaved = true;
	c->bos_id = 1;
	c->n_eos = 1;
	c->eos_ids[0] = 2;
	c->router = (struct moe_router_spec){ .policy = "ernie", .top_k = 6, .n_groups = 1, .top_groups = 1, .scale = 1,
		                              .normalize = true, .bias = true };
	st = check_fixed(json, where, err);
	if (!st)
		st = moe_gqa_parse(c, json, where, numbers, err);
	if (!st && c->n_experts > 0)
		st = moe_parse_top_k(c, "moe_k", where, err);
	return st ? st : place(c, json, where, err);
}

static const struct moe_tensor_spec tensors[] = {
	MOE_ROWS_TOP,
	MOE_ROWS_ATTENTION,
	MOE_ROWS_DENSE,
	MOE_ROWS_ROUTER(MOE_P "mlp.gate.weight", .f32 = true),
	{ .part = MOE_PART_ROUTER_BIAS, .role = MOE_ROLE_ROUTER, .where = MOE_AT_MOE,
	  .hf = MOE_P "mlp.moe_statics.e_score_correction_bias", .n_dims = 2, .dims = {MOE_DIM_1, MOE_DIM_EXPERTS},
	  .f32 = true },
	{ .part = MOE_PART_ROUTER_BIAS, .role = MOE_ROLE_ROUTER, .where = MOE_AT_MOE, .gguf = MOE_B "exp_probs_b.bias",
	  .n_dims = 1, .dims = {MOE_DIM_EXPERTS}, .gguf_f32 = true },
	MOE_ROWS_NETWORKS("mlp.experts.", "gate_proj.weight", "up_proj.weight", "down_proj.weight"),
	MOE_ROWS_SHARED("mlp.shared_experts."),
	MOE_ROWS_END,
};

/* Multi-token prediction: not run, and not among the layers. */
static const char *const skipped[] = {"model.mtp_", NULL};

static const struct moe_key keys[] = {
	MOE_GQA_KEYS,
	{"moe_num_experts", "expert_count", "u32"},
	{"moe_k", "expert_used_count", "u32"},
	{"moe_num_shared_experts", "expert_shared_count", "u32"},
	{"intermediate_size", "feed_forward_length", "u32"},
	{"moe_intermediate_size", "expert_feed_forward_length", "u32"},
	{"moe_layer_start_index", "leading_dense_block_count", "u32"},
	MOE_GQA_KEYS_END,
};

static const char *obstacle(const struct moe_config *c)
{
	static const struct moe_gguf_form form = { .leading_dense = true };

	return moe_gguf_misfit(c, &form);
}

const struct moe_family moe_family_ernie4_5_moe = {
	.name = "ernie4_5_moe",
	.help = "Ernie 4.5 21B-A3B, 300B-A47B",
	.traits = "softmax router with a correction bias; multi-token-prediction layers are left alone",
	.architectures = architectures,
	.model_types = model_types,
	.gguf_arch = "ernie4_5-moe",
	.gguf_obstacle = obstacle,
	.parse = parse,
	.tensors = tensors,
	.keys = keys,
	.gguf_extra = moe_gqa_gguf_extra,
	.hf_extra = moe_gqa_hf_extra,
	.skipped = skipped,
};
