/* K-EXAONE: windows with rotation in most layers, all positions and no rotation in the others, DeepSeek-V3's router. */
#include <string.h>

#include "base/json.h"
#include "model/gguf_form.h"
#include "model/gqa.h"

static const char *const architectures[] = {"ExaoneMoEForCausalLM", "ExaoneMoeForCausalLM", NULL};
static const char *const model_types[] = {"exaone_moe", NULL};

static const struct moe_number numbers[] = {
	MOE_NUMBER("moe_intermediate_size", moe_intermediate_size, 1, INT32_MAX),
	MOE_NUMBER("num_experts", n_experts, 1, INT32_MAX),
	MOE_NUMBER("num_shared_experts", n_shared_experts, 0, 65536),
	MOE_NUMBER("n_group", router.n_groups, 1, INT32_MAX),
	MOE_NUMBER("topk_group", router.top_groups, 1, INT32_MAX),
	{NULL, 0, 0, 0},
};

/* sliding_window_pattern: every how many layers one sees all positions, or letters, L for a window and G for all. */
struct pattern {
	int32_t every;           /* 0: letters */
	const char *letters;
	size_t n_letters;
};

static enum moe_status parse_pattern(struct pattern *pattern, const json_t *json, const char *where,
                                     struct moe_err *err)
{
	static const char key[] = "sliding_window_pattern";
	const json_t *value = json_object_get(json, key);

	*pattern = (struct pattern){ .letters = "LLLG", .n_letters = 4 };
	if (json_is_integer(value))
		return moe_json_i32(json, key, where, 1, 1 << 20, &pattern->every, err);
	if (!value || json_is_null(value))
		return MOE_OK;
	pattern->letters = json_string_value(value);
	pattern->n_letters = json_string_length(value);
	if (pattern->n_letters == 0 || strspn(pattern->letters, "LG") != pattern->n_letters)
		return moe_json_refuse(err, value, where, "%s: expected a number or letters L and G", key);
	return MOE_OK;
}

static bool is_full(const struct pattern *pattern, int32_t l)
{
	return pattern->every ? (l + 1) % pattern->every == 0 : pattern->letters[(size_t)l % pattern->n_letters] == 'G';
}

/* Windows and rotation of every layer; without sliding_window all see everything and rotate. */
static enum moe_status place_windows(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	static const char *const words[] = {"sliding_attention", "full_attention"};
	struct pattern pattern;
	int32_t window = 0;
	enum moe_status st = moe_json_i32(json, "sliding_window", where, 1, INT32_MAX, &window, err);

	if (!st)
		st = parse_pattern(&pattern, json, where, err);
	for (int32_t l = 0; l < c->n_layers && !st; l++) {
		bool full = is_full(&pattern, l);

		st = moe_parse_layer_word(json, "layer_types", where, c->n_layers, l, words, &full, err);
		if (st)
			return st;
		if (!full && window == 0 && moe_json_has(json, "layer_types"))
			return moe_err_set(err, MOE_EFORMAT, "%s: sliding_window: missing, and layer_types has layers "
			                   "with one", where);
		c->layers[l].window = full ? 0 : window;
		c->layers[l].no_rope = full && window > 0;
	}
	return st;
}

/* Experts from first_k_dense_replace on, or as mlp_layer_types says. */
static enum moe_status place(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	static const char *const words[] = {"dense", "sparse"};
	int32_t first = 1;
	enum moe_status st = moe_json_i32(json, "first_k_dense_replace", where, 0, INT32_MAX, &first, err);

	if (!st)
		st = moe_gqa_place_experts(c, json, where, first, 1, 0, NULL, err);
	for (int32_t l = 0; !st && l < c->n_layers; l++) {
		bool sparse = c->layers[l].ffn == MOE_FFN_MOE;

		st = moe_parse_layer_word(json, "mlp_layer_types", where, c->n_layers, l, words, &sparse, err);
		c->layers[l].ffn = sparse ? MOE_FFN_MOE : MOE_FFN_DENSE;
	}
	return st;
}

/* is_moe_layer, where it is given, must say the same. */
static enum moe_status check_places(const struct moe_config *c, const json_t *json, const char *where,
                                    struct moe_err *err)
{
	const json_t *list = json_object_get(json, "is_moe_layer");

	if (!list || json_is_null(list))
		return MOE_OK;
	if (!json_is_array(list) || json_array_size(list) != (size_t)c->n_layers)
		return moe_json_refuse(err, list, where, "is_moe_layer: expected a list of %d, one for each layer",
		                       c->n_layers);
	for (int32_t l = 0; l < c->n_layers; l++) {
		const json_t *item = json_array_get(list, (size_t)l);

		if (!json_is_boolean(item) || json_is_true(item) != (c->layers[l].ffn == MOE_FFN_MOE))
			return moe_json_refuse(err, item, where, "is_moe_layer: layer %d: expected %s as "
			                       "the other keys say", l,
			                       c->layers[l].ffn == MOE_FFN_MOE ? "true" : "false");
	}
	return MOE_OK;
}

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	static const char *const scorings[] = {"sigmoid", NULL}, *const methods[] = {"noaux_tc", NULL};
	const char *word;
	enum moe_status st;

	c->vocab_size = 153600;
	c->hidden_size = 6144;
	c->n_layers = 48;
	c->n_heads = 64;
	c->n_kv_heads = 8;
	c->head_dim = 128;
	c->intermediate_size = 18432;
	c->moe_intermediate_size = 2048;
	c->n_experts = 128;
	c->n_shared_experts = 1;
	c->max_positions = 262144;
	c->rms_eps = 1e-5;
	c->rope.theta = 1e6;
	c->bos_id = -1;
	c->qk_norm = MOE_QK_NORM_HEAD;
	c->router = (struct moe_router_spec){ .policy = "noaux_tc", .top_k = 8, .n_groups = 1, .top_groups = 1,
		                              .scale = 2.5, .normalize = true, .bias = true };
	st = moe_gqa_parse(c, json, where, numbers, err);
	if (!st)
		st = moe_parse_word(json, "scoring_func", where, scorings, "sigmoid", &word, err);
	if (!st)
		st = moe_parse_word(json, "topk_method", where, methods, "noaux_tc", &word, err);
	if (!st)
		st = moe_json_bool(json, "norm_topk_prob", where, &c->router.normalize, err);
	if (!st)
		st = moe_json_f64(json, "routed_scaling_factor", where, &c->router.scale, err);
	if (!st)
		st = place_windows(c, json, where, err);
	if (!st)
		st = place(c, json, where, err);
	if (!st)
		st = check_places(c, json, where, err);
	return st ? st : moe_parse_groups(c, where, 2, err);
}

static const struct moe_tensor_spec tensors[] = {
	MOE_ROWS_TOP,
	MOE_ROWS_ATTENTION,
	MOE_ROWS_DENSE,
	MOE_ROWS_EXPERTS("mlp.gate.weight", "mlp.experts.", "gate_proj.weight", "up_proj.weight", "down_proj.weight"),
	MOE_ROWS_ROUTER_BIAS("mlp.e_score_correction_bias"),
	MOE_ROWS_SHARED("mlp.shared_experts."),
	MOE_ROWS_END,
};

static const char *const skipped[] = {"mtp.", NULL};

static const struct moe_key keys[] = {
	MOE_GQA_KEYS,
	{"num_experts", "expert_count", "u32"},
	{"intermediate_size", "feed_forward_length", "u32"},
	{"moe_intermediate_size", "expert_feed_forward_length", "u32"},
	{"num_shared_experts", "expert_shared_count", "u32"},
	{"first_k_dense_replace", "leading_dense_block_count", "u32"},
	{"routed_scaling_factor", "expert_weights_scale", "f32"},
	{"norm_topk_prob", "expert_weights_norm", "bool"},
	{"n_group", "expert_group_count", "u32"},
	{"topk_group", "expert_group_used_count", "u32"},
	{"sliding_window", "attention.sliding_window", "u32"},
	MOE_GQA_KEYS_END,
};

static const char *obstacle(const struct moe_config *c)
{
	static const struct moe_gguf_form form = { .leading_dense = true, .windows = true, .freqs = true,
	                                           .head = true };

	for (int32_t l = 0; l < c->n_layers; l++)
		if (c->layers[l].no_rope != (c->layers[l].window == 0))
			return "rotates in layers with a window alone";
	return moe_gguf_misfit(c, &form);
}

const struct moe_family moe_family_exaone_moe = {
	.name = "exaone_moe",
	.help = "K-EXAONE-236B-A23B",
	.traits = "layers with a window, full layers without rotation; multi-token-prediction layers are left alone",
	.architectures = architectures,
	.model_types = model_types,
	.gguf_arch = "exaone-moe",
	.gguf_obstacle = obstacle,
	.parse = parse,
	.tensors = tensors,
	.keys = keys,
	.gguf_extra = moe_gqa_gguf_extra,
	.hf_extra = moe_gqa_hf_extra,
	.skipped = skipped,
};
