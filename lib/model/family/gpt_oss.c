/* gpt-oss: sinks, windows on every other layer, biases everywhere, experts with a clamped SwiGLU in MXFP4 or plain.
 *
 * Router: the k largest logits, softmax over them. Gate and up rows alternate in one tensor; without MXFP4 the expert
 * matrices are stored by their inputs. */
#include <string.h>

#include "base/json.h"
#include "model/gguf_form.h"
#include "model/gqa.h"

static const char *const architectures[] = {"GptOssForCausalLM", NULL};
static const char *const model_types[] = {"gpt_oss", NULL};

static const struct moe_number numbers[] = {
	MOE_NUMBER("num_local_experts", n_experts, 1, INT32_MAX),
	{NULL, 0, 0, 0},
};

/* Windows, by layer_types or on layers 0, 2, 4, ... */
static enum moe_status parse_windows(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	const json_t *types = json_object_get(json, "layer_types");
	const bool listed = types && !json_is_null(types);
	int64_t window = 128;
	enum moe_status st = moe_json_i64(json, "sliding_window", where, 1, INT32_MAX, &window, err);

	if (!st && listed && json_array_size(types) != (size_t)c->n_layers)
		return moe_json_refuse(err, types, where, "layer_types: expected a list of %d types", c->n_layers);
	for (int32_t l = 0; !st && l < c->n_layers; l++) {
		const char *type = moe_json_word(json_array_get(types, (size_t)l));
		const bool slides = listed ? type && !strcmp(type, "sliding_attention") : l % 2 == 0;

		if (listed && !slides && (!type || strcmp(type, "full_attention")))
			return moe_json_refuse(err, json_array_get(types, (size_t)l), where, "layer_types: layer %d: "
			                       "expected \"sliding_attention\" or \"full_attention\"", l);
		c->layers[l].window = slides ? window : 0;
	}
	return st;
}

static enum moe_status parse_experts(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	enum moe_status st = moe_json_f64(json, "swiglu_limit", where, &c->swiglu_limit, err);

	if (!st)
		st = moe_parse_range(c->swiglu_limit, 1e-6, 1e9, where, "swiglu_limit", err);
	if (!st)
		st = moe_json_f64(json, "swiglu_alpha", where, &c->swiglu_alpha, err);
	if (!st)
		st = moe_parse_range(c->swiglu_alpha, 1e-6, 1e9, where, "swiglu_alpha", err);
	/* methods other than these two do not come here */
	c->mxfp4_experts = moe_json_has(json, "quantization_config") && !c->fp8_blocks;
	if (!st && c->mxfp4_experts && c->hidden_size % MOE_MX_BLOCK)
		st = moe_err_set(err, MOE_EFORMAT, "%s: hidden_size: expected a multiple of %d for mxfp4, found %d",
		                 where, MOE_MX_BLOCK, c->hidden_size);
	if (!st && c->mxfp4_experts && c->intermediate_size % MOE_MX_BLOCK)
		st = moe_err_set(err, MOE_EFORMAT,
		                 "%s: intermediate_size: expected a multiple of %d for mxfp4, found %d", where,
		                 MOE_MX_BLOCK, c->intermediate_size);
	return st;
}

/* What a config without rope_scaling means. */
static void default_rope(struct moe_rope *rope)
{
	rope->yarn = rope->untruncated = true;
	rope->factor = 32;
	rope->beta_fast = 32;
	rope->beta_slow = 1;
	rope->mscale = 1;
	rope->original_positions = 4096;
}

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	enum moe_status st;

	c->vocab_size = 201088;
	c->hidden_size = 2880;
	c->n_layers = 36;
	c->n_heads = 64;
	c->n_kv_heads = 8;
	c->head_dim = 64;
	c->intermediate_size = 2880;
	c->n_experts = 128;
	c->max_positions = 131072;
	c->rms_eps = 1e-5;
	c->rope.theta = 150000;
	c->qkv_bias = true;
	c->swiglu_limit = 7;
	c->swiglu_alpha = 1.702;
	c->bos_id = -1;
	c->router = (struct moe_router_spec){ .policy = "topk_softmax", .top_k = 4, .n_groups = 1, .top_groups = 1,
		                              .scale = 1 };
	if (!json_object_get(json, "rope_scaling") && !json_object_get(json, "rope_parameters"))
		default_rope(&c->rope);
	st = moe_json_bool(json, "attention_bias", where, &c->qkv_bias, err);
	c->o_bias = c->qkv_bias;
	if (!st)
		st = moe_gqa_parse(c, json, where, numbers, err);
	if (!st)
		st = parse_windows(c, json, where, err);
	if (!st)
		st = parse_experts(c, json, where, err);
	c->moe_intermediate_size = c->intermediate_size;
	return st ? st : moe_gqa_place_experts(c, json, where, 0, 1, 0, NULL, err);
}

static bool in_mxfp4(const struct moe_config *c) { return c->mxfp4_experts; }
static bool not_in_mxfp4(const struct moe_config *c) { return !c->mxfp4_experts; }

/* A stack of experts; gate and up rows alternate where the part is the gate's. */
#define STACK(part_, name, n, rows, cols, ...) \
	{ .part = MOE_PART_EXPERT_##part_, .role = MOE_ROLE_EXPS, .where = MOE_AT_MOE, .stack = MOE_STACK_OUTER, \
	  .hf = MOE_P "mlp.experts." name, .n_dims = n, .dims = {MOE_DIM_##rows, MOE_DIM_##cols}, __VA_ARGS__ }
#define GATE_UP(kind) .n_pieces = 2, .pieces_alternate = true, \
	.pieces = {{MOE_PART_EXPERT_GATE##kind, MOE_DIM_EXPERT_FFN}, {MOE_PART_EXPERT_UP##kind, MOE_DIM_EXPERT_FFN}}

static const struct moe_tensor_spec tensors[] = {
	MOE_ROWS_TOP,
	MOE_ROWS_ATTENTION_BEFORE("post_attention_norm"),
	MOE_VEC(SINKS, ATTN, EVERY, MOE_P "self_attn.sinks", MOE_B "attn_sinks.weight", HEADS, NULL),
	MOE_ROWS_ROUTER(MOE_P "mlp.router.weight", .present = NULL),
	MOE_VEC(ROUTER_LOGIT_BIAS, ROUTER, MOE, MOE_P "mlp.router.bias", MOE_B "ffn_gate_inp.bias", EXPERTS, NULL),
	STACK(GATE, "gate_up_proj", 2, 2EXPERT_FFN, HIDDEN, GATE_UP(), .input_major = true, .present = not_in_mxfp4),
	STACK(DOWN, "down_proj", 2, HIDDEN, EXPERT_FFN, .input_major = true, .present = not_in_mxfp4),
	STACK(GATE, "gate_up_proj_blocks", 2, 2EXPERT_FFN, HIDDEN, GATE_UP(), .mx_blocks = true, .present = in_mxfp4),
	STACK(GATE_SCALES, "gate_up_proj_scales", 2, 2EXPERT_FFN, HIDDEN_MX, GATE_UP(_SCALES), .present = in_mxfp4),
	STACK(DOWN, "down_proj_blocks", 2, HIDDEN, EXPERT_FFN, .mx_blocks = true, .present = in_mxfp4),
	STACK(DOWN_SCALES, "down_proj_scales", 2, HIDDEN, EXPERT_FFN_MX, .present = in_mxfp4),
	STACK(GATE_BIAS, "gate_up_proj_bias", 1, 2EXPERT_FFN, 1, GATE_UP(_BIAS)),
	STACK(DOWN_BIAS, "down_proj_bias", 1, HIDDEN, 1, .present = NULL),
	MOE_ROWS_STACKS,
	MOE_STACK(GATE_BIAS, "ffn_gate_exps.bias", 1, EXPERT_FFN, 1),
	MOE_STACK(UP_BIAS, "ffn_up_exps.bias", 1, EXPERT_FFN, 1),
	MOE_STACK(DOWN_BIAS, "ffn_down_exps.bias", 1, HIDDEN, 1),
	MOE_ROWS_END,
};

static const struct moe_key keys[] = {
	MOE_GQA_KEYS,
	{"num_local_experts", "expert_count", "u32"},
	{"intermediate_size", "feed_forward_length", "u32"},
	{"sliding_window", "attention.sliding_window", "u32"},
	MOE_GQA_KEYS_END,
};

/* its ramp may begin and end between two dimensions */
static enum moe_status hf_extra(json_t *config, const json_t *keys, struct moe_err *err)
{
	enum moe_status st = moe_gqa_hf_extra(config, keys, err);
	json_t *scaling = json_object_get(config, "rope_scaling");

	if (!st && json_is_object(scaling) && !moe_hf_put(scaling, "truncate", json_false()))
		st = moe_err_nomem(err, 64, "config");
	return st;
}

static const char *obstacle(const struct moe_config *c)
{
	static const struct moe_gguf_form form = { .windows = true, .head = true };

	if (c->swiglu_limit != 7 || c->swiglu_alpha != 1.702)
		return "clamps the networks of experts at 7, with 1.702";
	return c->qkv_bias ? moe_gguf_misfit(c, &form) : "needs biases in its attention";
}

static const char *remark(const struct moe_config *c)
{
	return c->rope.yarn && c->rope.untruncated ? "begins and ends YaRN's ramp at whole dimensions" : NULL;
}

const struct moe_family moe_family_gpt_oss = {
	.name = "gpt_oss",
	.help = "gpt-oss-20b, gpt-oss-120b",
	.traits = "attention sinks, windows, clamped SwiGLU, MXFP4 experts",
	.architectures = architectures,
	.model_types = model_types,
	.quant_method = "mxfp4",
	.gguf_arch = "gpt-oss",
	.gguf_obstacle = obstacle,
	.gguf_remark = remark,
	.parse = parse,
	.tensors = tensors,
	.keys = keys,
	.gguf_extra = moe_gqa_gguf_extra,
	.hf_extra = hf_extra,
};
