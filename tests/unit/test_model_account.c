/* Accounts of the published models against the published totals, and configs that cannot be. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../tap.h"
#include "base/json.h"
#include "model/account.h"

static const struct {
	const char *file;
	int64_t total, mtp_unique, mtp_stored, cache;
	double all, no_embed, no_both;    /* billions, three digits */
	int64_t n_tensors;
	const char *combinations;
} models[] = {
	{"deepseek-v2-lite", INT64_C(15706484224), 0, 0, 15552, 2.661, 2.451, 2.242, 5291, "74974368"},
	{"deepseek-v2", INT64_C(235741434880), 0, 0, 34560, 21.376, 20.852, 20.327, 29102, "21193254160"},
	/* 91,991 in the published FP8 files, of which 45,808 are block scales */
	{"deepseek-v3", INT64_C(671026419200), INT64_C(11610068224), INT64_C(13463426304), 35136, 37.552, 36.626,
	 35.699, 91991 - 45808, "409663695276000"},
	{"moonlight", INT64_C(15960110208), 0, 0, 15552, 2.915, 2.579, 2.244, 5317, "74974368"},
	{"kimi-k2", INT64_C(1026408232448), 0, 0, 35136, 32.862, 31.687, 30.513, -1, "10895665708319184"},
};

static void published(size_t i)
{
	char path[256];
	json_t *json = NULL;
	struct moe_config config;
	struct moe_account a;
	struct moe_err err = {0};
	int64_t roles = 0;

	snprintf(path, sizeof path, "tests/data/configs/%s.json", models[i].file);
	if (!ok(!moe_json_load(&json, path, 1 << 20, &err), "%s: reads", path))
		return;
	ok(!moe_config_parse(&config, json, path, &err), "%s: parses %s", models[i].file, err.text);
	ok(!moe_account_of(&config, &a, &err), "%s: accounts %s", models[i].file, err.text);
	is_i64(a.total, models[i].total, "%s: total", models[i].file);
	is_i64(a.mtp_unique, models[i].mtp_unique, "%s: unique MTP", models[i].file);
	is_i64(a.mtp_stored, models[i].mtp_stored, "%s: stored MTP", models[i].file);
	is_i64(a.cache_elems_token, models[i].cache, "%s: cache", models[i].file);
	if (strstr(models[i].file, "v2-lite"))
		is_close(a.flops_4k, 7.408e13, 5e9, "%s: training operations on 4096 tokens", models[i].file);
	is_close(round(a.activated / 1e6) / 1e3, models[i].all, 1e-9, "%s: activated", models[i].file);
	is_close(round(a.activated_no_embed / 1e6) / 1e3, models[i].no_embed, 1e-9, "%s: without embedding",
	         models[i].file);
	is_close(round(a.activated_no_both / 1e6) / 1e3, models[i].no_both, 1e-9, "%s: without both", models[i].file);
	if (models[i].n_tensors >= 0)
		is_i64(a.n_tensors, models[i].n_tensors, "%s: tensors", models[i].file);
	is_str(a.combinations, models[i].combinations, "%s: combinations", models[i].file);
	for (int role = 0; role < MOE_N_ROLES; role++)
		roles += a.by_role[role];
	is_i64(roles, a.total + a.mtp_stored, "%s: the roles add up", models[i].file);
	moe_config_free(&config);
	json_decref(json);
}

/* The V3 config with one value replaced. */
static enum moe_status with(const char *key, json_t *value, struct moe_config *config, struct moe_err *err)
{
	json_t *json = NULL;
	enum moe_status st = moe_json_load(&json, "tests/data/configs/deepseek-v3.json", 1 << 20, err);

	if (!st) {
		json_object_set_new(json, key, value);
		st = moe_config_parse(config, json, "config.json", err);
	}
	json_decref(json);
	return st;
}

static void refuses(const char *key, json_t *value, const char *words)
{
	struct moe_config config;
	struct moe_err err = {0};

	is_i64(with(key, value, &config, &err), MOE_EFORMAT, "%s is refused", key);
	ok(strstr(err.text, words) && strstr(err.text, "config.json"), "%s: '%s' in: %s", key, words, err.text);
}

static void unknown(void)
{
	json_t *json = json_pack("{s:s, s:[s]}", "model_type", "bert", "architectures", "BertModel");
	struct moe_config config;
	struct moe_err err = {0};

	is_i64(moe_config_parse(&config, json, "m/config.json", &err), MOE_EFORMAT, "an unknown architecture is "
	       "refused");
	ok(strstr(err.text, "BertModel") && strstr(err.text, "deepseek_v2") && strstr(err.text, "deepseek_v3"),
	   "with its name and the known ones: %s", err.text);
	json_decref(json);
}

static void hostile(void)
{
	struct moe_config config;
	struct moe_account a;
	struct moe_err err = {0};

	refuses("hidden_size", json_integer(0), "hidden_size");
	refuses("hidden_size", json_string("7168"), "hidden_size");
	refuses("num_hidden_layers", json_integer(1000000000), "num_hidden_layers");
	refuses("n_group", json_integer(7), "divisor");
	refuses("n_group", json_integer(256), "at least 2");
	refuses("topk_group", json_integer(9), "at most n_group 8");
	refuses("num_experts_per_tok", json_integer(129), "at most the 128 experts");
	refuses("qk_rope_head_dim", json_integer(63), "even");
	refuses("scoring_func", json_string("softmax"), "expected \"sigmoid\", found \"softmax\"");
	refuses("topk_method", json_string("greedy"), "noaux_tc");
	refuses("rope_scaling", json_pack("{s:s, s:f}", "type", "llama3", "factor", 8.0), "llama3");
	refuses("rope_scaling", json_pack("{s:s}", "type", "yarn"), "factor");
	refuses("rope_scaling", json_pack("{s:f}", "factor", 8.0), "without type or rope_type");
	refuses("num_key_value_heads", json_string("128"), "num_key_value_heads");
	refuses("quantization_config", json_integer(8), "quantization_config: expected an object");
	refuses("hidden_act", json_string("gelu"), "gelu");
	refuses("attention_bias", json_true(), "attention_bias");
	refuses("rms_norm_eps", json_real(-1), "rms_norm_eps");
	ok(!with("n_routed_experts", json_integer(1000000000), &config, &err), "10^9 experts parse %s", err.text);
	ok(!moe_account_of(&config, &a, &err) && a.total > INT64_C(2000000000000000000), "and are counted at once");
	is_i64(a.n_tensors, INT64_C(3) * 59 * 1000000000 + (46183 - 3 * 59 * 256), "tensors of 10^9 experts");
	is_i64((int64_t)strlen(a.combinations), 9, "combinations in scientific form: %s", a.combinations);
	moe_config_free(&config);
	ok(!with("n_routed_experts", json_integer(2147483640), &config, &err), "2^31 experts parse %s", err.text);
	config.moe_intermediate_size = INT32_MAX;
	is_i64(moe_account_of(&config, &a, &err), MOE_EFORMAT, "more than 2^63 parameters are refused");
	moe_config_free(&config);
}

static void rules(void)
{
	struct moe_config config;
	struct moe_err err = {0};
	json_t *rope = json_pack("{s:s, s:f, s:f, s:f, s:f}", "rope_type", "yarn", "factor", 40.0, "rope_theta", 500.0,
	                         "mscale", 1.0, "mscale_all_dim", 0.5);
	json_t *json = NULL;

	ok(!with("rope_parameters", rope, &config, &err), "rope_parameters parse %s", err.text);
	ok(config.rope.yarn && config.rope.theta == 500 && config.rope.mscale_all_dim == 0.5, "and are read");
	ok(config.layers[2].ffn == MOE_FFN_DENSE && config.layers[3].ffn == MOE_FFN_MOE && config.layers[61].mtp,
	   "three dense layers, then experts, MTP last");
	is_str(config.router.policy, "noaux_tc", "V3's policy");
	moe_config_free(&config);
	ok(!with("rope_parameters", json_pack("{s:f}", "rope_theta", 500.0), &config, &err) && config.rope.theta == 500,
	   "rope_parameters of rope_theta alone parse %s", err.text);
	moe_config_free(&config);
	ok(!with("model_type", json_string("kimi_k9"), &config, &err), "of model_type and architectures one is enough");
	ok(config.router.normalize && config.router.scale == 2.5 && config.router.bias, "V3 normalises and scales");
	moe_config_free(&config);
	ok(!with("num_experts_per_tok", json_integer(1), &config, &err) && !config.router.normalize,
	   "one expert is not normalised");
	moe_config_free(&config);

	ok(!moe_json_load(&json, "tests/data/configs/deepseek-v2.json", 1 << 20, &err), "V2 reads");
	ok(!moe_config_parse(&config, json, "v2", &err) && config.router.scale == 16 && !config.router.normalize &&
	   config.router.n_groups == 8 && config.router.top_groups == 3, "V2 scales");
	is_str(config.router.policy, "group_limited", "V2's policy");
	moe_config_free(&config);
	json_object_set_new(json, "norm_topk_prob", json_true());
	json_object_set_new(json, "topk_method", json_string("greedy"));
	ok(!moe_config_parse(&config, json, "v2", &err) && config.router.scale == 1 && config.router.normalize &&
	   config.router.n_groups == 1, "or normalises; greedy has one group");
	moe_config_free(&config);
	json_decref(json);
}

int main(void)
{
	for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
		published(i);
	rules();
	hostile();
	unknown();
	return done();
}
