/* From a config.json, or the keys of a GGUF file, to a checked moe_config: the family registry. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "model/gguf_keys.h"
#include "model/model.h"

#define X(n) extern const struct moe_family moe_family_##n;
#include "gen/model_family.h"
#undef X

static const struct moe_family *const families[] = {
#define X(n) &moe_family_##n,
#include "gen/model_family.h"
#undef X
	NULL
};

const struct moe_family *moe_family_at(size_t i)
{
	return i < sizeof families / sizeof families[0] ? families[i] : NULL;
}

static bool word_in(const char *word, const char *const *list)
{
	for (size_t i = 0; list[i]; i++)
		if (!strcmp(word, list[i]))
			return true;
	return false;
}

static const struct moe_family *family_of_type(const char *model_type)
{
	for (size_t i = 0; model_type && families[i]; i++)
		if (word_in(model_type, families[i]->model_types))
			return families[i];
	return NULL;
}

static const struct moe_family *family_of_architecture(const char *architecture)
{
	for (size_t i = 0; architecture && families[i]; i++)
		if (word_in(architecture, families[i]->architectures))
			return families[i];
	return NULL;
}

/* "deepseek_v2, deepseek_v3, ..." into text, those with a form in GGUF alone if asked; whole names, and dots for what
 * does not fit. */
static void family_list(char *text, size_t n, bool gguf)
{
	const size_t n_dots = sizeof ", ...";
	size_t at = 0;

	text[0] = '\0';
	for (size_t i = 0; families[i]; i++) {
		if (gguf && !families[i]->gguf_arch)
			continue;
		if (at + strlen(families[i]->name) + 2 + n_dots > n) {
			snprintf(text + at, n - at, ", ...");
			return;
		}
		at += (size_t)snprintf(text + at, n - at, "%s%s", at ? ", " : "", families[i]->name);
	}
}

/* The object at key, in config.json or in its text_config. */
static const json_t *stored_as(const json_t *json, const char *key)
{
	const json_t *value = json_object_get(json, key);

	return value ? value : json_object_get(json_object_get(json, "text_config"), key);
}

/* quantization_config: f8_e4m3 in square blocks, unless the family reads another method itself. */
static enum moe_status parse_quantization(struct moe_config *c, const json_t *json, const char *where,
                                          struct moe_err *err)
{
	const json_t *q = stored_as(json, "quantization_config"), *size = json_object_get(q, "weight_block_size");
	const char *method = "none", *format = "e4m3", *scale = "";
	enum moe_status st;

	if (!q || json_is_null(q))
		return MOE_OK;
	if (!json_is_object(q))
		return moe_json_refuse(err, q, where, "quantization_config: expected an object");
	st = moe_json_str(q, "quant_method", where, &method, err);
	if (!st)
		st = moe_json_str(q, "fmt", where, &format, err);
	if (st || (c->family->quant_method && !strcmp(method, c->family->quant_method)))
		return st;
	if (strcmp(method, "fp8"))
		return moe_err_set(err, MOE_EFORMAT, "%s: quantization_config: quant_method: expected \"fp8\", found "
		                   "\"%.64s\", which is not read", where, method);
	if (strcmp(format, "e4m3"))
		return moe_err_set(err, MOE_EFORMAT, "%s: quantization_config: fmt: expected \"e4m3\", found \"%.64s\"",
		                   where, format);
	if (json_array_size(size) != 2 || json_integer_value(json_array_get(size, 0)) != MOE_SCALE_BLOCK ||
	    json_integer_value(json_array_get(size, 1)) != MOE_SCALE_BLOCK)
		return moe_json_refuse(err, json_array_size(size) == 2 ? json_array_get(size, 0) : size, where,
		                       "quantization_config: weight_block_size: expected [%d, %d]", MOE_SCALE_BLOCK,
		                       MOE_SCALE_BLOCK);
	if (!json_is_null(json_object_get(q, "scale_fmt")))
		st = moe_json_str(q, "scale_fmt", where, &scale, err);
	c->fp8_blocks = true;
	c->fp8_powers = !strcmp(scale, "ue8m0");
	return st;
}

/* torch_dtype, or dtype as newer configs call it; a word of another kind says nothing. */
static void parse_dtype(struct moe_config *c, const json_t *json)
{
	static const struct {
		const char *word;
		int32_t n_bytes;
	} dtypes[] = {{"bfloat16", 2}, {"float16", 2}, {"float32", 4}};
	const json_t *value = stored_as(json, "torch_dtype");
	const char *word = json_string_value(value ? value : stored_as(json, "dtype"));

	for (size_t i = 0; word && i < sizeof dtypes / sizeof *dtypes; i++)
		if (!strcmp(word, dtypes[i].word))
			c->dtype_bytes = dtypes[i].n_bytes;
}

/* model_type and architectures: one is enough, and both must speak of the same family. */
static enum moe_status find_family(struct moe_config *config, const char *model_type, const char *architecture,
                                   const char *where, struct moe_err *err)
{
	const struct moe_family *by_type = family_of_type(model_type), *by_name = family_of_architecture(architecture);
	char known[600];

	if (by_type && by_name && by_type != by_name)
		return moe_err_set(err, MOE_EFORMAT, "%s: model_type '%.64s' is %s, but architecture '%.64s' is %s",
		                   where, model_type, by_type->name, architecture, by_name->name);
	config->family = by_type ? by_type : by_name;
	if (config->family) {
		snprintf(config->architecture, sizeof config->architecture, "%s",
		         architecture ? architecture : config->family->architectures[0]);
		return MOE_OK;
	}
	family_list(known, sizeof known, false);
	return moe_err_set(err, MOE_EFORMAT, "%s: architecture '%.64s' (model_type '%.64s') is of none of the known "
	                   "families: %s", where, architecture ? architecture : "none",
	                   model_type ? model_type : "none", known);
}

/* What model this is. */
static enum moe_status parse_names(struct moe_config *config, const json_t *json, const char *where,
                                   struct moe_err *err)
{
	const json_t *list = json_object_get(json, "architectures");
	const char *model_type = NULL, *architecture = NULL;
	enum moe_status st = moe_json_str(json, "model_type", where, &model_type, err);

	if (st)
		return st;
	if (list && !json_is_null(list)) {
		architecture = moe_json_word(json_array_get(list, 0));
		if (!json_is_array(list) || (json_array_size(list) && !architecture))
			return moe_json_refuse(err, json_is_array(list) ? json_array_get(list, 0) : list, where,
			                       "architectures: expected a list of names");
	}
	if (!model_type && !architecture)
		return moe_err_set(err, MOE_EFORMAT, "%s: neither model_type nor architectures says what model this is",
		                   where);
	return find_family(config, model_type, architecture, where, err);
}

enum moe_status moe_config_parse(struct moe_config *config, const json_t *json, const char *where, struct moe_err *err)
{
	enum moe_status st;

	memset(config, 0, sizeof *config);
	if (!json_is_object(json))
		return moe_json_refuse(err, json, where, "expected a JSON object");
	st = parse_names(config, json, where, err);
	if (st)
		return st;
	parse_dtype(config, json);
	st = parse_quantization(config, json, where, err);
	if (!st)
		st = config->family->parse(config, json, where, err);
	if (st)
		moe_config_free(config);
	return st;
}

void moe_config_free(struct moe_config *config)
{
	free(config->layers);
	free(config->rope.factors);
	config->layers = NULL;
	config->rope.factors = NULL;
}

int64_t moe_dim_of(const struct moe_config *c, enum moe_dim dim)
{
	switch (dim) {
	case MOE_DIM_1: return 1;
	case MOE_DIM_VOCAB: return c->vocab_size;
	case MOE_DIM_HIDDEN: return c->hidden_size;
	case MOE_DIM_2HIDDEN: return 2 * (int64_t)c->hidden_size;
	case MOE_DIM_Q_LORA: return c->q_lora_rank;
	case MOE_DIM_Q: return (int64_t)c->n_heads * (c->qk_nope_head_dim + c->qk_rope_head_dim);
	case MOE_DIM_KV_A: return (int64_t)c->kv_lora_rank + c->qk_rope_head_dim;
	case MOE_DIM_KV_LORA: return c->kv_lora_rank;
	case MOE_DIM_KV_B: return (int64_t)c->n_heads * (c->qk_nope_head_dim + c->v_head_dim);
	case MOE_DIM_HEADS: return c->n_heads;
	case MOE_DIM_NOPE: return c->qk_nope_head_dim;
	case MOE_DIM_V: return c->v_head_dim;
	case MOE_DIM_O: return (int64_t)c->n_heads * c->v_head_dim;
	case MOE_DIM_FFN: return c->intermediate_size;
	case MOE_DIM_EXPERT_FFN: return c->moe_intermediate_size;
	case MOE_DIM_2EXPERT_FFN: return 2 * (int64_t)c->moe_intermediate_size;
	case MOE_DIM_SHARED_FFN:
		return c->shared_intermediate_size ? c->shared_intermediate_size
		                                   : (int64_t)c->n_shared_experts * c->moe_intermediate_size;
	case MOE_DIM_HEAD: return c->head_dim;
	case MOE_DIM_Q_ALL: return (int64_t)c->n_heads * c->head_dim;
	case MOE_DIM_KV_ALL: return (int64_t)c->n_kv_heads * c->head_dim;
	case MOE_DIM_QKV: return ((int64_t)c->n_heads + 2 * (int64_t)c->n_kv_heads) * c->head_dim;
	case MOE_DIM_EXPERTS: return c->n_experts;
	case MOE_DIM_INDEX_HEADS: return c->index_n_heads;
	case MOE_DIM_INDEX_HEAD: return c->index_head_dim;
	case MOE_DIM_INDEX_Q: return (int64_t)c->index_n_heads * c->index_head_dim;
	case MOE_DIM_HIDDEN_MX: return c->hidden_size / MOE_MX_BLOCK;
	case MOE_DIM_EXPERT_FFN_MX: return c->moe_intermediate_size / MOE_MX_BLOCK;
	case MOE_DIM_BUCKETS: return c->relative_buckets;
	case MOE_DIM_ROPE_HALF: return c->rope.n_dims / 2;
	}
	return 0;
}

const char *moe_gguf_obstacle(const struct moe_config *c)
{
	return c->family->gguf_obstacle ? c->family->gguf_obstacle(c) : NULL;
}

const char *moe_gguf_remark(const struct moe_config *c)
{
	return c->family->gguf_remark ? c->family->gguf_remark(c) : NULL;
}

const char *moe_gguf_limit(const struct moe_config *c)
{
	return c->family->gguf_limit ? c->family->gguf_limit(c) : NULL;
}

const char *moe_gguf_arch(const struct moe_config *c, char text[64])
{
	if (c->family->gguf_arch && !moe_gguf_obstacle(c))
		return c->family->gguf_arch;
	snprintf(text, 64, "moe-%s", c->family->name);
	return text;
}

const json_t *moe_gguf_key(const json_t *keys, const char *arch, const char *key)
{
	char name[256];
	int n = snprintf(name, sizeof name, "%s%s%s", arch ? arch : "", arch ? "." : "", key);
	const json_t *value;

	if (n < 0 || (size_t)n >= sizeof name)
		return NULL;
	value = json_object_get(json_object_get(keys, name), "value");
	return json_is_array(value) ? json_array_get(value, 0) : value;
}

int64_t moe_gguf_int(const json_t *keys, const char *arch, const char *key, int64_t absent)
{
	const json_t *value = moe_gguf_key(keys, arch, key);
	return json_is_integer(value) ? (int64_t)json_integer_value(value) : absent;
}

double moe_gguf_f64(const json_t *keys, const char *arch, const char *key, double absent)
{
	const json_t *value = moe_gguf_key(keys, arch, key);
	return json_is_number(value) ? moe_gguf_f32_value(json_number_value(value)) : absent;
}

bool moe_gguf_put(json_t *keys, const char *arch, const char *key, const char *type, json_t *value)
{
	char name[256];
	json_t *entry = json_object();

	snprintf(name, sizeof name, "%s%s%s", arch ? arch : "", arch ? "." : "", key);
	if (!entry || !value) {
		json_decref(entry);
		json_decref(value);
		return false;
	}
	/* both calls steal their value, also when they fail */
	bool ok = !json_object_set_new(entry, "type", json_string(type));
	ok = !json_object_set_new(entry, "value", value) && ok;
	return !json_object_set_new(keys, name, entry) && ok;
}

double moe_gguf_f32_value(double stored)
{
	struct moe_buf text = {0};
	double value = stored;
	const float f = (float)stored;

	if ((double)f != stored || !isfinite(stored))
		return stored;
	for (int digits = 1; digits <= 9; digits++) {
		text.n = 0;
		moe_buf_addf(&text, "%.*e", digits - 1, stored);
		if (text.failed || !moe_parse_f64((struct moe_str){text.p, text.n}, &value)) {
			value = stored;
			break;
		}
		if ((float)value == f)
			break;
	}
	moe_buf_free(&text);
	return value;
}

static bool copy_key(json_t *config, const struct moe_key *key, const json_t *value)
{
	if (!strcmp(key->type, "f32"))
		return json_is_number(value) &&
		       !json_object_set_new(config, key->hf, json_real(moe_gguf_f32_value(json_number_value(value))));
	if (!strcmp(key->type, "bool"))
		return json_is_boolean(value) && !json_object_set_new(config, key->hf,
		                                                      json_boolean(json_is_true(value)));
	if (!strcmp(key->type, "string"))
		return json_is_string(value) &&
		       !json_object_set_new(config, key->hf, json_string(json_string_value(value)));
	return json_is_integer(value) &&
	       !json_object_set_new(config, key->hf, json_integer(json_integer_value(value)));
}

/* What no family needs to know: ids of the tokenizer, tied embeddings, the vocabulary where no key says it. */
static bool common_keys(json_t *config, const struct moe_ckpt *ckpt, const struct moe_family *family)
{
	static const char *const ids[][2] = {{"bos_token_id", "tokenizer.ggml.bos_token_id"},
	                                     {"eos_token_id", "tokenizer.ggml.eos_token_id"}};
	/* what some configs say and GGUF shows by tensors that are there */
	static const char *const told[][2] = {{"attention_bias", "blk.0.attn_q.bias"},
	                                      {"qkv_bias", "blk.0.attn_q.bias"},
	                                      {"use_qk_norm", "blk.0.attn_q_norm.weight"},
	                                      {"lm_head_bias", "output.bias"}};
	const struct moe_tensor *embed = moe_ckpt_find(ckpt, "token_embd.weight");
	json_t *names = json_array();
	bool ok = names && !json_array_append_new(names, json_string(family->architectures[0]));

	ok = !json_object_set_new(config, "architectures", names) && ok;
	ok = !json_object_set_new(config, "model_type", json_string(family->model_types[0])) && ok;
	for (int i = 0; i < 2; i++) {
		int64_t id = moe_gguf_int(ckpt->metadata, NULL, ids[i][1], -1);
		ok = !json_object_set_new(config, ids[i][0], id < 0 ? json_null() : json_integer(id)) && ok;
	}
	ok = !json_object_set_new(config, "tie_word_embeddings",
	                          json_boolean(!moe_ckpt_find(ckpt, "output.weight"))) && ok;
	for (size_t i = 0; i < sizeof told / sizeof told[0]; i++)
		ok = !json_object_set_new(config, told[i][0], json_boolean(moe_ckpt_find(ckpt, told[i][1]))) && ok;
	if (embed && embed->n_dims == 2 && !json_object_get(config, "vocab_size"))
		ok = !json_object_set_new(config, "vocab_size", json_integer(embed->dims[0])) && ok;
	return ok;
}

/* Are all stacks of experts stored in the type of this name? */
static bool experts_are(const struct moe_ckpt *ckpt, const char *codec)
{
	static const char end[] = "_exps.weight";
	size_t n = 0;

	for (size_t i = 0; codec && i < ckpt->n_tensors; i++) {
		const struct moe_tensor *t = &ckpt->tensors[i];
		const size_t n_name = strlen(t->name);

		if (n_name < sizeof end - 1 || strcmp(t->name + n_name - (sizeof end - 1), end))
			continue;
		if (strcmp(t->codec->name, codec))
			return false;
		n++;
	}
	return n > 0;
}

/* A config speaks of how files of its directory were stored; a GGUF file made of them may hold something else. */
static enum moe_status settle_quantization(json_t **config, const struct moe_ckpt *ckpt, struct moe_err *err)
{
	const json_t *q = stored_as(*config, "quantization_config");
	const char *method = json_string_value(json_object_get(q, "quant_method"));
	json_t *copy;

	if (!method || !moe_codec_by_name(method) || experts_are(ckpt, method))
		return MOE_OK;
	copy = json_deep_copy(*config);
	if (!copy)
		return moe_err_nomem(err, 64, "config");
	/* where it is not, that is no failure */
	json_object_del(copy, "quantization_config");
	json_object_del(json_object_get(copy, "text_config"), "quantization_config");
	json_decref(*config);
	*config = copy;
	return MOE_OK;
}

/* Frequencies scaled as Llama 3's: GGUF has no keys for it, only what it divides them by. The published settings are
 * tried; what they are not is refused. */
static enum moe_status read_freqs(json_t *config, const struct moe_ckpt *ckpt, struct moe_err *err)
{
	static const double high[] = {4, 1};
	const struct moe_tensor *t = moe_ckpt_find(ckpt, "rope_freqs.weight");
	const double theta = json_number_value(json_object_get(config, "rope_theta"));
	struct moe_rope rope = { .llama3 = true, .low_freq_factor = 1, .original_positions = 8192, .theta = theta };

	if (!t)
		return MOE_OK;
	const float *divisors = (const float *)(const void *)t->data;
	const int64_t n = t->n_dims == 1 ? t->dims[0] : 0;
	if (n < 1 || n > 1 << 20 || strcmp(t->codec->name, "f32") || (uintptr_t)t->data % sizeof(float) || theta <= 1)
		return moe_err_set(err, MOE_EFORMAT, "%s: tensor 'rope_freqs.weight': expected a vector of f32, at an "
		                   "offset of whole numbers, and a rope.freq_base above 1", ckpt->path);
	rope.n_dims = 2 * (int32_t)n;
	for (int64_t i = 0; i < n; i++)
		rope.factor = divisors[i] > rope.factor ? divisors[i] : rope.factor;
	for (size_t k = 0; k < sizeof high / sizeof high[0]; k++) {
		int32_t same = 0;

		rope.high_freq_factor = high[k];
		while (same < n && fabs(moe_rope_divisor(&rope, same) - divisors[same]) <= 1e-5 * divisors[same])
			same++;
		if (same < n)
			continue;
		json_t *scaling = json_pack("{s:s, s:f, s:f, s:f, s:i}", "rope_type", "llama3", "factor", rope.factor,
		                            "low_freq_factor", rope.low_freq_factor, "high_freq_factor", high[k],
		                            "original_max_position_embeddings", rope.original_positions);
		return !json_object_set_new(config, "rope_scaling", scaling) ? MOE_OK
		                                                             : moe_err_nomem(err, 64, "config");
	}
	return moe_err_set(err, MOE_EFORMAT, "%s: tensor 'rope_freqs.weight': not a scaling of frequencies that is "
	                   "known (Llama 3's and 4's); a config.json must say which", ckpt->path);
}

static enum moe_status config_from_keys(json_t **out, const struct moe_ckpt *ckpt, struct moe_err *err)
{
	const json_t *arch_value = moe_gguf_key(ckpt->metadata, NULL, "general.architecture");
	const char *arch = json_string_value(arch_value);
	const struct moe_family *family = NULL;
	enum moe_status st = MOE_OK;

	if (!arch)
		return moe_err_set(err, MOE_EFORMAT, "%s: there is no config.json and no key general.architecture: "
		                   "what model is this?", ckpt->path);
	for (size_t i = 0; families[i] && !family; i++)
		if (families[i]->gguf_arch && !strcmp(arch, families[i]->gguf_arch) &&
		    (!families[i]->gguf_is_ours || families[i]->gguf_is_ours(ckpt->metadata)))
			family = families[i];
	if (!family) {
		char known[600];

		family_list(known, sizeof known, true);
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: general.architecture '%.64s' is of none of the families with a form in "
		                   "GGUF: %s",
		                   ckpt->path, arch, known);
	}
	json_t *config = json_object();
	if (!config)
		return moe_err_nomem(err, 64, "config");
	for (const struct moe_key *key = family->keys; key->hf && !st; key++) {
		const json_t *value = moe_gguf_key(ckpt->metadata, arch, key->gguf);
		if (value && !copy_key(config, key, value))
			st = moe_err_set(err, MOE_EFORMAT, "%s: key %s.%s: expected a value of type %s", ckpt->path,
			                 arch, key->gguf, key->type);
	}
	if (!st && !common_keys(config, ckpt, family))
		st = moe_err_nomem(err, 64, "config");
	if (!st && family->hf_extra) {
		struct moe_err why = {0};

		st = family->hf_extra(config, ckpt->metadata, &why);
		if (st)
			moe_err_set(err, st, "%.300s: %s", ckpt->path, why.text);
	}
	if (!st)
		st = read_freqs(config, ckpt, err);
	if (!st && experts_are(ckpt, family->quant_method) &&
	    json_object_set_new(config, "quantization_config",
	                        json_pack("{s:s}", "quant_method", family->quant_method)))
		st = moe_err_nomem(err, 64, "config");
	if (st)
		json_decref(config);
	else
		*out = config;
	return st;
}

enum moe_status moe_config_json_of(json_t **out, const struct moe_ckpt *ckpt, bool *made, char *where,
                                   struct moe_err *err)
{
	const json_t *text = moe_gguf_key(ckpt->metadata, NULL, "moe.file.config.json");
	char name[1024];
	enum moe_status st;

	if (made)
		*made = false;
	if (ckpt->config || text)
		snprintf(name, sizeof name, "%.1000s%s", ckpt->path,
		         moe_is_dir(ckpt->path) ? "/config.json" : ": config.json");
	else
		snprintf(name, sizeof name, "%.1000s: keys", ckpt->path);
	if (where)
		memcpy(where, name, sizeof name);
	if (ckpt->config || json_is_string(text)) {
		st = MOE_OK;
		*out = ckpt->config ? json_incref(ckpt->config) : NULL;
		if (!*out)
			st = moe_json_parse(out, json_string_value(text), json_string_length(text), name, err);
		if (st || ckpt->format->naming != MOE_NAMING_GGUF)
			return st;
		st = settle_quantization(out, ckpt, err);
		if (st)
			json_decref(*out);
		return st;
	}
	if (ckpt->format->naming != MOE_NAMING_GGUF)
		return moe_err_set(err, MOE_EFORMAT, "%s: there is no config.json, so the model cannot be told",
		                   ckpt->path);
	st = config_from_keys(out, ckpt, err);
	if (made)
		*made = !st;
	return st;
}

enum moe_status moe_config_of(struct moe_config *config, const struct moe_ckpt *ckpt, struct moe_err *err)
{
	json_t *json = NULL;
	char where[1024];
	enum moe_status st;

	memset(config, 0, sizeof *config);
	st = moe_config_json_of(&json, ckpt, NULL, where, err);
	if (!st)
		st = moe_config_parse(config, json, where, err);
	json_decref(json);
	return st;
}
