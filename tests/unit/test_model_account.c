/* Accounts of the published models against the published totals, and configs that cannot be. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../tap.h"
#include "base/json.h"
#include "model/account.h"

static const struct {
	const char *file;
	int64_t total, mtp_unique, mtp_stored, cache;
	double all, no_embed, no_both;    /* billions, three digits */
	int64_t n_tensors, n_bytes;
	const char *combinations;
} models[] = {
	{ "deepseek-v2-lite", INT64_C(15706484224), 0, 0, 15552, 2.661, 2.451, 2.242, 5291, 0, "74974368" },
	{ "deepseek-v2", INT64_C(235741434880), 0, 0, 34560, 21.376, 20.852, 20.327, 29102, 0, "21193254160" },
	/* as published: of the 91,991 tensors 45,808 are block scales */
	{ "deepseek-v3", INT64_C(671026419200), INT64_C(11610068224), INT64_C(13463426304), 35136, 37.552, 36.626,
	  35.699, 91991, INT64_C(688574839360), "409663695276000" },
	{ "moonlight", INT64_C(15960110208), 0, 0, 15552, 2.915, 2.579, 2.244, 5317, 0, "74974368" },
	{ "kimi-k2", INT64_C(1026408232448), 0, 0, 35136, 32.862, 31.687, 30.513, 69975, 0, "10895665708319184" },
	{ "deepseek-moe-16b", INT64_C(16375728128), 0, 0, 114688, 2.829, 2.619, 2.409, 5466, INT64_C(32751456256),
	  "74974368" },
	{ "mixtral-8x7b", INT64_C(46702792704), 0, 0, 65536, 12.880, 12.749, 12.618, 995, INT64_C(93405585408),
	  "28" },
	{ "qwen1.5-moe-a2.7b", INT64_C(14315784192), 0, 0, 98304, 2.689, 2.378, 2.067, 4659, INT64_C(28631568384),
	  "487635" },
	{ "qwen3-30b-a3b", INT64_C(30532122624), 0, 0, 49152, 3.353, 3.042, 2.731, 18867, INT64_C(61064245248),
	  "1429702652400" },
	{ "olmoe-1b-7b", INT64_C(6919161856), 0, 0, 65536, 1.282, 1.179, 1.076, 3219, INT64_C(13838323712),
	  "4426165368" },
	/* the text models: all experts of a layer share two tensors */
	{ "llama-4-scout", INT64_C(107769861120), 0, 0, 98304, 17.173, 16.138, 15.104, 579, INT64_C(215539722240),
	  "16" },
	{ "llama-4-maverick", INT64_C(400711848960), 0, 0, 98304, 17.185, 16.150, 15.116, 507, INT64_C(801423697920),
	  "128" },
	/* 17,925 tensors and the 404 of the MTP layer; correction biases, one in each of 46 layers, are F32 */
	{ "glm-4.5-air", INT64_C(106852251264), INT64_C(2375059584), INT64_C(3616573568), 94208, 13.424, 12.803,
	  12.183, 17925 + 404, INT64_C(2) * (INT64_C(106852251264) + INT64_C(3616573568)) + 46 * 128 * 2,
	  "1429702652400" },
	/* MXFP4 experts: half a byte a number and a byte for every 32; the rest BF16 */
	{ "gpt-oss-20b", INT64_C(20914757184), 0, 0, 24576, 4.187, 3.608, 3.029, 459, INT64_C(13761264768), "35960" },
	{ "gpt-oss-120b", INT64_C(116829156672), 0, 0, 36864, 5.712, 5.133, 4.554, 687, INT64_C(65248815744),
	  "10668000" },
	{ "granite-3.0-1b-a400m", INT64_C(1334628352), 0, 0, 24576, 0.429, 0.429, 0.378, 218, INT64_C(2669256704),
	  "10518300" },
	{ "phi-3.5-moe", INT64_C(41873153344), 0, 0, 65536, 6.641, 6.510, 6.378, 1957, INT64_C(83746306688), "120" },
	/* eight tensors a layer, q, k and v in one and experts in three */
	{ "dbrx", INT64_C(131596523520), 0, 0, 81920, 36.470, 35.853, 35.237, 323, INT64_C(263193047040), "1820" },
	/* routers and their biases are F32 */
	{ "ernie-4.5-21b-a3b", INT64_C(21825437888), 0, 0, 28672, 3.352, 3.352, 3.087, 5492,
	  INT64_C(43650875776) + 27 * (64 * 2560 + 64) * 2, "74974368" },
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
	/* with the true widths, without the router */
	if (strstr(models[i].file, "moe-16b"))
		is_close(a.flops_4k, 75817983934464.0, 1, "%s: training operations on 4096 tokens", models[i].file);
	/* every second layer has a window of 128 */
	if (strstr(models[i].file, "gpt-oss-20b"))
		is_close(a.flops_4k, 98799615737856, 0, "%s: training operations on 4096 tokens", models[i].file);
	is_close(round(a.activated / 1e6) / 1e3, models[i].all, 1e-9, "%s: activated", models[i].file);
	is_close(round(a.activated_no_embed / 1e6) / 1e3, models[i].no_embed, 1e-9, "%s: without embedding",
	         models[i].file);
	is_close(round(a.activated_no_both / 1e6) / 1e3, models[i].no_both, 1e-9, "%s: without both", models[i].file);
	if (models[i].n_tensors >= 0)
		is_i64(a.n_tensors, models[i].n_tensors, "%s: tensors", models[i].file);
	is_i64(a.n_bytes, models[i].n_bytes, "%s: bytes", models[i].file);
	is_str(a.combinations, models[i].combinations, "%s: combinations", models[i].file);
	for (int role = 0; role < MOE_N_ROLES; role++)
		roles += a.by_role[role];
	is_i64(roles, a.total + a.mtp_stored, "%s: the roles add up", models[i].file);
	moe_config_free(&config);
	json_decref(json);
}

/* Families whose defaults are a release: a config that says no more than its type. */
static void defaults(void)
{
	static const struct {
		const char *type;
		int64_t total;
		double all, no_embed, no_both;    /* billions, two digits */
	} families[] = {
		{"minimax_m2", INT64_C(228689764864), 11.03, 10.42, 9.80},
		{"glm4_moe_lite", INT64_C(29943393920), 3.90, 3.58, 3.26},
		{"exaone_moe", INT64_C(236571156352), 23.67, 22.72, 21.78},
		{"deepseek_v32", INT64_C(671877944064), 38.40, 37.48, 36.55},
		{"glm_moe_dsa", INT64_C(743911218432), 41.78, 40.83, 39.88},
	};

	for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
		json_t *json = json_pack("{s:s}", "model_type", families[i].type);
		struct moe_config config;
		struct moe_account a = {0};
		struct moe_err err = {0};

		ok(!moe_config_parse(&config, json, "config.json", &err) && !moe_account_of(&config, &a, &err),
		   "%s: its defaults are a model %s", families[i].type, err.text);
		is_i64(a.total, families[i].total, "%s: total", families[i].type);
		is_i64(a.n_bytes, 0, "%s: bytes unknown", families[i].type);
		is_close(round(a.activated / 1e7) / 1e2, families[i].all, 1e-9, "%s: activated", families[i].type);
		is_close(round(a.activated_no_embed / 1e7) / 1e2, families[i].no_embed, 1e-9, "%s: without embedding",
		         families[i].type);
		is_close(round(a.activated_no_both / 1e7) / 1e2, families[i].no_both, 1e-9, "%s: without both",
		         families[i].type);
		moe_config_free(&config);
		json_decref(json);
	}
}

/* Operations on 4096 tokens as DeepSeekMoE's report counts them: s (6 N_mm + 12 L d s), s = 4096, with nominal widths,
 * H head_dim = d. A feed-forward network of 8 d^2 elements is 8 d / 3 wide, which rounds: hence the tolerance. */
static void flops(void)
{
	static const struct {
		const char *name;
		int n_layers, width, vocab, dense, n_experts, top_k, n_shared, expert;
		double tera;
	} nominal[] = {
		{"LLaMA2-7B", 32, 4096, 32000, 10923, 0, 0, 0, 0, 187.94},
		{"DeepSeek-7B", 30, 4096, 102400, 10923, 0, 0, 0, 0, 183.48},
		{"DeepSeek-67B", 95, 8192, 102400, 21845, 0, 0, 0, 0, 2057.46},
		{"DeepSeekMoE-16B", 28, 2048, 102400, 1, 64, 6, 2, 1365, 74.42},
		{"GShard-137B", 62, 4096, 102400, 1, 16, 2, 0, 10923, 572.71},
		{"DeepSeekMoE-145B", 62, 4096, 102400, 1, 128, 12, 4, 1408, 585.49},
		{"DeepSeekMoE-142B", 62, 4096, 102400, 1, 128, 6, 2, 1408, 374.59},
	};

	for (size_t i = 0; i < sizeof nominal / sizeof nominal[0]; i++) {
		json_t *json =
		    json_pack("{s:s, s:i, s:i, s:i, s:i, s:i}", "model_type", "deepseek", "num_hidden_layers",
		              nominal[i].n_layers, "hidden_size", nominal[i].width, "vocab_size", nominal[i].vocab,
		              "num_attention_heads", nominal[i].width / 128, "intermediate_size", nominal[i].dense);
		struct moe_config config;
		struct moe_account a = {0};
		struct moe_err err = {0};

		if (nominal[i].n_experts > 0)
			json_object_update_new(json,
			                       json_pack("{s:i, s:i, s:i, s:i}", "n_routed_experts",
			                                 nominal[i].n_experts, "num_experts_per_tok",
			                                 nominal[i].top_k, "n_shared_experts", nominal[i].n_shared,
			                                 "moe_intermediate_size", nominal[i].expert));
		ok(!moe_config_parse(&config, json, "config.json", &err) && !moe_account_of(&config, &a, &err),
		   "%s: its nominal widths are a model %s", nominal[i].name, err.text);
		is_close(a.flops_4k / 1e12, nominal[i].tera, 0.015 + nominal[i].tera * 1e-5,
		         "%s: training operations on 4096 tokens, 10^12", nominal[i].name);
		moe_config_free(&config);
		json_decref(json);
	}
}

/* Layers that read a part of what is there; numbers computed apart from this program, shape by shape. V3.2: N is
 * 37,369,675,776 and attention 61 (40,960 2048 + 8256 4096) products a token, where V3's is 61 40,960 4096. */
static void partial_flops(void)
{
	static const struct {
		const char *what, *config;
		double flops;
	} models[] = {
		{"V3.2", "{\"model_type\": \"deepseek_v32\"}", 1094849440776192},
		{"V3.2 with top-k 4095", "{\"model_type\": \"deepseek_v32\", \"index_topk\": 4095}", 1220544678592512},
		{"V3.2 with top-k 4096", "{\"model_type\": \"deepseek_v32\", \"index_topk\": 4096}", 1169910436724736},
		{"GLM-5", "{\"model_type\": \"glm_moe_dsa\"}", 1161641550938112},
		{"GLM-5.2", "{\"model_type\": \"glm_moe_dsa\", \"index_topk_freq\": 4, \"index_skip_topk_offset\": 3}",
		 1124827775631360},
	};

	for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
		json_t *json = json_loads(models[i].config, 0, NULL);
		struct moe_config config;
		struct moe_account a = {0};
		struct moe_err err = {0};

		ok(!moe_config_parse(&config, json, "config.json", &err) && !moe_account_of(&config, &a, &err),
		   "%s: a model %s", models[i].what, err.text);
		is_close(a.flops_4k, models[i].flops, 0, "%s: training operations on 4096 tokens", models[i].what);
		moe_config_free(&config);
		json_decref(json);
	}
}

/* GLM-5.2's indexers: 21 layers of 78 have their own, whichever way a config says so; an indexer has 9,371,904 numbers,
 * and caches 128 a token. */
static void indexers(void)
{
	static const char *const ways[] = {"index_topk_freq", "index_topk_pattern", "a list of letters",
	                                   "indexer_types"};

	for (int way = 0; way < 4; way++) {
		json_t *json = json_pack("{s:s}", "model_type", "glm_moe_dsa"), *words = json_array();
		char letters[79] = "";
		struct moe_config config;
		struct moe_account a = {0};
		struct moe_err err = {0};

		for (int l = 0; l < 78; l++) {
			const bool own = l < 2 || l % 4 == 2;

			letters[l] = own ? 'F' : 'S';
			json_array_append_new(words, json_string(way == 2 ? (own ? "F" : "S")
			                                         : own    ? "full"
			                                                  : "shared"));
		}
		if (way == 0)
			json_object_update_new(json, json_pack("{s:i, s:i}", "index_topk_freq", 4,
			                                       "index_skip_topk_offset", 3));
		else
			json_object_set_new(json, way < 3 ? "index_topk_pattern" : "indexer_types",
			                    way == 1 ? json_string(letters) : json_incref(words));
		ok(!moe_config_parse(&config, json, "config.json", &err) && !moe_account_of(&config, &a, &err),
		   "%s: a model %s", ways[way], err.text);
		is_i64(a.total, INT64_C(743911218432) - 57 * INT64_C(9371904), "%s: 57 layers without an indexer",
		       ways[way]);
		is_i64(a.cache_elems_token, 78 * 576 + 21 * 128, "%s: cache", ways[way]);
		moe_config_free(&config);
		json_decref(words);
		json_decref(json);
	}
}

/* The same text model inside a multimodal config. */
static void nested(void)
{
	json_t *text = NULL, *json;
	struct moe_config config;
	struct moe_account a = {0};
	struct moe_err err = {0};

	ok(!moe_json_load(&text, "tests/data/configs/kimi-k2.json", 1 << 20, &err), "Kimi K2 reads");
	json = json_pack("{s:s, s:o}", "model_type", "kimi_k25", "text_config", text);
	ok(!moe_config_parse(&config, json, "config.json", &err) && !moe_account_of(&config, &a, &err),
	   "and is the text model of a K2.5 %s", err.text);
	is_i64(a.total, INT64_C(1026408232448), "with the same total");
	moe_config_free(&config);
	json_decref(json);
}

/* C(n, k) of a DeepSeekMoE config. */
static void chooses(int n, int k, const char *text)
{
	json_t *json =
	    json_pack("{s:s, s:i, s:i}", "model_type", "deepseek", "n_routed_experts", n, "num_experts_per_tok", k);
	struct moe_config config;
	struct moe_account a = {0};
	struct moe_err err = {0};

	ok(!moe_config_parse(&config, json, "config.json", &err) && !moe_account_of(&config, &a, &err),
	   "%d of %d experts parse %s", k, n, err.text);
	is_str(a.combinations, text, "ways to choose %d of %d experts", k, n);
	moe_config_free(&config);
	json_decref(json);
}

static void combinations(void)
{
	chooses(16, 2, "120");            /* the example of DeepSeekMoE's report, */
	chooses(64, 8, "4426165368");     /* and the same with experts of a quarter of the width */
	chooses(1, 1, "1");
	chooses(7, 7, "1");
	chooses(128, 64, "23951146041928082866135587776380551750");
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

/* What a config of another family must not say. */
static void variants(void)
{
	static const struct {
		const char *config, *words;
	} cases[] = {
		{"{'model_type': 'llama', 'mlp_bias': true}", "mlp_bias: expected false"},
		{"{'model_type': 'mixtral', 'architectures': ['DeepseekV3ForCausalLM']}",
		 "model_type 'mixtral' is mixtral, but architecture 'DeepseekV3ForCausalLM' is deepseek_v3"},
		{"{'model_type': 'mixtral', 'architectures': [7]}", "expected a list of names, found 7"},
		{"{'model_type': 'mixtral\\u0000x'}", "'model_type' should be a string without NUL"},
		{"{'model_type': 'qwen2_moe', 'mlp_only_layers': [1, 'x']}", "entry 1: expected a layer, found \"x\""},
		{"{'model_type': 'ernie4_5_moe', 'moe_k': 65}", "moe_k: expected 1 to the 64 experts, found 65"},
		{"{'model_type': 'hunyuan_v1_moe', 'moe_topk': 2}", "moe_topk: expected 1 to the 1 experts, found 2"},
		{"{'model_type': 'llama4', 'attn_temperature_tuning': 'x'}", "found \"x\""},
		{"{'model_type': 'llama4', 'num_hidden_layers': 1, 'no_rope_layers': [2]}", "expected 0 or 1, found 2"},
		{"{'model_type': 'llama4', 'moe_layers': [48]}", "expected one of the 48 layers, found 48"},
		{"{'model_type': 'llama4', 'text_config': []}", "expected an object, found an array of 0"},
		{"{'model_type': 'gpt_oss', 'num_hidden_layers': 1, 'layer_types': [null]}",
		 "\"full_attention\", found null"},
		{"{'model_type': 'dbrx', 'ffn_config': 'x'}", "ffn_config: expected an object, found \"x\""},
		{"{'model_type': 'llama', 'hidden_act': 'gelu'}", "gelu"},
		{"{'model_type': 'llama', 'rope_scaling': {'type': 'dynamic', 'factor': 2.0}}",
		 "'dynamic' is not run in this family"},
		{"{'model_type': 'qwen2', 'use_sliding_window': true}", "use_sliding_window"},
		{"{'model_type': 'qwen3', 'num_hidden_layers': 2, "
		 "'layer_types': ['full_attention', 'sliding_attention']}",
		 "layer 1: expected \"full_attention\""},
		{"{'model_type': 'qwen3', 'num_hidden_layers': 2, 'layer_types': ['full_attention']}",
		 "a list of 2 words"},
		{"{'model_type': 'qwen3', 'attention_bias': true}", "attention_bias"},
		{"{'model_type': 'minimax_m2', 'scoring_func': 'softmax'}",
		 "expected \"sigmoid\", found \"softmax\""},
		{"{'model_type': 'minimax_m2', 'qk_norm_type': 'per_head'}", "per_layer"},
		{"{'model_type': 'minimax_m2', 'rotary_dim': 130}", "rotary_dim"},
		{"{'model_type': 'minimax_m2', 'shared_intermediate_size': 64}", "shared_intermediate_size"},
		{"{'model_type': 'hunyuan_v1_moe', 'num_hidden_layers': 2, 'num_experts': 8, 'moe_topk': [2, 3]}",
		 "the same number in every layer, found 3 in layer 1"},
		{"{'model_type': 'hunyuan_v1_moe', 'num_hidden_layers': 2, 'moe_topk': [2]}", "a list of 2"},
		{"{'model_type': 'hunyuan_v1_moe', 'use_cla': true}", "use_cla"},
		{"{'model_type': 'hunyuan_v1_moe', 'rope_scaling': {'type': 'dynamic', 'alpha': 0.5}}", "alpha"},
		{"{'model_type': 'exaone_moe', 'sliding_window_pattern': 'LXG'}", "letters L and G, found \"LXG\""},
		{"{'model_type': 'exaone_moe', 'sliding_window_pattern': ''}", "letters L and G, found \"\""},
		{"{'model_type': 'exaone_moe', 'sliding_window_pattern': [4]}", "letters L and G, found an array of 1"},
		{"{'model_type': 'exaone_moe', 'num_hidden_layers': 1, 'is_moe_layer': [false, false]}",
		 "is_moe_layer: expected a list of 1, one for each layer, found an array of 2"},
		{"{'model_type': 'exaone_moe', 'is_moe_layer': true}", "is_moe_layer: expected a list of 48"},
		{"{'model_type': 'exaone_moe', 'num_hidden_layers': 1, 'is_moe_layer': [true]}",
		 "is_moe_layer: layer 0"},
		{"{'model_type': 'exaone_moe', 'num_hidden_layers': 1, 'layer_types': ['sliding_attention']}",
		 "sliding_window: missing"},
		{"{'model_type': 'deepseek_v32', 'q_lora_rank': null}", "the indexer reads"},
		{"{'model_type': 'deepseek_v32', 'index_head_dim': 62}",
		 "index_head_dim: expected at least qk_rope_head_dim 64"},
		{"{'model_type': 'deepseek_v32', 'index_topk': 0}", "index_topk"},
		{"{'model_type': 'glm_moe_dsa', 'indexer_types': ['full']}", "a list of 78 words"},
		{"{'model_type': 'glm_moe_dsa', 'num_hidden_layers': 2, 'indexer_types': ['shared', 'full']}",
		 "layer 0 shares"},
		{"{'model_type': 'glm_moe_dsa', 'num_hidden_layers': 2, 'index_topk_pattern': 'FSF'}",
		 "found \"FSF\""},
		{"{'model_type': 'glm_moe_dsa', 'num_hidden_layers': 2, 'index_topk_pattern': 'FX'}", "found \"FX\""},
		{"{'model_type': 'glm_moe_dsa', 'num_hidden_layers': 2, 'index_topk_pattern': 7}", "a list of 2 words"},
		{"{'model_type': 'glm_moe_dsa', 'index_topk_freq': 0}", "index_topk_freq"},
		{"{'model_type': 'glm4_moe_lite', 'partial_rotary_factor': 0.5}", "partial_rotary_factor"},
		{"{'model_type': 'glm4_moe_lite', 'rope_parameters': {'partial_rotary_factor': 0.5}}",
		 "partial_rotary_factor: expected a number from 1 to 1, found 0.5"},
		{"{'model_type': 'glm4_moe', 'partial_rotary_factor': 0}", "from 0.001 to 1, found 0"},
		{"{'model_type': 'glm4_moe', 'head_dim': 6}", "even number of rotated dimensions, found 3"},
		{"{'model_type': 'glm4_moe', 'partial_rotary_factor': 0.5, "
		 "'rope_parameters': {'partial_rotary_factor': 0.25, 'rope_theta': 1e4}}",
		 "partial_rotary_factor: found 0.5 and, in rope_parameters, 0.25"},
		{"{'model_type': 'minimax_m2', 'rotary_dim': 32, 'partial_rotary_factor': 0.5}",
		 "expected 32 of head_dim 128, which another key says, found 0.5"},
		{"{'model_type': 'mixtral', 'rope_scaling': {'type': 'yarn', 'rope_type': 'default', 'factor': 4}}",
		 "of type \"yarn\" and, by another key, of \"default\""},
		{"{'model_type': 'mixtral', 'rope_scaling': {'type': 'yarn', 'factor': 4}, "
		 "'rope_parameters': {'rope_type': 'default', 'rope_theta': 1e4}}",
		 "of type \"yarn\" and, by another key, of \"default\""},
		{"{'model_type': 'glm4_moe_lite', 'num_hidden_layers': 1, 'mlp_layer_types': ['moe']}",
		 "expected \"dense\" or \"sparse\", found \"moe\""},
		{"{'model_type': 'kimi_k25'}", "text_config: expected an object"},
		{"{'model_type': 'kimi_k25', 'text_config': {'model_type': 'llama'}}", "text_config: model_type"},
		{"{'model_type': 'kimi_k25', "
		 "'text_config': {'quantization_config': {'quant_method': 'compressed-tensors'}}}",
		 "compressed-tensors"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[512];
		struct moe_config config;
		struct moe_err err = {0};
		json_t *json = NULL;

		snprintf(text, sizeof text, "%s", cases[i].config);
		for (char *p = text; *p; p++)
			*p = *p == '\'' ? '"' : *p;
		ok(!moe_json_parse(&json, text, strlen(text), "case", &err), "%s reads", cases[i].config);
		is_i64(moe_config_parse(&config, json, "config.json", &err), MOE_EFORMAT, "and is refused");
		ok(strstr(err.text, cases[i].words) && strstr(err.text, "config.json"), "'%s' in: %s", cases[i].words,
		   err.text);
		json_decref(json);
	}
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
	refuses("quantization_config", json_pack("{s:s}", "quant_method", "gptq"), "expected \"fp8\", found \"gptq\"");
	refuses("quantization_config", json_pack("{s:s, s:s}", "quant_method", "fp8", "fmt", "e5m2"), "e5m2");
	refuses("quantization_config", json_pack("{s:s, s:[i, i]}", "quant_method", "fp8", "weight_block_size", 1, 128),
	        "weight_block_size: expected [128, 128]");
	refuses("quantization_config", json_pack("{s:s}", "quant_method", "fp8"), "weight_block_size");
	refuses("quantization_config", json_string("fp8"), "expected an object");
	ok(!with("n_routed_experts", json_integer(1000000000), &config, &err), "10^9 experts parse %s", err.text);
	ok(!moe_account_of(&config, &a, &err) && a.total > INT64_C(2000000000000000000), "and are counted at once");
	is_i64(a.n_tensors, INT64_C(6) * 59 * 1000000000 + (91991 - 6 * 59 * 256), "tensors of 10^9 experts");
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

/* A config of so few keys parses, or the test ends. */
static void parse_text(const char *text, struct moe_config *config)
{
	struct moe_err err = {0};
	json_t *json = json_loads(text, 0, NULL);
	const enum moe_status st = moe_config_parse(config, json, "config.json", &err);

	json_decref(json);
	if (!ok(st == MOE_OK, "%s parses %s", text, err.text))
		exit(done());
}

/* How much of a head is rotated, wherever it is said. */
static void shares(void)
{
	static const struct {
		const char *config;
		int32_t n_dims;
	} cases[] = {
		{"{\"model_type\": \"glm4_moe\"}", 64},
		{"{\"model_type\": \"glm4_moe\", \"partial_rotary_factor\": 1}", 128},
		{"{\"model_type\": \"glm4_moe\", \"rope_parameters\": {\"partial_rotary_factor\": 0.25, "
		 "\"rope_theta\": 1e6}}", 32},
		{"{\"model_type\": \"minimax_m2\"}", 128},
		{"{\"model_type\": \"minimax_m2\", \"rotary_dim\": 32}", 32},
		{"{\"model_type\": \"minimax_m2\", \"rotary_dim\": 32, \"rope_parameters\": "
		 "{\"partial_rotary_factor\": 0.25, \"rope_type\": \"default\"}}", 32},
		{"{\"model_type\": \"mixtral\"}", 128},
		{"{\"model_type\": \"dbrx\"}", 128},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct moe_config config;

		parse_text(cases[i].config, &config);
		is_i64(config.rope.n_dims, cases[i].n_dims, "dimensions rotated");
		moe_config_free(&config);
	}
}

/* Numbers at the ends of their ranges, and lists far longer than any model's: neither breaks, and both are quick. */
static void extremes(void)
{
	static const int32_t n = 100000, n_letters = 2000000;
	const clock_t begin = clock();
	struct moe_config config;
	struct moe_err err = {0};
	char *letters = malloc((size_t)n_letters + 1);
	json_t *json, *list = json_array();

	parse_text("{\"model_type\": \"ernie4_5_moe\", \"moe_layer_end_index\": 2147483647}", &config);
	ok(config.layers[0].ffn == MOE_FFN_DENSE && config.layers[27].ffn == MOE_FFN_MOE, "experts to the last layer");
	moe_config_free(&config);
	parse_text("{\"model_type\": \"ernie4_5_moe\", \"moe_layer_end_index\": 2}", &config);
	ok(config.layers[2].ffn == MOE_FFN_MOE && config.layers[3].ffn == MOE_FFN_DENSE, "and to another");
	moe_config_free(&config);

	memset(letters, 'L', (size_t)n_letters);
	letters[n_letters] = '\0';
	json = json_pack("{s:s, s:i, s:s}", "model_type", "exaone_moe", "num_hidden_layers", n,
	                 "sliding_window_pattern", letters);
	ok(!moe_config_parse(&config, json, "config.json", &err), "a pattern of %d letters %s", n_letters, err.text);
	moe_config_free(&config);
	json_decref(json);
	free(letters);

	for (int32_t i = 0; i < n_letters; i++)
		json_array_append_new(list, json_integer(i == 5 ? 7 : -1));
	json = json_pack("{s:s, s:i, s:o}", "model_type", "qwen3_moe", "num_hidden_layers", n, "mlp_only_layers", list);
	ok(!moe_config_parse(&config, json, "config.json", &err), "a list of %d layers %s", n_letters, err.text);
	ok(config.layers[6].ffn == MOE_FFN_MOE && config.layers[7].ffn == MOE_FFN_DENSE, "and is obeyed");
	moe_config_free(&config);
	json_decref(json);
	ok((double)(clock() - begin) / CLOCKS_PER_SEC < 10, "in less than ten seconds");
}

int main(void)
{
	for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
		published(i);
	defaults();
	indexers();
	nested();
	flops();
	partial_flops();
	combinations();
	rules();
	hostile();
	variants();
	shares();
	extremes();
	unknown();
	return done();
}
