/* Variants of a config that mean another computation, and those that none here stands for. */
#include <stdio.h>
#include <string.h>

#include "../tap.h"
#include "base/json.h"
#include "model/model.h"

/* text, with ' for ", parsed as a config. */
static enum moe_status parse(const char *text, struct moe_config *config, struct moe_err *err)
{
	char quoted[640];
	json_t *json = NULL;
	enum moe_status st;

	snprintf(quoted, sizeof quoted, "%s", text);
	for (char *p = quoted; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	st = moe_json_parse(&json, quoted, strlen(quoted), "case", err);
	if (!st)
		st = moe_config_parse(config, json, "config.json", err);
	json_decref(json);
	return st;
}

/* One expert a token, and weights that are to be divided by their sum: each is then its factor. */
static void one_expert(void)
{
	static const char *const types[] = {"deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa", "glm4_moe",
	                                    "exaone_moe"};

	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
		char text[160];
		struct moe_config config;
		struct moe_err err = {0};

		snprintf(text, sizeof text, "{'model_type': '%s', 'num_experts_per_tok': 1, 'norm_topk_prob': true}",
		         types[i]);
		ok(!parse(text, &config, &err) && config.router.normalize, "%s: the weight of one expert is divided by "
		   "itself %s", types[i], err.text);
		moe_config_free(&config);
	}
}

/* Keys that one writer has and another has not. */
static void other_keys(void)
{
	struct moe_config config;
	struct moe_err err = {0};

	ok(!parse("{'model_type': 'qwen3_moe', 'num_local_experts': 6, 'num_experts_per_tok': 2}", &config, &err),
	   "num_local_experts parses %s", err.text);
	is_i64(config.n_experts, 6, "as num_experts");
	moe_config_free(&config);
	ok(!parse("{'model_type': 'exaone_moe', 'num_hidden_layers': 4, "
	          "'mlp_layer_types': ['sparse', 'dense', 'sparse', 'sparse'], "
	          "'is_moe_layer': [true, false, true, true]}", &config, &err), "mlp_layer_types parses %s", err.text);
	ok(config.layers[0].ffn == MOE_FFN_MOE && config.layers[1].ffn == MOE_FFN_DENSE &&
	   config.layers[3].ffn == MOE_FFN_MOE, "and places the experts");
	moe_config_free(&config);
}

/* Scalings whose formulas are a family's own are refused elsewhere. */
static void refused(void)
{
	static const struct {
		const char *config, *words;
	} cases[] = {
		{"{'model_type': 'mixtral', 'rope_scaling': {'type': 'longrope', 'short_factor': [1], "
		 "'long_factor': [1], 'short_mscale': 1.0, 'long_mscale': 1.0}}",
		 "'longrope' is not run in this family"},
		{"{'model_type': 'mixtral', 'rope_scaling': {'type': 'dynamic', 'alpha': 1000.0}}",
		 "'dynamic' is not run in this family"},
		{"{'model_type': 'phimoe', 'rope_scaling': {'type': 'dynamic', 'alpha': 1000.0}}", "or longrope"},
		{"{'model_type': 'hunyuan_v1_moe', 'rope_scaling': {'type': 'dynamic', 'factor': 2.0}}",
		 "only run with the key alpha"},
		{"{'model_type': 'deepseek_v3', 'rope_scaling': {'type': 'llama3', 'factor': 8.0, "
		 "'low_freq_factor': 1.0, 'high_freq_factor': 4.0, 'original_max_position_embeddings': 64}}",
		 "expected none, default or yarn, found llama3"},
		{"{'model_type': 'deepseek_v3', 'rope_scaling': {'type': 'linear', 'factor': 8.0}}", "found linear"},
		{"{'model_type': 'deepseek_v3', 'rope_parameters': {'partial_rotary_factor': 0.5}}",
		 "partial_rotary_factor"},
		{"{'model_type': 'mixtral', 'rope_parameters': {'rope_type': 'default', "
		 "'partial_rotary_factor': 0.5}}", "rotates whole heads, found 0.5"},
		{"{'model_type': 'qwen3_moe', 'num_experts': 8, 'num_local_experts': 6}",
		 "num_local_experts: expected 8 as num_experts says, found 6"},
		{"{'model_type': 'exaone_moe', 'num_hidden_layers': 2, 'mlp_layer_types': ['dense']}",
		 "mlp_layer_types"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct moe_config config;
		struct moe_err err = {0};

		is_i64(parse(cases[i].config, &config, &err), MOE_EFORMAT, "%s is refused", cases[i].config);
		ok(strstr(err.text, cases[i].words) && strstr(err.text, "config.json"), "'%s' in: %s", cases[i].words,
		   err.text);
	}
}

int main(void)
{
	one_expert();
	other_keys();
	refused();
	return done();
}
