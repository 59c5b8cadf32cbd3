/* Granite 3.0 MoE: experts in every layer, softmax over the chosen, and four factors: on embeddings, on what each
 * branch adds to the residual stream, on attention scores, and (as a divisor) on logits.
 *
 * Router: the k largest logits, softmax over them. The experts of a layer share two tensors, gate rows before up. */
#include "base/json.h"
#include "model/gguf_form.h"
#include "model/gqa.h"

static const char *const architectures[] = {"GraniteMoeForCausalLM", NULL};
static const char *const model_types[] = {"granitemoe", NULL};

static const struct moe_number numbers[] = {
	MOE_NUMBER("num_local_experts", n_experts, 1, INT32_MAX),
	{NULL, 0, 0, 0},
};

static enum moe_status parse_factors(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	const struct {
		const char *key;
		double *value;
	} factors[] = {
		{"embedding_multiplier", &c->embedding_scale},
		{"residual_multiplier", &c->residual_scale},
		{"attention_multiplier", &c->attention_scale},
		{"logits_scaling", &c->logits_divisor},
	};
	enum moe_status st = MOE_OK;

	for (size_t i = 0; !st && i < sizeof factors / sizeof factors[0]; i++) {
		*factors[i].value = 1;
		st = moe_json_f64(json, factors[i].key, where, factors[i].value, err);
		if (!st)
			st = moe_parse_range(*factors[i].value, 1e-9, 1e9, where, factors[i].key, err);
	}
	return st;
}

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	bool biased = false;
	enum moe_status st;

	c->vocab_size = 32000;
	c->hidden_size = 4096;
	c->n_layers = 32;
	c->n_heads = 32;
	c->intermediate_size = 11008;
	c->n_experts = 8;
	c->max_positions = 2048;
	c->rms_eps = 1e-6;
	c->rope.theta = 10000;
	c->bos_id = 1;
	c->n_eos = 1;
	c->eos_ids[0] = 2;
	c->router = (struct moe_router_spec){ .policy = "topk_softmax", .top_k = 2, .n_groups = 1, .top_groups = 1,
		                              .scale = 1 };
	st = moe_json_bool(json, "attention_bias", where, &biased, err);
	if (!st && biased)
		st = moe_err_set(err, MOE_EFORMAT, "%s: attention_bias: expected false, found true", where);
	if (!st)
		st = moe_gqa_parse(c, json, where, numbers, err);
	if (!st)
		st = parse_factors(c, json, where, err);
	c->moe_intermediate_size = c->intermediate_size;
	return st ? st : moe_gqa_place_experts(c, json, where, 0, 1, 0, NULL, err);
}

static const struct moe_tensor_spec tensors[] = {
	MOE_ROWS_TOP,
	MOE_ROWS_ATTENTION,
	MOE_ROWS_ROUTER(MOE_P "block_sparse_moe.router.layer.weight", .present = NULL),
	{ .part = MOE_PART_EXPERT_GATE, .role = MOE_ROLE_EXPS, .where = MOE_AT_MOE,
	  .hf = MOE_P "block_sparse_moe.input_linear.weight", .stack = MOE_STACK_OUTER,
	  .n_dims = 2, .dims = {MOE_DIM_2EXPERT_FFN, MOE_DIM_HIDDEN},
	  .n_pieces = 2,
	  .pieces = {{MOE_PART_EXPERT_GATE, MOE_DIM_EXPERT_FFN}, {MOE_PART_EXPERT_UP, MOE_DIM_EXPERT_FFN}} },
	{ .part = MOE_PART_EXPERT_DOWN, .role = MOE_ROLE_EXPS, .where = MOE_AT_MOE,
	  .hf = MOE_P "block_sparse_moe.output_linear.weight", .stack = MOE_STACK_OUTER,
	  .n_dims = 2, .dims = {MOE_DIM_HIDDEN, MOE_DIM_EXPERT_FFN} },
	MOE_ROWS_STACKS,
	MOE_ROWS_END,
};

static const struct moe_key keys[] = {
	MOE_GQA_KEYS,
	{"num_local_experts", "expert_count", "u32"},
	{"intermediate_size", "feed_forward_length", "u32"},
	{"embedding_multiplier", "embedding_scale", "f32"},
	{"residual_multiplier", "residual_scale", "f32"},
	{"attention_multiplier", "attention.scale", "f32"},
	{"logits_scaling", "logit_scale", "f32"},
	MOE_GQA_KEYS_END,
};

static const char *obstacle(const struct moe_config *c)
{
	static const struct moe_gguf_form form = { .freqs = true };

	return moe_gguf_misfit(c, &form);
}

const struct moe_family moe_family_granitemoe = {
	.name = "granitemoe",
	.help = "Granite 3.0 1B-A400M, 3B-A800M",
	.traits = "multipliers, stacked experts",
	.architectures = architectures,
	.model_types = model_types,
	.gguf_arch = "granitemoe",
	.gguf_obstacle = obstacle,
	.gguf_paired = true,
	.parse = parse,
	.tensors = tensors,
	.keys = keys,
	.gguf_extra = moe_gqa_gguf_extra,
	.hf_extra = moe_gqa_hf_extra,
};
