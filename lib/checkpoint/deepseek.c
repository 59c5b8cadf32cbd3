/* Names and configurations of DeepSeek's own inference layout. Source: inference/convert.py and inference/model.py of
 * DeepSeek-V3 and of DeepSeek-V3.2-Exp. */
#include "checkpoint/deepseek.h"

#include <math.h>
#include <string.h>

#include "base/json.h"

/* The part of a name that says which layer's module it is. */
static const struct {
	const char *published, *own;
	enum moe_cut cut;
} modules[] = {
	{"embed_tokens", "embed", MOE_CUT_ROWS},
	{"input_layernorm", "attn_norm", MOE_CUT_NONE},
	{"post_attention_layernorm", "ffn_norm", MOE_CUT_NONE},
	{"q_proj", "wq", MOE_CUT_ROWS},
	{"q_a_proj", "wq_a", MOE_CUT_NONE},
	{"q_a_layernorm", "q_norm", MOE_CUT_NONE},
	{"q_b_proj", "wq_b", MOE_CUT_ROWS},
	{"kv_a_proj_with_mqa", "wkv_a", MOE_CUT_NONE},
	{"kv_a_layernorm", "kv_norm", MOE_CUT_NONE},
	{"kv_b_proj", "wkv_b", MOE_CUT_ROWS},
	{"o_proj", "wo", MOE_CUT_COLS},
	{"gate", "gate", MOE_CUT_NONE},
	{"gate_proj", "w1", MOE_CUT_ROWS},
	{"down_proj", "w2", MOE_CUT_COLS},
	{"up_proj", "w3", MOE_CUT_ROWS},
	{"norm", "norm", MOE_CUT_NONE},
	{"lm_head", "head", MOE_CUT_ROWS},
};

/* The indexer's modules, called alike in both. */
static const char *const of_indexer[] = {"wq_b", "wk", "k_norm", "weights_proj"};

#define N_MODULES (sizeof modules / sizeof modules[0])
#define N_INDEXER (sizeof of_indexer / sizeof of_indexer[0])

enum { MOST_WORDS = 12 };

/* The words between the dots of a name; 0: too many. */
static int words_of(const char *name, struct moe_str words[MOST_WORDS])
{
	struct moe_str rest = moe_str_of(name);
	int n = 0;

	while (rest.n && n < MOST_WORDS && moe_str_next(&rest, '.', &words[n]))
		n++;
	return rest.n ? 0 : n;
}

static bool in_indexer(const struct moe_str *words, int n)
{
	return n >= 3 && moe_str_eq(words[n - 3], "indexer");
}

static bool is_indexer_module(struct moe_str word)
{
	for (size_t i = 0; i < N_INDEXER; i++)
		if (moe_str_eq(word, of_indexer[i]))
			return true;
	return false;
}

static void add_word(struct moe_buf *out, const char *dot, struct moe_str word, const char *from, const char *to)
{
	moe_buf_adds(out, dot);
	if (moe_str_eq(word, from))
		moe_buf_adds(out, to);
	else
		moe_buf_add(out, word.p, word.n);
}

bool moe_deepseek_name(const char *published, struct moe_buf *own, enum moe_cut *cut)
{
	struct moe_str words[MOST_WORDS];
	const int n = words_of(published, words);
	const int first = n > 0 && moe_str_eq(words[0], "model");
	const bool indexer = in_indexer(words, n);
	const char *module = NULL, *dot = "";

	if (n - first < 2 || (!first && !moe_str_eq(words[0], "lm_head")))
		return false;
	*cut = MOE_CUT_NONE;
	for (size_t i = 0; i < N_MODULES && !indexer; i++)
		if (moe_str_eq(words[n - 2], modules[i].published))
			module = modules[i].own, *cut = modules[i].cut;
	if (!module && !(indexer && is_indexer_module(words[n - 2])))
		return false;
	for (int i = first; i < n - 2; i++) {
		if (moe_str_eq(words[i], "experts"))
			*cut = MOE_CUT_EXPERTS;
		add_word(own, dot, words[i], moe_str_eq(words[i], "mlp") ? "mlp" : "self_attn",
		         moe_str_eq(words[i], "mlp") ? "ffn" : "attn");
		dot = ".";
	}
	moe_buf_adds(own, dot);
	if (module)
		moe_buf_adds(own, module);
	else
		moe_buf_add(own, words[n - 2].p, words[n - 2].n);
	if (moe_str_eq(words[n - 1], "e_score_correction_bias"))
		moe_buf_adds(own, ".bias");
	else
		add_word(own, ".", words[n - 1], "weight_scale_inv", "scale");
	return true;
}

void moe_deepseek_published(const char *own, struct moe_buf *published)
{
	struct moe_str words[MOST_WORDS];
	const int n = words_of(own, words);
	const bool indexer = in_indexer(words, n);
	const char *module = NULL;

	for (size_t i = 0; n >= 2 && i < N_MODULES && !indexer; i++)
		if (moe_str_eq(words[n - 2], modules[i].own))
			module = modules[i].published;
	if (!module && !(indexer && is_indexer_module(words[n - 2]))) {
		moe_buf_adds(published, own);
		return;
	}
	moe_buf_adds(published, n == 2 && !strcmp(module ? module : "", "lm_head") ? "" : "model.");
	for (int i = 0; i < n - 2; i++) {
		add_word(published, "", words[i], moe_str_eq(words[i], "ffn") ? "ffn" : "attn",
		         moe_str_eq(words[i], "ffn") ? "mlp" : "self_attn");
		moe_buf_addc(published, '.');
	}
	if (module)
		moe_buf_adds(published, module);
	else
		moe_buf_add(published, words[n - 2].p, words[n - 2].n);
	if (module && !strcmp(module, "gate") && moe_str_eq(words[n - 1], "bias"))
		moe_buf_adds(published, ".e_score_correction_bias");
	else
		add_word(published, ".", words[n - 1], "scale", "weight_scale_inv");
}

/* ---- configurations ---- */

/* Whole numbers that only change their name; those without a default must be there. */
static const struct {
	const char *args, *config;
	int64_t otherwise;   /* as the program has it; -1: it must be given */
} numbers[] = {
	{"vocab_size", "vocab_size", -1},
	{"dim", "hidden_size", -1},
	{"n_layers", "num_hidden_layers", -1},
	{"n_heads", "num_attention_heads", -1},
	{"n_heads", "num_key_value_heads", -1},
	{"inter_dim", "intermediate_size", 10944},
	{"moe_inter_dim", "moe_intermediate_size", 1408},
	{"n_dense_layers", "first_k_dense_replace", 1},
	{"n_routed_experts", "n_routed_experts", 64},
	{"n_shared_experts", "n_shared_experts", 2},
	{"n_activated_experts", "num_experts_per_tok", 6},
	{"n_expert_groups", "n_group", 1},
	{"n_limited_groups", "topk_group", 1},
	{"kv_lora_rank", "kv_lora_rank", 512},
	{"qk_nope_head_dim", "qk_nope_head_dim", 128},
	{"qk_rope_head_dim", "qk_rope_head_dim", 64},
	{"v_head_dim", "v_head_dim", 128},
	{"index_n_heads", "index_n_heads", 64},
	{"index_head_dim", "index_head_dim", 128},
	{"index_topk", "index_topk", 2048},
};

bool moe_deepseek_is_args(const json_t *json)
{
	return json_object_get(json, "dim") && json_object_get(json, "n_layers") &&
	       !json_object_get(json, "hidden_size") && !json_object_get(json, "architectures");
}

static enum moe_status take_number(json_t *out, const json_t *args, const char *name, const char *as, double otherwise,
                                   const char *where, struct moe_err *err)
{
	double value = otherwise;
	enum moe_status st = moe_json_has(args, name) ? moe_json_f64(args, name, where, &value, err) : MOE_OK;

	if (!st && !(fabs(value) < 0x1p53))
		st = moe_err_set(err, MOE_EFORMAT, "%s: %s: a number out of range", where, name);
	if (!st && json_object_set_new(out, as, value == rint(value) ? json_integer((json_int_t)value)
	                                                              : json_real(value)))
		st = moe_err_nomem(err, 64, "config");
	return st;
}

static enum moe_status take_numbers(json_t *out, const json_t *args, bool indexed, const char *where,
                                    struct moe_err *err)
{
	enum moe_status st = MOE_OK;

	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && !st; i++) {
		if (!strncmp(numbers[i].args, "index_", 6) && !indexed)
			continue;
		if (numbers[i].otherwise < 0 && !moe_json_has(args, numbers[i].args))
			return moe_err_set(err, MOE_EFORMAT, "%s: the key %s is missing", where, numbers[i].args);
		st = take_number(out, args, numbers[i].args, numbers[i].config, (double)numbers[i].otherwise, where,
		                 err);
	}
	if (!st)
		st = take_number(out, args, "route_scale", "routed_scaling_factor", 1, where, err);
	return st ? st : take_number(out, args, "rope_theta", "rope_theta", 10000, where, err);
}

/* The context is lengthened wherever the program may see more than the original length, which is its default. */
static enum moe_status take_rope(json_t *out, const json_t *args, const char *where, struct moe_err *err)
{
	json_t *rope = json_pack("{s:s}", "type", "yarn");
	double factor = 40, original = 4096;
	enum moe_status st = rope ? MOE_OK : moe_err_nomem(err, 64, "config");

	if (!st && moe_json_has(args, "rope_factor"))
		st = moe_json_f64(args, "rope_factor", where, &factor, err);
	if (!st && moe_json_has(args, "original_seq_len"))
		st = moe_json_f64(args, "original_seq_len", where, &original, err);
	if (!st && !(factor >= 1 && original >= 1 && factor * original < 0x1p53))
		st = moe_err_set(err, MOE_EFORMAT, "%s: rope_factor times original_seq_len: out of range", where);
	if (!st && json_object_set_new(out, "max_position_embeddings", json_integer((json_int_t)(factor * original))))
		st = moe_err_nomem(err, 64, "config");
	if (!st)
		st = take_number(rope, args, "rope_factor", "factor", 40, where, err);
	if (!st)
		st = take_number(rope, args, "original_seq_len", "original_max_position_embeddings", 4096, where, err);
	if (!st)
		st = take_number(rope, args, "beta_fast", "beta_fast", 32, where, err);
	if (!st)
		st = take_number(rope, args, "beta_slow", "beta_slow", 1, where, err);
	/* it scales the scores by the square, and neither cos nor sin */
	if (!st)
		st = take_number(rope, args, "mscale", "mscale", 1, where, err);
	if (!st)
		st = take_number(rope, args, "mscale", "mscale_all_dim", 1, where, err);
	if (!st && factor > 1 && json_object_set(out, "rope_scaling", rope))
		st = moe_err_nomem(err, 64, "config");
	json_decref(rope);
	return st;
}

static enum moe_status take_types(json_t *out, const json_t *args, const char *where, struct moe_err *err)
{
	const char *dtype = "bf16", *format = NULL;
	json_t *q = NULL;
	enum moe_status st = moe_json_has(args, "dtype") ? moe_json_str(args, "dtype", where, &dtype, err) : MOE_OK;

	if (!st && moe_json_has(args, "scale_fmt") && !json_is_null(json_object_get(args, "scale_fmt")))
		st = moe_json_str(args, "scale_fmt", where, &format, err);
	if (st)
		return st;
	if (strcmp(dtype, "bf16") && strcmp(dtype, "fp8"))
		return moe_err_set(err, MOE_EFORMAT, "%s: dtype: expected \"bf16\" or \"fp8\", found \"%.64s\"", where,
		                   dtype);
	if (json_object_set_new(out, "torch_dtype", json_string("bfloat16")))
		return moe_err_nomem(err, 64, "config");
	if (strcmp(dtype, "fp8"))
		return MOE_OK;
	q = json_pack("{s:s, s:s, s:s, s:[i,i], s:s*}", "activation_scheme", "dynamic", "fmt", "e4m3", "quant_method",
	              "fp8", "weight_block_size", MOE_SCALE_BLOCK, MOE_SCALE_BLOCK, "scale_fmt", format);
	return json_object_set_new(out, "quantization_config", q) ? moe_err_nomem(err, 64, "config") : MOE_OK;
}

enum moe_status moe_deepseek_config(json_t **config, const json_t *args, const char *where, struct moe_err *err)
{
	const bool indexed = moe_json_has(args, "index_topk") || moe_json_has(args, "index_n_heads");
	const char *score = "softmax";
	json_t *out = NULL, *lora = json_object_get(args, "q_lora_rank");
	enum moe_status st = moe_json_has(args, "score_func") ? moe_json_str(args, "score_func", where, &score, err)
	                                                      : MOE_OK;
	const bool sigmoid = !strcmp(score, "sigmoid");

	if (!st && !sigmoid && strcmp(score, "softmax"))
		st = moe_err_set(err, MOE_EFORMAT, "%s: score_func: expected \"softmax\" or \"sigmoid\", found "
		                 "\"%.64s\"", where, score);
	if (st)
		return st;
	const bool grouped = json_integer_value(json_object_get(args, "n_expert_groups")) > 1;
	out = json_pack("{s:[s], s:s, s:s, s:s, s:b, s:s, s:f, s:i, s:b, s:i}", "architectures",
	                indexed ? "DeepseekV32ForCausalLM" : sigmoid ? "DeepseekV3ForCausalLM"
	                                                             : "DeepseekV2ForCausalLM",
	                "model_type", indexed ? "deepseek_v32" : sigmoid ? "deepseek_v3" : "deepseek_v2",
	                "scoring_func", score,
	                "topk_method", sigmoid ? "noaux_tc" : grouped ? "group_limited_greedy" : "greedy",
	                "norm_topk_prob", sigmoid, "hidden_act", "silu", "rms_norm_eps", 1e-6, "moe_layer_freq", 1,
	                "tie_word_embeddings", 0, "num_nextn_predict_layers", 0);
	if (!out)
		return moe_err_nomem(err, 64, "config");
	st = take_numbers(out, args, indexed, where, err);
	if (!st)
		st = take_rope(out, args, where, err);
	if (!st)
		st = take_types(out, args, where, err);
	/* 0: queries are made without */
	if (!st && json_integer_value(lora) > 0)
		st = take_number(out, args, "q_lora_rank", "q_lora_rank", 0, where, err);
	else if (!st && json_object_set_new(out, "q_lora_rank", json_null()))
		st = moe_err_nomem(err, 64, "config");
	if (st)
		json_decref(out);
	else
		*config = out;
	return st;
}
