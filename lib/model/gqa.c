/* Families with grouped-query attention: the part of config.json they have in common. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "model/gqa.h"

bool moe_gqa_has_head(const struct moe_config *c) { return !c->tie_embeddings; }
bool moe_gqa_has_bias(const struct moe_config *c) { return c->qkv_bias; }
bool moe_gqa_has_o_bias(const struct moe_config *c) { return c->o_bias; }
bool moe_gqa_norms_heads(const struct moe_config *c) { return c->qk_norm == MOE_QK_NORM_HEAD; }
bool moe_gqa_norms_whole(const struct moe_config *c) { return c->qk_norm == MOE_QK_NORM_WHOLE; }
bool moe_gqa_has_router_bias(const struct moe_config *c) { return c->router.bias; }
bool moe_gqa_has_shared(const struct moe_config *c) { return c->n_shared_experts > 0; }
bool moe_gqa_has_freqs(const struct moe_config *c) { return c->rope.llama3; }
bool moe_gqa_has_factors(const struct moe_config *c) { return c->rope.factors; }

static const struct moe_number common[] = {
	MOE_NUMBER("vocab_size", vocab_size, 1, INT32_MAX),
	MOE_NUMBER("hidden_size", hidden_size, 1, INT32_MAX / 2),
	MOE_NUMBER("num_hidden_layers", n_layers, 1, 100000),
	MOE_NUMBER("num_attention_heads", n_heads, 1, 1 << 20),
	MOE_NUMBER("num_key_value_heads", n_kv_heads, 1, 1 << 20),
	MOE_NUMBER("head_dim", head_dim, 1, 1 << 20),
	MOE_NUMBER("intermediate_size", intermediate_size, 1, INT32_MAX),
	MOE_NUMBER("num_experts_per_tok", router.top_k, 1, INT32_MAX),
	{NULL, 0, 0, 0},
};

static enum moe_status check_heads(struct moe_config *c, const char *where, struct moe_err *err)
{
	if (c->n_kv_heads == 0)
		c->n_kv_heads = c->n_heads;
	if (c->n_heads % c->n_kv_heads)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: num_key_value_heads: expected a divisor of num_attention_heads %d, "
		                   "found %d",
		                   where, c->n_heads, c->n_kv_heads);
	if (c->head_dim == 0 && c->hidden_size % c->n_heads)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: hidden_size: expected a multiple of num_attention_heads %d, found %d", where,
		                   c->n_heads, c->hidden_size);
	if (c->head_dim == 0)
		c->head_dim = c->hidden_size / c->n_heads;
	return MOE_OK;
}

static enum moe_status make_layers(struct moe_config *c, struct moe_err *err)
{
	const int32_t n = c->n_layers + c->n_mtp_layers;

	c->layers = calloc((size_t)n, sizeof *c->layers);
	if (!c->layers)
		return moe_err_nomem(err, (size_t)n * sizeof *c->layers, "layers");
	for (int32_t l = 0; l < n; l++)
		c->layers[l] = (struct moe_layer_kind){ .mixer = "gqa", .ffn = MOE_FFN_DENSE, .mtp = l >= c->n_layers,
			                                .cache_elems = 2 * (int64_t)c->n_kv_heads * c->head_dim };
	return MOE_OK;
}

static double magnitude(double factor, double mscale) { return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1; }

/* YaRN outside DeepSeek: cos and sin times attention_factor where it is given, else the ratio of mscale and
 * mscale_all_dim where both are, else 0.1 ln factor + 1; the softmax scale is left alone. */
static enum moe_status parse_attention_factor(struct moe_config *c, const json_t *json, const char *where,
                                              struct moe_err *err)
{
	const json_t *scaling = json_object_get(json, "rope_scaling");
	struct moe_rope *rope = &c->rope;
	enum moe_status st;

	if (!scaling || json_is_null(scaling))
		scaling = json_object_get(json, "rope_parameters");
	if (json_is_object(scaling) && !moe_json_has(scaling, "original_max_position_embeddings") &&
	    c->max_positions > 0)
		rope->original_positions = (int32_t)c->max_positions;
	if (!moe_json_has(scaling, "mscale") || rope->mscale == 0 || rope->mscale_all_dim == 0) {
		rope->mscale = 1;
		rope->mscale_all_dim = 0;
	}
	rope->attention_factor = magnitude(rope->factor, rope->mscale) / magnitude(rope->factor, rope->mscale_all_dim);
	rope->mscale_all_dim = 0;
	st = moe_json_f64(scaling, "attention_factor", where, &rope->attention_factor, err);
	return st ? st : moe_parse_range(rope->attention_factor, 1e-6, 1e6, where, "attention_factor", err);
}

enum moe_status moe_gqa_parse(struct moe_config *c, const json_t *json, const char *where,
                              const struct moe_number *numbers, struct moe_err *err)
{
	static const char *const activations[] = {"silu", NULL};
	const char *activation;
	enum moe_status st = moe_parse_numbers(c, json, where, common, err);

	if (!st)
		st = moe_parse_numbers(c, json, where, numbers, err);
	if (!st)
		st = check_heads(c, where, err);
	if (!st)
		st = moe_json_i64(json, "max_position_embeddings", where, 1, INT32_MAX, &c->max_positions, err);
	if (!st)
		st = moe_json_f64(json, "rms_norm_eps", where, &c->rms_eps, err);
	if (!st)
		st = moe_parse_range(c->rms_eps, 0, 1, where, "rms_norm_eps", err);
	if (!st)
		st = moe_json_bool(json, "tie_word_embeddings", where, &c->tie_embeddings, err);
	if (!st)
		st = moe_parse_word(json, "hidden_act", where, activations, "silu", &activation, err);
	return st ? st : moe_gqa_finish(c, json, where, err);
}

/* The rotated part of a head: a number of dimensions that the family read, or a share. */
static enum moe_status parse_rotated(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	double share = c->rope.share != 0 ? c->rope.share : 1;
	bool given;
	enum moe_status st = moe_parse_share(json, where, &share, &given, err);

	if (st)
		return st;
	if (c->rope.share == 0 && share != 1)
		return moe_err_set(err, MOE_EFORMAT, "%s: partial_rotary_factor: expected 1, as this family rotates "
		                   "whole heads, found %g", where, share);
	const int32_t n_dims = (int32_t)(share * c->head_dim);
	if (c->rope.n_dims != 0 && given && n_dims != c->rope.n_dims)
		return moe_err_set(err, MOE_EFORMAT, "%s: partial_rotary_factor: expected %d of head_dim %d, which "
		                   "another key says, found %g", where, c->rope.n_dims, c->head_dim, share);
	if (c->rope.n_dims == 0)
		c->rope.n_dims = n_dims;
	return MOE_OK;
}

enum moe_status moe_gqa_finish(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	const char *width_key = moe_json_has(json, "head_dim") ? "head_dim" : "hidden_size / num_attention_heads";
	enum moe_status st = parse_rotated(c, json, where, err);

	if (!st)
		st = moe_parse_rope(c, json, where, width_key, err);
	if (!st && c->rope.yarn)
		st = parse_attention_factor(c, json, where, err);
	if (!st)
		st = moe_parse_ids(c, json, where, err);
	return st ? st : make_layers(c, err);
}

/* The layers of a list have no experts; those that the model does not have are left alone. */
static enum moe_status make_dense(struct moe_config *c, const json_t *list, const char *key, const char *where,
                                  struct moe_err *err)
{
	if (!list || json_is_null(list))
		return MOE_OK;
	if (!json_is_array(list))
		return moe_json_refuse(err, list, where, "%s: expected a list of layers", key);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_int_t l = json_integer_value(json_array_get(list, i));

		if (!json_is_integer(json_array_get(list, i)))
			return moe_json_refuse(err, json_array_get(list, i), where, "%s: entry %zu: expected a layer",
			                       key, i);
		if (l >= 0 && l < c->n_layers + c->n_mtp_layers)
			c->layers[l].ffn = MOE_FFN_DENSE;
	}
	return MOE_OK;
}

enum moe_status moe_gqa_place_experts(struct moe_config *c, const json_t *json, const char *where, int32_t first,
                                      int32_t step, int32_t shift, const char *key, struct moe_err *err)
{
	enum moe_status st;

	for (int32_t l = 0; l < c->n_layers + c->n_mtp_layers; l++)
		if (c->n_experts > 0 && l >= first && ((int64_t)l + shift) % step == 0)
			c->layers[l].ffn = MOE_FFN_MOE;
	st = make_dense(c, key ? json_object_get(json, key) : NULL, key, where, err);
	if (st || c->n_experts == 0)
		return st;
	st = moe_parse_top_k(c, "num_experts_per_tok", where, err);
	if (st)
		return st;
	if (c->moe_intermediate_size < 1)
		return moe_err_set(err, MOE_EFORMAT, "%s: the width of an expert is missing", where);
	return MOE_OK;
}
