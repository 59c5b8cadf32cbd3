/* GGUF keys from a config, and a config from GGUF keys. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/gguf_form.h"
#include "model/gqa.h"

/* ---- what fits ---- */

int32_t moe_gguf_first_moe(const struct moe_config *c)
{
	int32_t first = 0;

	while (first < c->n_layers && c->layers[first].ffn != MOE_FFN_MOE)
		first++;
	return first;
}

/* From one layer with experts to the next; 1 where there is no other. */
static int32_t step_of(const struct moe_config *c)
{
	const int32_t first = moe_gguf_first_moe(c);
	int32_t next = first + 1;

	while (next < c->n_layers && c->layers[next].ffn != MOE_FFN_MOE)
		next++;
	return next < c->n_layers ? next - first : 1;
}

static bool is_windowed(const struct moe_config *c, int32_t l)
{
	return c->layers[l].window > 0 && c->layers[l].window < c->max_positions;
}

static const char *misplaced(const struct moe_config *c, const struct moe_gguf_form *form)
{
	const int32_t first = moe_gguf_first_moe(c), step = form->steps ? step_of(c) : 1;

	if (c->n_experts == 0 || first == c->n_layers)
		return NULL;
	if (first > 0 && !form->leading_dense && !(form->steps && first == step - 1))
		return "has experts in the first layers too";
	for (int32_t l = first; l < c->n_layers + c->n_mtp_layers; l++)
		if ((c->layers[l].ffn == MOE_FFN_MOE) != ((l - first) % step == 0))
			return "knows no layers without experts between others";
	return NULL;
}

const char *moe_gguf_misfit(const struct moe_config *c, const struct moe_gguf_form *form)
{
	const char *why = misplaced(c, form);

	for (int32_t l = 0; l < c->n_layers && !why; l++)
		if (is_windowed(c, l) && !form->windows)
			why = "knows no window";
	if (!why && c->rope.llama3 && !form->freqs)
		why = "reads no scaling of single frequencies";
	if (!why && c->tie_embeddings && form->head)
		why = "needs a head of its own";
	if (!why && form->square && (int64_t)c->n_heads * c->head_dim != c->hidden_size)
		why = "knows no heads of another width than that of the model divided by them";
	if (!why && c->n_experts && form->normalizes == MOE_GGUF_ALWAYS && !c->router.normalize)
		why = "always normalises the weights of experts";
	if (!why && c->n_experts && form->normalizes == MOE_GGUF_NEVER && c->router.normalize)
		why = "does not normalise the weights of experts";
	if (!why && c->clip_qkv > 0 && !form->clips)
		why = "does not clamp queries, keys and values";
	return why;
}

/* ---- writing ---- */

/* Keys go to `keys` below `arch`; ok turns false when memory is short. */
struct writer {
	json_t *keys;
	const char *arch;
	bool ok;
};

static void put_u32(struct writer *w, const char *key, int64_t value)
{
	w->ok = moe_gguf_put(w->keys, w->arch, key, "u32", json_integer(value)) && w->ok;
}

static void put_f32(struct writer *w, const char *key, double value)
{
	w->ok = moe_gguf_put(w->keys, w->arch, key, "f32", json_real(value)) && w->ok;
}

static void put_string(struct writer *w, const char *key, const char *value)
{
	w->ok = moe_gguf_put(w->keys, w->arch, key, "string", json_string(value)) && w->ok;
}

/* expert_gating_func: 1 softmax, 2 sigmoid, 3 softmax over the chosen; 0: none of them. */
static int gating_of(const char *policy)
{
	static const struct {
		const char *policy;
		int gating;
	} known[] = {{"softmax_topk", 1}, {"dbrx", 1}, {"ernie", 1}, {"switch", 1}, {"noaux_tc", 2}, {"llama4", 2},
	             {"topk_softmax", 3}};

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (!strcmp(policy, known[i].policy))
			return known[i].gating;
	return 0;
}

static void put_experts(struct writer *w, const struct moe_config *c)
{
	const int gating = gating_of(c->router.policy);
	const int32_t first = moe_gguf_first_moe(c);

	if (c->n_experts == 0)
		return;
	put_u32(w, "expert_count", c->n_experts);
	put_u32(w, "expert_used_count", c->router.top_k);
	put_u32(w, "expert_feed_forward_length", c->moe_intermediate_size);
	if (c->n_shared_experts) {
		put_u32(w, "expert_shared_count", c->n_shared_experts);
		put_u32(w, "expert_shared_feed_forward_length", moe_dim_of(c, MOE_DIM_SHARED_FFN));
	}
	if (gating)
		put_u32(w, "expert_gating_func", gating);
	put_f32(w, "expert_weights_scale", c->router.scale);
	w->ok = moe_gguf_put(w->keys, w->arch, "expert_weights_norm", "bool",
	                     json_boolean(c->router.normalize || gating == 3)) && w->ok;
	if (c->router.n_groups > 1) {
		put_u32(w, "expert_group_count", c->router.n_groups);
		put_u32(w, "expert_group_used_count", c->router.top_groups);
	}
	/* a first layer without experts: the lead of others, or one of a step */
	put_u32(w, "interleave_moe_layer_step", step_of(c));
	if (first > 0 && step_of(c) == 1)
		put_u32(w, "leading_dense_block_count", first);
}

static void put_windows(struct writer *w, const struct moe_config *c)
{
	json_t *pattern = json_array();
	char name[128];
	int32_t n = 0;

	for (int32_t l = 0; l < c->n_layers; l++) {
		n += is_windowed(c, l);
		w->ok = !json_array_append_new(pattern, json_boolean(is_windowed(c, l))) && w->ok;
		if (is_windowed(c, l))
			put_u32(w, "attention.sliding_window", c->layers[l].window);
	}
	snprintf(name, sizeof name, "%s.attention.sliding_window_pattern", w->arch);
	if (n && n < c->n_layers)
		w->ok = !json_object_set_new(w->keys, name, json_pack("{s:s, s:s, s:O}", "type", "array", "of", "bool",
		                                                      "value", pattern)) && w->ok;
	json_decref(pattern);
}

/* YaRN's magnitude that readers compute themselves. */
static double magnitude(double factor) { return factor > 1 ? 0.1 * log(factor) + 1 : 1; }

static void put_rope(struct writer *w, const struct moe_config *c)
{
	const struct moe_rope *rope = &c->rope;

	if (rope->n_dims == 0)
		return;
	put_u32(w, "rope.dimension_count", rope->n_dims);
	put_f32(w, "rope.freq_base", rope->theta);
	if (rope->linear > 0) {
		put_string(w, "rope.scaling.type", "linear");
		put_f32(w, "rope.scaling.factor", rope->linear);
	} else if (rope->yarn) {
		put_string(w, "rope.scaling.type", "yarn");
		put_f32(w, "rope.scaling.factor", rope->factor);
		put_u32(w, "rope.scaling.original_context_length", rope->original_positions);
		put_f32(w, "rope.scaling.yarn_beta_fast", rope->beta_fast);
		put_f32(w, "rope.scaling.yarn_beta_slow", rope->beta_slow);
		if (rope->attention_factor > 0 && rope->attention_factor != magnitude(rope->factor))
			put_f32(w, "rope.scaling.attn_factor", rope->attention_factor / magnitude(rope->factor));
	} else if (rope->factors) {
		put_string(w, "rope.scaling.type", "longrope");
		put_u32(w, "rope.scaling.original_context_length", rope->original_positions);
		put_f32(w, "rope.scaling.attn_factor", rope->magnitudes[0]);
	}
}

static void put_attention(struct writer *w, const struct moe_config *c)
{
	const struct {
		const char *key;
		double value;
	} scales[] = {
		{"attention.clamp_kqv", c->clip_qkv}, {"attention.scale", c->attention_scale},
		{"embedding_scale", c->embedding_scale}, {"residual_scale", c->residual_scale},
		{"logit_scale", c->logits_divisor},
	};

	put_u32(w, "attention.head_count", c->n_heads);
	put_u32(w, "attention.head_count_kv", c->n_kv_heads);
	put_u32(w, "attention.key_length", c->head_dim);
	put_u32(w, "attention.value_length", c->head_dim);
	/* a reader may ask for either */
	put_f32(w, "attention.layer_norm_rms_epsilon", c->rms_eps);
	if (c->layer_norm)
		put_f32(w, "attention.layer_norm_epsilon", c->rms_eps);
	for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++)
		if (scales[i].value != 0)
			put_f32(w, scales[i].key, scales[i].value);
	if (c->relative_buckets)
		put_u32(w, "attention.relative_buckets_count", c->relative_buckets);
}

enum moe_status moe_gqa_gguf_extra(const struct moe_config *c, json_t *keys, struct moe_err *err)
{
	char own[64];
	struct writer w = { .keys = keys, .arch = moe_gguf_arch(c, own), .ok = true };

	put_u32(&w, "vocab_size", c->vocab_size);
	put_u32(&w, "context_length", c->max_positions);
	put_u32(&w, "embedding_length", c->hidden_size);
	put_u32(&w, "block_count", (int64_t)c->n_layers + c->n_mtp_layers);
	put_u32(&w, "feed_forward_length", c->intermediate_size ? c->intermediate_size : c->moe_intermediate_size);
	if (c->n_mtp_layers)
		put_u32(&w, "nextn_predict_layers", c->n_mtp_layers);
	put_attention(&w, c);
	put_windows(&w, c);
	put_rope(&w, c);
	put_experts(&w, c);
	return w.ok ? MOE_OK : moe_err_nomem(err, 64, "GGUF keys");
}

/* ---- reading ---- */

bool moe_hf_put(json_t *config, const char *key, json_t *value)
{
	return !json_object_set_new(config, key, value);
}

static enum moe_status read_rope(json_t *config, const json_t *keys, const char *arch, struct moe_err *err)
{
	const char *type = json_string_value(moe_gguf_key(keys, arch, "rope.scaling.type"));
	const double factor = moe_gguf_f64(keys, arch, "rope.scaling.factor", 1);
	json_t *scaling = NULL;

	if (!moe_hf_put(config, "rope_theta", json_real(moe_gguf_f64(keys, arch, "rope.freq_base", 10000))))
		return moe_err_nomem(err, 64, "config");
	if (!type || !strcmp(type, "none") || (!strcmp(type, "linear") && factor == 1))
		scaling = json_null();
	else if (!strcmp(type, "linear"))
		scaling = json_pack("{s:s, s:f}", "type", "linear", "factor", factor);
	else if (!strcmp(type, "yarn"))
		scaling = json_pack("{s:s, s:f, s:I, s:f, s:f, s:f}", "type", "yarn", "factor", factor,
		                    "original_max_position_embeddings",
		                    (json_int_t)moe_gguf_int(keys, arch, "rope.scaling.original_context_length", 4096),
		                    "beta_fast", moe_gguf_f64(keys, arch, "rope.scaling.yarn_beta_fast", 32),
		                    "beta_slow", moe_gguf_f64(keys, arch, "rope.scaling.yarn_beta_slow", 1),
		                    "attention_factor", magnitude(factor) *
		                    moe_gguf_f64(keys, arch, "rope.scaling.attn_factor", 1));
	else
		return moe_err_set(err, MOE_EFORMAT, "GGUF keys: rope.scaling.type: expected none, linear or yarn, "
		                   "found '%.64s'; a config.json must say the rest", type);
	return moe_hf_put(config, "rope_scaling", scaling) ? MOE_OK : moe_err_nomem(err, 64, "config");
}

/* Which layers see a window only, where a list of them says so. */
static bool read_windows(json_t *config, const json_t *keys, const char *arch)
{
	const json_t *list, *one;
	json_t *types = NULL;
	char name[128];
	size_t i;
	bool ok = true;

	snprintf(name, sizeof name, "%.64s.attention.sliding_window_pattern", arch);
	list = json_object_get(json_object_get(keys, name), "value");
	if (!json_is_array(list))
		return true;
	types = json_array();
	json_array_foreach(list, i, one)
		ok = !json_array_append_new(types, json_string(json_is_true(one) ? "sliding_attention"
		                                                                 : "full_attention")) && ok;
	return moe_hf_put(config, "layer_types", types) && ok;
}

enum moe_status moe_gqa_hf_extra(json_t *config, const json_t *keys, struct moe_err *err)
{
	const char *arch = json_string_value(moe_gguf_key(keys, NULL, "general.architecture"));
	const int64_t n_mtp = moe_gguf_int(keys, arch, "nextn_predict_layers", 0);
	const int64_t blocks = moe_gguf_int(keys, arch, "block_count", 0);
	const int64_t heads = moe_gguf_int(keys, arch, "attention.head_count", 0);
	const int64_t width = moe_gguf_int(keys, arch, "embedding_length", 0);
	const int64_t head = moe_gguf_int(keys, arch, "attention.key_length", heads > 0 ? width / heads : 0);
	bool ok = true;

	if (blocks < 1 || n_mtp < 0 || n_mtp >= blocks || heads < 1 || width < 1)
		return moe_err_set(err, MOE_EFORMAT, "GGUF keys: block_count %lld, nextn_predict_layers %lld, "
		                   "attention.head_count %lld, embedding_length %lld make no model", (long long)blocks,
		                   (long long)n_mtp, (long long)heads, (long long)width);
	ok = moe_hf_put(config, "num_hidden_layers", json_integer(blocks - n_mtp)) && ok;
	if (n_mtp)
		ok = moe_hf_put(config, "num_nextn_predict_layers", json_integer(n_mtp)) && ok;
	ok = moe_hf_put(config, "num_key_value_heads",
	                json_integer(moe_gguf_int(keys, arch, "attention.head_count_kv", heads))) && ok;
	ok = moe_hf_put(config, "head_dim", json_integer(head)) && ok;
	ok = read_windows(config, keys, arch) && ok;
	return ok ? read_rope(config, keys, arch, err) : moe_err_nomem(err, 64, "config");
}
