/* GLM-5: DeepSeek-V3.2's layers in other sizes. Some layers may have no indexer and read what the last one below them
 * chose. */
#include <stdlib.h>

#include "base/json.h"
#include "model/mla.h"
#include "model/parse.h"

static const char *const architectures[] = {"GlmMoeDsaForCausalLM", NULL};
static const char *const model_types[] = {"glm_moe_dsa", NULL};

/* index_topk_pattern: a string of n_layers letters, or a list of them, F(ull) or S(hared). */
static enum moe_status own_by_pattern(const json_t *json, const char *where, int32_t n_layers, int32_t l, bool *own,
                                      struct moe_err *err)
{
	static const char *const words[] = {"S", "F"}, key[] = "index_topk_pattern";
	const json_t *pattern = json_object_get(json, key);
	const char *letters = json_string_value(pattern);

	if (!letters)
		return moe_parse_layer_word(json, key, where, n_layers, l, words, own, err);
	if (json_string_length(pattern) != (size_t)n_layers || (letters[l] != 'F' && letters[l] != 'S'))
		return moe_err_set(err, MOE_EFORMAT, "%s: %s: expected F or S for each of %d layers, found "
		                   "\"%.128s\"", where, key, n_layers, letters);
	*own = letters[l] == 'F';
	return MOE_OK;
}

/* Which layers have an indexer of their own, [n_layers]: indexer_types says, else index_topk_pattern, else every
 * index_topk_freq-th from index_skip_topk_offset on, and all before. */
static enum moe_status find_owners(const struct moe_config *c, const json_t *json, const char *where, bool *owns,
                                   struct moe_err *err)
{
	static const char *const words[] = {"shared", "full"};
	int32_t freq = 1, offset = 2;
	enum moe_status st = moe_json_i32(json, "index_topk_freq", where, 1, INT32_MAX, &freq, err);

	if (!st)
		st = moe_json_i32(json, "index_skip_topk_offset", where, 0, INT32_MAX, &offset, err);
	for (int32_t l = 0; l < c->n_layers && !st; l++) {
		const int32_t behind = l - offset + 1;

		owns[l] = behind <= 0 || behind % freq == 0;
		if (moe_json_has(json, "indexer_types"))
			st = moe_parse_layer_word(json, "indexer_types", where, c->n_layers, l, words, &owns[l], err);
		else
			st = own_by_pattern(json, where, c->n_layers, l, &owns[l], err);
	}
	return st;
}

static void set_defaults(struct moe_config *c)
{
	c->vocab_size = 154880;
	c->hidden_size = 6144;
	c->n_layers = 78;
	c->n_heads = 64;
	c->q_lora_rank = 2048;
	c->kv_lora_rank = 512;
	c->qk_nope_head_dim = 192;
	c->qk_rope_head_dim = 64;
	c->v_head_dim = 256;
	c->index_n_heads = 32;
	c->index_head_dim = 128;
	c->index_top_k = 2048;
	c->index_interleaved = true;
	c->intermediate_size = 12288;
	c->moe_intermediate_size = 2048;
	c->n_experts = 256;
	c->n_shared_experts = 1;
	c->max_positions = 202752;
	c->rms_eps = 1e-5;
	c->rope.theta = 10000;
	c->bos_id = -1;
	c->router = (struct moe_router_spec){ .policy = "noaux_tc", .top_k = 8, .n_groups = 1, .top_groups = 1,
	                                      .scale = 2.5, .bias = true };
}

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	bool *owns = NULL;
	enum moe_status st;

	set_defaults(c);
	st = moe_mla_v3_parse(c, json, where, 3, err);
	if (st)
		return st;
	owns = calloc((size_t)c->n_layers, sizeof *owns);
	if (!owns)
		return moe_err_nomem(err, (size_t)c->n_layers * sizeof *owns, "layers");
	st = find_owners(c, json, where, owns, err);
	if (!st)
		st = moe_mla_indexer_parse(c, json, where, owns, err);
	free(owns);
	return st;
}

/* Which layers have an indexer, where a list of them says so. */
static enum moe_status hf_extra(json_t *config, const json_t *keys, struct moe_err *err)
{
	const json_t *list = json_object_get(json_object_get(keys, "glm-dsa.attention.indexer.types"), "value"), *own;
	json_t *types = json_is_array(list) ? json_array() : NULL;
	bool ok = types || !json_is_array(list);
	size_t i;

	json_array_foreach(list, i, own)
		ok = !json_array_append_new(types, json_string(json_is_true(own) ? "full" : "shared")) && ok;
	if (types)
		ok = !json_object_set_new(config, "indexer_types", types) && ok;
	return ok ? moe_mla_v3_hf_extra(config, keys, err) : moe_err_nomem(err, 64, "config");
}

const struct moe_family moe_family_glm_moe_dsa = {
	.name = "glm_moe_dsa",
	.help = "GLM-5, 5.1, 5.2",
	.traits = "latent attention with an indexer, some layers sharing another's; multi-token-prediction layers",
	.architectures = architectures,
	.model_types = model_types,
	.gguf_arch = "glm-dsa",
	.gguf_obstacle = moe_mla_obstacle,
	.gguf_remark = moe_mla_remark,
	.parse = parse,
	.tensors = moe_mla_tensors,
	.keys = moe_mla_keys,
	.gguf_extra = moe_mla_v3_gguf_extra,
	.hf_extra = hf_extra,
};
