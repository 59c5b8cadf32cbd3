/* Names to ids and back, and binding: what is missing, misshapen or too much is named. */
#include <stdlib.h>
#include <string.h>

#include "../tap.h"
#include "base/json.h"
#include "model/names.h"

#define N_LAYERS 3

static json_t *small(int n_experts, bool q_lora)
{
	json_t *json = json_pack("{s:s, s:[s], s:i, s:i, s:i, s:i, s:i}", "model_type", "deepseek_v3", "architectures",
	                         "DeepseekV3ForCausalLM", "vocab_size", 64, "hidden_size", 16, "num_hidden_layers",
	                         N_LAYERS, "num_nextn_predict_layers", 1, "first_k_dense_replace", 1);
	json_t *more = json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "intermediate_size", 24,
	                         "moe_intermediate_size", 8, "num_attention_heads", 2, "kv_lora_rank", 12,
	                         "qk_nope_head_dim", 6, "qk_rope_head_dim", 4, "v_head_dim", 5, "n_routed_experts",
	                         n_experts, "num_experts_per_tok", 2, "n_group", 2, "topk_group", 1);

	json_object_update(json, more);
	json_decref(more);
	json_object_set_new(json, "q_lora_rank", q_lora ? json_integer(10) : json_null());
	return json;
}

/* A checkpoint made of names and shapes, every value its index. */
struct fake {
	struct moe_ckpt ckpt;
	struct moe_format format;
	struct moe_map file;
	struct moe_config config;
	float *values;
	size_t n_values;
};

static enum moe_status add(void *arg, const struct moe_tensor_id *id, const int64_t *dims, int32_t n_dims,
                           struct moe_err *err)
{
	struct fake *f = arg;
	struct moe_buf name = {0};
	struct moe_tensor *t = &f->ckpt.tensors[f->ckpt.n_tensors++];
	size_t n = 0;

	(void)err;
	moe_names_format(&f->config, id, f->format.naming, &name);
	*t = (struct moe_tensor){ .name = name.p, .codec = moe_codec_by_name("f32"), .n_dims = n_dims };
	memcpy(t->dims, dims, (size_t)n_dims * sizeof *dims);
	if (!moe_dims_elems(dims, n_dims, &n))
		return MOE_EFORMAT;
	t->n_bytes = 4 * n;
	t->data = (const uint8_t *)f->values;
	return n <= f->n_values ? MOE_OK : MOE_EFORMAT;
}

static int by_name(const void *a, const void *b, void *tensors)
{
	const struct moe_tensor *t = tensors;
	return strcmp(t[*(const uint32_t *)a].name, t[*(const uint32_t *)b].name);
}

static void sort_names(struct fake *f)
{
	for (size_t i = 0; i < f->ckpt.n_tensors; i++)
		f->ckpt.by_name[i] = (uint32_t)i;
	qsort_r(f->ckpt.by_name, f->ckpt.n_tensors, sizeof(uint32_t), by_name, f->ckpt.tensors);
}

static void fake_make(struct fake *f, enum moe_naming naming)
{
	struct moe_err err = {0};
	json_t *json = small(4, true);

	memset(f, 0, sizeof *f);
	f->format = (struct moe_format){ .name = "fake", .naming = naming };
	f->file.path = "weights";
	f->n_values = 4096;
	f->values = malloc(f->n_values * sizeof *f->values);
	for (size_t i = 0; i < f->n_values; i++)
		f->values[i] = (float)i;
	f->ckpt = (struct moe_ckpt){ .format = &f->format, .path = "fake", .n_files = 1, .files = &f->file,
	                            .config = json };
	ok(!moe_config_parse(&f->config, json, "config.json", &err), "the small config parses %s", err.text);
	const size_t n = (size_t)moe_names_count(&f->config, naming);
	f->ckpt.tensors = calloc(n + 1, sizeof *f->ckpt.tensors);
	f->ckpt.by_name = calloc(n + 1, sizeof *f->ckpt.by_name);
	ok(!moe_names_each(&f->config, naming, add, f, &err), "every expected tensor is visited");
	is_i64((int64_t)f->ckpt.n_tensors, (int64_t)n, "as many as are counted");
	sort_names(f);
}

static void fake_free(struct fake *f)
{
	for (size_t i = 0; i < f->ckpt.n_tensors; i++)
		free((char *)f->ckpt.tensors[i].name);
	free(f->ckpt.tensors);
	free(f->ckpt.by_name);
	free(f->values);
	moe_config_free(&f->config);
	json_decref(f->ckpt.config);
}

static enum moe_status round_trip(void *arg, const struct moe_tensor_id *id, const int64_t *dims, int32_t n_dims,
                                  struct moe_err *err)
{
	const struct fake *f = arg;
	struct moe_buf name = {0};
	struct moe_tensor_id back = {0};

	(void)dims, (void)n_dims;
	moe_names_format(&f->config, id, f->format.naming, &name);
	const bool same = moe_names_parse(&f->config, f->format.naming, name.p, &back) && back.spec == id->spec &&
	                  back.layer == id->layer && back.expert == id->expert;
	if (!same)
		return moe_err_set(err, MOE_EFORMAT, "%s", name.p);
	moe_buf_free(&name);
	return MOE_OK;
}

static void names(enum moe_naming naming)
{
	static const char *const wrong[] = {"", "model.layers.0", "model.layers.01.input_layernorm.weight",
		"model.layers.4.input_layernorm.weight", "model.layers.0.mlp.gate.weight",
		"model.layers.1.mlp.gate_proj.weight", "model.layers.1.mlp.experts.4.gate_proj.weight",
		"model.layers.1.mlp.experts.99999999999.gate_proj.weight", "model.layers.1.enorm.weight",
		"model.layers.-1.input_layernorm.weight", "model.norm.weight.x", "blk.0.ffn_gate_exps.weight",
		"blk.1.enorm.weight", "model.layers.0.self_attn.q_proj.weight"};
	struct fake f;
	struct moe_err err = {0};
	struct moe_tensor_id id;

	fake_make(&f, naming);
	ok(!moe_names_each(&f.config, naming, round_trip, &f, &err), "every name is read back as it was made %s",
	   err.text);
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		ok(!moe_names_parse(&f.config, naming, wrong[i], &id), "'%s' is nobody's name", wrong[i]);
	if (naming == MOE_NAMING_HF && ok(moe_names_parse(&f.config, naming,
	                                                  "model.layers.3.mlp.experts.2.up_proj.weight",
	                                                  &id), "an expert of the MTP layer")) {
		is_i64(id.layer, 3, "its layer");
		is_i64(id.expert, 2, "its expert");
		is_str(moe_role_name(moe_id_role(&f.config, &id)), "mtp", "its role");
	}
	fake_free(&f);
}

static void binds(enum moe_naming naming)
{
	struct fake f;
	struct moe_model *m = NULL;
	struct moe_err err = {0};

	fake_make(&f, naming);
	if (!ok(!moe_model_bind(&m, &f.ckpt, &err), "binds %s", err.text))
		return;
	const struct moe_layer *moe = &m->layers[1];
	is_i64(m->embed.rows, 64, "embedding rows");
	is_i64(m->final_norm.rows, 1, "a vector has one row");
	is_i64(moe->expert_down[3].rows, 16, "expert rows");
	is_i64(moe->expert_down[3].cols, 8, "expert columns");
	ok(!m->layers[0].expert_gate && m->layers[3].part[MOE_PART_MTP_EH_PROJ].cols == 32, "dense and MTP layers");
	const struct moe_weight *kv = &moe->part[MOE_PART_KV_B];
	is_i64(kv->rows, 22, "kv_b rows");
	is_i64(kv->cols, 12, "kv_b columns");
	if (naming == MOE_NAMING_GGUF) {
		const float *v = (const float *)(const void *)kv->data;
		ok((const float *)(const void *)moe->expert_down[3].data - f.values == 3 * 16 * 8,
		   "an expert is a slice");
		/* k_b holds its index: head 1, latent 3, nope 2 is 1*12*6 + 3*6 + 2; v_b: head 1, value 4, latent 3 */
		is_i64((int64_t)v[(11 + 2) * 12 + 3], 92, "k_b is turned per head");
		is_i64((int64_t)v[(11 + 6 + 4) * 12 + 3], 1 * 5 * 12 + 4 * 12 + 3, "v_b is not");
		ok(!moe->part[MOE_PART_K_B].data && !moe->part[MOE_PART_V_B].data, "only kv_b is left");
	}
	moe_model_free(m);
	fake_free(&f);
}

static void refused(struct fake *f, const char *what, const char *a, const char *b)
{
	struct moe_model *m = NULL;
	struct moe_err err = {0};

	is_i64(moe_model_bind(&m, &f->ckpt, &err), MOE_EFORMAT, "%s is refused", what);
	ok(strstr(err.text, a) && strstr(err.text, b), "'%s' and '%s' in: %s", a, b, err.text);
}

static struct moe_tensor *tensor(struct fake *f, const char *name)
{
	return (struct moe_tensor *)(uintptr_t)moe_ckpt_find(&f->ckpt, name);
}

static void defects(void)
{
	struct fake f;
	struct moe_tensor *t;

	fake_make(&f, MOE_NAMING_HF);
	t = tensor(&f, "model.layers.2.mlp.experts.1.up_proj.weight");
	t->dims[0] = 16, t->dims[1] = 8;
	refused(&f, "a transposed expert", "experts.1.up_proj.weight': expected shape [8, 16], found [16, 8]",
	        "(transposed)");
	t->dims[0] = 9, t->dims[1] = 16;
	refused(&f, "an expert of another shape", "expected shape [8, 16]", "found [9, 16]");
	t->dims[0] = 8;
	t->codec = moe_codec_by_name("i32");
	refused(&f, "an expert of integers", "experts.1.up_proj.weight", "i32");
	t->codec = moe_codec_by_name("f8_e4m3");
	refused(&f, "an FP8 expert", "experts.1.up_proj.weight", "block scales");
	t->codec = moe_codec_by_name("f32");

	json_object_set_new(f.ckpt.config, "n_routed_experts", json_integer(1000000000));
	refused(&f, "10^9 experts", "1000000000 experts in 4 layers (9000000063 tensors)", "holds 99 tensors");
	json_object_set_new(f.ckpt.config, "n_routed_experts", json_integer(4));
	json_object_set_new(f.ckpt.config, "num_nextn_predict_layers", json_integer(0));
	refused(&f, "an MTP layer that the config denies", "model.layers.3.", "none of the");
	json_object_set_new(f.ckpt.config, "num_nextn_predict_layers", json_integer(1));

	char *own = (char *)(uintptr_t)t->name;
	t->name = "model.layers.2.mlp.experts.4.up_proj.weight";
	sort_names(&f);
	refused(&f, "a missing expert", "model.layers.2.mlp.experts.1.up_proj.weight' is missing", "99 tensors");
	t->name = own;
	f.ckpt.tensors[f.ckpt.n_tensors++] = (struct moe_tensor){
		.name = strdup("model.layers.0.self_attn.q_proj.bias"),
		.codec = moe_codec_by_name("f32"), .n_dims = 1, .dims = {20} };
	sort_names(&f);
	refused(&f, "a tensor too many", "q_proj.bias", "none of the 99");
	fake_free(&f);

	fake_make(&f, MOE_NAMING_GGUF);
	t = tensor(&f, "blk.1.ffn_up_exps.weight");
	t->dims[0] = 3;
	refused(&f, "a stack of too few experts", "expected shape [4, 8, 16]", "found [3, 8, 16]");
	fake_free(&f);
}

/* Keys of a GGUF file without config.json. */
static void from_keys(void)
{
	static const char *const u32[][2] = {{"block_count", "4"}, {"nextn_predict_layers", "1"}, {"vocab_size", "64"},
		{"context_length", "512"}, {"embedding_length", "16"}, {"feed_forward_length", "24"},
		{"attention.head_count", "2"}, {"attention.head_count_kv", "1"}, {"leading_dense_block_count", "1"},
		{"expert_count", "4"}, {"expert_used_count", "2"}, {"expert_shared_count", "1"},
		{"expert_feed_forward_length", "8"}, {"expert_gating_func", "2"}, {"expert_group_count", "2"},
		{"expert_group_used_count", "1"}, {"attention.q_lora_rank", "10"}, {"attention.kv_lora_rank", "12"},
		{"attention.key_length", "16"}, {"attention.value_length", "12"}, {"attention.key_length_mla", "10"},
		{"attention.value_length_mla", "5"}, {"rope.dimension_count", "4"}};
	struct fake f;
	struct moe_config config;
	struct moe_err err = {0};
	char key[128];

	fake_make(&f, MOE_NAMING_GGUF);
	json_t *keys = json_pack("{s:{s:s, s:s}, s:{s:s, s:f}, s:{s:s, s:f}, s:{s:s, s:b}}",
		"general.architecture", "type", "string", "value", "deepseek2",
		"deepseek2.attention.layer_norm_rms_epsilon", "type", "f32", "value", (double)1e-6f,
		"deepseek2.expert_weights_scale", "type", "f32", "value", (double)2.446f,
		"deepseek2.expert_weights_norm", "type", "bool", "value", 1);
	for (size_t i = 0; i < sizeof u32 / sizeof u32[0]; i++) {
		snprintf(key, sizeof key, "deepseek2.%s", u32[i][0]);
		json_object_set_new(keys, key, json_pack("{s:s, s:i}", "type", "u32", "value", atoi(u32[i][1])));
	}
	json_decref(f.ckpt.config);
	f.ckpt.config = NULL;
	f.ckpt.metadata = keys;
	if (ok(!moe_config_of(&config, &f.ckpt, &err), "a config from GGUF keys %s", err.text)) {
		struct moe_model *m = NULL;
		is_str(config.family->name, "deepseek_v3", "the gating function tells the family");
		is_i64(config.n_layers, 3, "layers without MTP");
		is_i64(config.qk_nope_head_dim, 6, "nope width");
		ok(config.router.scale == 2.446 && config.rms_eps == 1e-6, "f32 keys give back the decimal");
		ok(config.router.normalize && config.router.n_groups == 2, "router");
		ok(!moe_model_bind(&m, &f.ckpt, &err), "and it binds %s", err.text);
		moe_model_free(m);
		moe_config_free(&config);
	}
	json_object_set_new(keys, "deepseek2.expert_gating_func", json_pack("{s:s, s:i}", "type", "u32", "value", 1));
	if (ok(!moe_config_of(&config, &f.ckpt, &err), "the other gating function %s", err.text)) {
		is_str(config.family->name, "deepseek_v2", "is V2's");
		moe_config_free(&config);
	}
	json_object_set_new(keys, "general.architecture", json_pack("{s:s, s:s}", "type", "string", "value", "bert"));
	is_i64(moe_config_of(&config, &f.ckpt, &err), MOE_EFORMAT, "an unknown architecture: %s", err.text);
	json_decref(keys);
	f.ckpt.metadata = NULL;
	fake_free(&f);
}

int main(void)
{
	names(MOE_NAMING_HF);
	names(MOE_NAMING_GGUF);
	binds(MOE_NAMING_HF);
	binds(MOE_NAMING_GGUF);
	defects();
	from_keys();
	return done();
}
