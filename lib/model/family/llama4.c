/* Llama 4: rotated layers that see a chunk of positions between unrotated ones that see all, one expert a token.
 *
 * Router: the k largest logits, each with its own sigmoid, which multiplies what the expert reads; one shared expert
 * beside them. Experts of a layer share two tensors, stored by their inputs: gate_up_proj [experts, hidden, 2 width],
 * gate first. The multimodal checkpoints hold this model under language_model. and its config under text_config. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "model/gguf_form.h"
#include "model/gqa.h"

static const char *const architectures[] = {"Llama4ForConditionalGeneration", "Llama4ForCausalLM", NULL};
static const char *const model_types[] = {"llama4", "llama4_text", NULL};
static const char *const skipped[] = {"vision_model.", "multi_modal_projector.", NULL};

static const struct moe_number numbers[] = {
	MOE_NUMBER("num_local_experts", n_experts, 1, INT32_MAX),
	MOE_NUMBER("intermediate_size", moe_intermediate_size, 1, INT32_MAX),
	MOE_NUMBER("intermediate_size_mlp", intermediate_size, 1, INT32_MAX),
	{NULL, 0, 0, 0},
};

/* A list with one entry a layer; *list is NULL where there is none, or an empty one. */
static enum moe_status per_layer(const struct moe_config *c, const json_t *json, const char *key, const char *where,
                                 const json_t **list, struct moe_err *err)
{
	*list = json_object_get(json, key);
	if (!*list || json_is_null(*list) || (json_is_array(*list) && json_array_size(*list) == 0)) {
		*list = NULL;
		return MOE_OK;
	}
	if (json_is_array(*list) && json_array_size(*list) == (size_t)c->n_layers)
		return MOE_OK;
	return moe_json_refuse(err, *list, where, "%s: expected a list with an entry for each of the %d layers", key,
	                       c->n_layers);
}

/* no_rope_layers holds 1 for rotated layers, 0 for the others; by default every no_rope_layer_interval-th is one. */
static enum moe_status place_rotation(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	const json_t *list;
	int32_t interval = 4;
	enum moe_status st = moe_json_i32(json, "no_rope_layer_interval", where, 1, INT32_MAX, &interval, err);

	if (!st)
		st = per_layer(c, json, "no_rope_layers", where, &list, err);
	for (int32_t l = 0; !st && l < c->n_layers; l++) {
		const json_t *entry = list ? json_array_get(list, (size_t)l) : NULL;
		const json_int_t rotated = entry ? json_integer_value(entry) : (l + 1) % interval != 0;

		if (entry && (!json_is_integer(entry) || rotated < 0 || rotated > 1))
			return moe_json_refuse(err, entry, where, "no_rope_layers: entry %d: expected 0 or 1", l);
		c->layers[l].no_rope = !rotated;
	}
	return st;
}

/* Which layers see a chunk only: those of layer_types, by default the rotated ones. */
static enum moe_status place_chunks(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	const json_t *list;
	int64_t chunk = 8192;
	enum moe_status st = moe_json_i64(json, "attention_chunk_size", where, 1, INT32_MAX, &chunk, err);

	if (!st)
		st = per_layer(c, json, "layer_types", where, &list, err);
	for (int32_t l = 0; !st && l < c->n_layers; l++) {
		const char *type = list ? moe_json_word(json_array_get(list, (size_t)l)) : NULL;
		const bool chunked = type ? !strcmp(type, "chunked_attention") : !c->layers[l].no_rope;

		if (list && (!type || (!chunked && strcmp(type, "full_attention"))))
			return moe_json_refuse(err, json_array_get(list, (size_t)l), where, "layer_types: entry %d: "
			                       "expected \"chunked_attention\" or \"full_attention\"", l);
		c->layers[l].attention_chunk = chunked ? chunk : 0;
	}
	return st;
}

/* attn_temperature_tuning is true or a number in published configs; it concerns the layers without rotation. */
static enum moe_status place_temperature(struct moe_config *c, const json_t *json, const char *where,
                                         struct moe_err *err)
{
	const json_t *tuned = json_object_get(json, "attn_temperature_tuning");
	enum moe_status st;

	if (tuned && !json_is_null(tuned) && !json_is_boolean(tuned) && !json_is_number(tuned))
		return moe_json_refuse(err, tuned, where, "attn_temperature_tuning: expected true, false or a number");
	c->temperature = 0.1;
	c->temperature_floor = 8192;
	st = moe_json_f64(json, "attn_scale", where, &c->temperature, err);
	if (!st)
		st = moe_parse_range(c->temperature, 0, 1e6, where, "attn_scale", err);
	if (!st)
		st = moe_json_f64(json, "floor_scale", where, &c->temperature_floor, err);
	if (!st)
		st = moe_parse_range(c->temperature_floor, 1, 1e12, where, "floor_scale", err);
	if (json_is_false(tuned) || (json_is_number(tuned) && json_number_value(tuned) == 0))
		c->temperature = 0;
	for (int32_t l = 0; !st && l < c->n_layers; l++)
		c->layers[l].temperature = c->layers[l].no_rope && c->temperature != 0;
	return st;
}

/* Experts in every interleave_moe_layer_step-th layer, or in those that moe_layers lists. */
static enum moe_status place_experts(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	const json_t *list = json_object_get(json, "moe_layers");
	int32_t step = 1;
	enum moe_status st = moe_json_i32(json, "interleave_moe_layer_step", where, 1, INT32_MAX, &step, err);

	if (!st)
		st = moe_gqa_place_experts(c, json, where, 0, step, 1, NULL, err);
	if (st || !list || json_is_null(list))
		return st;
	if (!json_is_array(list))
		return moe_json_refuse(err, list, where, "moe_layers: expected a list of layers");
	for (int32_t l = 0; l < c->n_layers; l++)
		c->layers[l].ffn = MOE_FFN_DENSE;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *entry = json_array_get(list, i);
		const json_int_t l = json_integer_value(entry);

		if (!json_is_integer(entry) || l < 0 || l >= c->n_layers)
			return moe_json_refuse(err, entry, where, "moe_layers: entry %zu: expected one of the %d "
			                       "layers", i, c->n_layers);
		c->layers[l].ffn = MOE_FFN_MOE;
	}
	return MOE_OK;
}

static enum moe_status parse_text(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	bool biased = false, normed = true;
	enum moe_status st = moe_json_bool(json, "attention_bias", where, &biased, err);

	if (!st && biased)
		st = moe_err_set(err, MOE_EFORMAT, "%s: attention_bias: expected false, found true", where);
	if (!st)
		st = moe_json_bool(json, "use_qk_norm", where, &normed, err);
	if (!st)
		st = moe_gqa_parse(c, json, where, numbers, err);
	c->qk_norm = normed ? MOE_QK_NORM_PLAIN : MOE_QK_NORM_NONE;
	c->qk_norm_late = true;
	/* what these families call intermediate_size is the experts' here */
	if (!moe_json_has(json, "intermediate_size_mlp"))
		c->intermediate_size = 16384;
	if (!st)
		st = place_rotation(c, json, where, err);
	if (!st)
		st = place_chunks(c, json, where, err);
	if (!st)
		st = place_temperature(c, json, where, err);
	return st ? st : place_experts(c, json, where, err);
}

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	const json_t *text = json_object_get(json, "text_config");
	char inner[1024];

	c->vocab_size = 202048;
	c->hidden_size = 5120;
	c->n_layers = 48;
	c->n_heads = 40;
	c->n_kv_heads = 8;
	c->head_dim = 128;
	c->moe_intermediate_size = 8192;
	c->n_experts = 16;
	c->n_shared_experts = 1;
	c->max_positions = 131072;
	c->rms_eps = 1e-5;
	c->rope.theta = 500000;
	c->rope.interleaved = true;
	c->bos_id = 1;
	c->n_eos = 1;
	c->eos_ids[0] = 2;
	c->router = (struct moe_router_spec){ .policy = "llama4", .top_k = 1, .n_groups = 1, .top_groups = 1,
		                              .scale = 1, .scales_input = true };
	if (!text || json_is_null(text))
		return parse_text(c, json, where, err);
	if (!json_is_object(text))
		return moe_json_refuse(err, text, where, "text_config: expected an object");
	c->hf_prefix = "language_model.";
	snprintf(inner, sizeof inner, "%.1000s: text_config", where);
	return parse_text(c, text, inner, err);
}

static const struct moe_tensor_spec tensors[] = {
	MOE_ROWS_TOP,
	MOE_ROWS_ATTENTION,
	MOE_ROWS_DENSE_AT("feed_forward."),
	MOE_ROWS_ROUTER(MOE_P "feed_forward.router.weight", .present = NULL),
	{ .part = MOE_PART_EXPERT_GATE, .role = MOE_ROLE_EXPS, .where = MOE_AT_MOE,
	  .hf = MOE_P "feed_forward.experts.gate_up_proj", .stack = MOE_STACK_OUTER, .input_major = true,
	  .n_dims = 2, .dims = {MOE_DIM_2EXPERT_FFN, MOE_DIM_HIDDEN},
	  .n_pieces = 2,
	  .pieces = {{MOE_PART_EXPERT_GATE, MOE_DIM_EXPERT_FFN}, {MOE_PART_EXPERT_UP, MOE_DIM_EXPERT_FFN}} },
	{ .part = MOE_PART_EXPERT_DOWN, .role = MOE_ROLE_EXPS, .where = MOE_AT_MOE,
	  .hf = MOE_P "feed_forward.experts.down_proj", .stack = MOE_STACK_OUTER, .input_major = true,
	  .n_dims = 2, .dims = {MOE_DIM_HIDDEN, MOE_DIM_EXPERT_FFN} },
	MOE_ROWS_STACKS,
	MOE_ROWS_SHARED("feed_forward.shared_expert."),
	MOE_ROWS_END,
};

static const struct moe_key keys[] = {
	MOE_GQA_KEYS,
	{"vocab_size", "vocab_size", "u32"},
	{"max_position_embeddings", "context_length", "u32"},
	{"hidden_size", "embedding_length", "u32"},
	{"num_attention_heads", "attention.head_count", "u32"},
	{"num_experts_per_tok", "expert_used_count", "u32"},
	{"rms_norm_eps", "attention.layer_norm_rms_epsilon", "f32"},
	{"num_local_experts", "expert_count", "u32"},
	{"intermediate_size_mlp", "feed_forward_length", "u32"},
	{"intermediate_size", "expert_feed_forward_length", "u32"},
	{"interleave_moe_layer_step", "interleave_moe_layer_step", "u32"},
	MOE_GQA_KEYS_END,
};

/* The text model alone; queries and keys of the larger release are not normalised, and no key says so. */
static enum moe_status hf_extra(json_t *config, const json_t *keys, struct moe_err *err)
{
	const bool normed = moe_gguf_int(keys, "llama4", "expert_count", 0) != 128;
	json_t *names = json_pack("[s]", "Llama4ForCausalLM");
	bool ok = moe_hf_put(config, "architectures", names);

	ok = moe_hf_put(config, "model_type", json_string("llama4_text")) && ok;
	ok = moe_hf_put(config, "use_qk_norm", json_boolean(normed)) && ok;
	return ok ? moe_gqa_hf_extra(config, keys, err) : moe_err_nomem(err, 64, "config");
}

static const char *obstacle(const struct moe_config *c)
{
	static const struct moe_gguf_form form = { .steps = true, .freqs = true };

	if ((c->qk_norm == MOE_QK_NORM_PLAIN) != (c->n_experts != 128))
		return "normalises queries and keys unless there are 128 experts";
	for (int32_t l = 0; l < c->n_layers; l++) {
		const struct moe_layer_kind *layer = &c->layers[l];
		const bool full = l % 4 == 3;

		if (layer->no_rope != full || layer->attention_chunk != (full ? 0 : 8192) || layer->temperature != full)
			return "sees chunks of 8192 positions in three layers of four and rotates in these alone";
	}
	if (c->temperature != 0.1 || c->temperature_floor != 8192)
		return "knows one temperature of attention";
	return moe_gguf_misfit(c, &form);
}

const struct moe_family moe_family_llama4 = {
	.name = "llama4",
	.help = "Llama 4 Scout, Maverick",
	.traits = "the text model: the gate scales what an expert reads, chunked attention, layers without rotation",
	.architectures = architectures,
	.model_types = model_types,
	.gguf_arch = "llama4",
	.gguf_obstacle = obstacle,
	.parse = parse,
	.tensors = tensors,
	.keys = keys,
	.gguf_extra = moe_gqa_gguf_extra,
	.hf_extra = hf_extra,
	.skipped = skipped,
};
