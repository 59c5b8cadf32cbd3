/* MiniMax M2: queries and keys normalised over the whole projection, part of each head rotated, experts in every layer.
 *
 * Router: s = sigmoid(logits); the k largest of s + bias; s divided by their sum. The bias lies beside the gate. */
#include "base/json.h"
#include "model/gguf_form.h"
#include "model/gqa.h"

static const char *const architectures[] = {"MiniMaxM2ForCausalLM", NULL};
static const char *const model_types[] = {"minimax_m2", NULL};

static const struct moe_number numbers[] = {
	MOE_NUMBER("num_local_experts", n_experts, 1, INT32_MAX),
	MOE_NUMBER("rotary_dim", rope.n_dims, 2, 1 << 20),
	{NULL, 0, 0, 0},
};

/* What only one value of is known. */
static enum moe_status check_variants(const json_t *json, const char *where, struct moe_err *err)
{
	static const char *const scorings[] = {"sigmoid", NULL}, *const norms[] = {"per_layer", NULL};
	const char *word;
	int32_t shared = 0;
	enum moe_status st = moe_parse_word(json, "scoring_func", where, scorings, "sigmoid", &word, err);

	if (!st)
		st = moe_parse_word(json, "qk_norm_type", where, norms, "per_layer", &word, err);
	return st ? st : moe_json_i32(json, "shared_intermediate_size", where, 0, 0, &shared, err);
}

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	bool normed = true;
	enum moe_status st;

	c->vocab_size = 200064;
	c->hidden_size = 3072;
	c->n_layers = 62;
	c->n_heads = 48;
	c->n_kv_heads = 8;
	c->head_dim = 128;
	c->intermediate_size = 1536;
	c->n_experts = 256;
	c->max_positions = 196608;
	c->rms_eps = 1e-6;
	c->rope.theta = 5e6;
	c->rope.share = 1;
	c->bos_id = 200034;
	c->n_eos = 1;
	c->eos_ids[0] = 200020;
	c->router = (struct moe_router_spec){ .policy = "noaux_tc", .top_k = 8, .n_groups = 1, .top_groups = 1,
		                              .scale = 1, .normalize = true, .bias = true };
	st = check_variants(json, where, err);
	if (!st)
		st = moe_json_bool(json, "use_qk_norm", where, &normed, err);
	c->qk_norm = normed ? MOE_QK_NORM_WHOLE : MOE_QK_NORM_NONE;
	if (!st)
		st = moe_json_bool(json, "use_routing_bias", where, &c->router.bias, err);
	if (!st)
		st = moe_gqa_parse(c, json, where, numbers, err);
	if (st)
		return st;
	if (c->rope.n_dims > c->head_dim || c->rope.n_dims % 2 || c->rope.n_dims < 2)
		return moe_err_set(err, MOE_EFORMAT, "%s: rotary_dim: expected an even number up to head_dim %d, "
		                   "found %d", where, c->head_dim, c->rope.n_dims);
	c->moe_intermediate_size = c->intermediate_size;
	return moe_gqa_place_experts(c, json, where, 0, 1, 0, NULL, err);
}

static const struct moe_tensor_spec tensors[] = {
	MOE_ROWS_TOP,
	MOE_ROWS_ATTENTION,
	MOE_ROWS_EXPERTS("block_sparse_moe.gate.weight", "block_sparse_moe.experts.", "w1.weight", "w3.weight",
	                 "w2.weight"),
	MOE_ROWS_ROUTER_BIAS("block_sparse_moe.e_score_correction_bias"),
	MOE_ROWS_END,
};

/* Modules for multi-token prediction, where a release has them. */
static const char *const skipped[] = {"model.layers.{l}.", NULL};

static const struct moe_key keys[] = {
	MOE_GQA_KEYS,
	{"num_local_experts", "expert_count", "u32"},
	{"intermediate_size", "feed_forward_length", "u32"},
	{"rotary_dim", "rope.dimension_count", "u32"},
	MOE_GQA_KEYS_END,
};

static const char *obstacle(const struct moe_config *c)
{
	static const struct moe_gguf_form form = { .head = true };

	if (!c->router.bias || c->qk_norm != MOE_QK_NORM_WHOLE)
		return "needs norms of queries and keys, and a correction bias";
	return moe_gguf_misfit(c, &form);
}

const struct moe_family moe_family_minimax_m2 = {
	.name = "minimax_m2",
	.help = "MiniMax M2",
	.traits = "sigmoid router, norms over whole projections; multi-token-prediction layers are left alone",
	.architectures = architectures,
	.model_types = model_types,
	.gguf_arch = "minimax-m2",
	.gguf_obstacle = obstacle,
	.parse = parse,
	.tensors = tensors,
	.keys = keys,
	.gguf_extra = moe_gqa_gguf_extra,
	.hf_extra = moe_gqa_hf_extra,
	.skipped = skipped,
};
