/* Mixtral: grouped-query attention, experts in every layer, softmax over the chosen.
 *
 * Router: p = softmax(logits); the k largest; divided by their sum, always. Names as published: w1 gate, w3 up, w2
 * down. */
#include "base/json.h"
#include "model/gguf_form.h"
#include "model/gqa.h"

static const char *const architectures[] = {"MixtralForCausalLM", NULL};
static const char *const model_types[] = {"mixtral", NULL};

static const struct moe_number numbers[] = {
	MOE_NUMBER("num_local_experts", n_experts, 1, INT32_MAX),
	{NULL, 0, 0, 0},
};

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	int64_t window = 0;
	enum moe_status st;

	c->vocab_size = 32000;
	c->hidden_size = 4096;
	c->n_layers = 32;
	c->n_heads = 32;
	c->n_kv_heads = 8;
	c->intermediate_size = 14336;
	c->n_experts = 8;
	c->max_positions = 131072;
	c->rms_eps = 1e-5;
	c->rope.theta = 1e6;
	c->bos_id = 1;
	c->n_eos = 1;
	c->eos_ids[0] = 2;
	c->router = (struct moe_router_spec){ .policy = "softmax_topk", .top_k = 2, .n_groups = 1, .top_groups = 1,
		                              .scale = 1, .normalize = true };
	st = moe_gqa_parse(c, json, where, numbers, err);
	if (st)
		return st;
	if (moe_json_has(json, "sliding_window"))
		st = moe_json_i64(json, "sliding_window", where, 1, INT32_MAX, &window, err);
	if (st)
		return st;
	for (int32_t l = 0; l < c->n_layers; l++)
		c->layers[l].window = window;
	c->moe_intermediate_size = c->intermediate_size;
	return moe_gqa_place_experts(c, json, where, 0, 1, 0, NULL, err);
}

static const struct moe_tensor_spec tensors[] = {
	MOE_ROWS_TOP,
	MOE_ROWS_ATTENTION,
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

/* dense models have the same architecture there */
static bool is_ours(const json_t *keys) { return moe_gguf_int(keys, "llama", "expert_count", 0) > 0; }

static const char *obstacle(const struct moe_config *c)
{
	static const struct moe_gguf_form form = { .freqs = true, .normalizes = MOE_GGUF_ALWAYS };

	return moe_gguf_misfit(c, &form);
}

const struct moe_family moe_family_mixtral = {
	.name = "mixtral",
	.help = "Mixtral 8x7B, 8x22B",
	.traits = "experts in every layer, weights always normalised",
	.architectures = architectures,
	.model_types = model_types,
	.gguf_arch = "llama",
	.gguf_is_ours = is_ours,
	.gguf_obstacle = obstacle,
	.gguf_paired = true,
	.parse = parse,
	.tensors = tensors,
	.keys = keys,
	.gguf_extra = moe_gqa_gguf_extra,
	.hf_extra = moe_gqa_hf_extra,
};
