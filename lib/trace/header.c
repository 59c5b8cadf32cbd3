/* Headers of traces: what is said before the first run, as text and back. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "trace/record.h"

static const char *const gate_names[] = {
	[MOE_GATES_F32] = "f32", [MOE_GATES_F16] = "f16", [MOE_GATES_8BIT] = "8bit", [MOE_GATES_NONE] = "none",
};

const char *moe_gate_type_name(enum moe_gate_type type)
{
	return gate_names[type];
}

enum moe_status moe_header_check(const struct moe_trace_header *header, const char *where, struct moe_err *err)
{
	const struct moe_trace_header *h = header;
	if (h->n_experts < 1 || h->n_experts > MOE_TRACE_EXPERTS_MAX)
		return moe_err_set(err, MOE_EFORMAT, "%s: n_experts: expected 1 to %d, found %d", where,
		                   MOE_TRACE_EXPERTS_MAX, h->n_experts);
	if (h->top_k < 1 || h->top_k > h->n_experts)
		return moe_err_set(err, MOE_EFORMAT, "%s: top_k: expected 1 to %d (n_experts), found %d", where,
		                   h->n_experts, h->top_k);
	if (h->n_layers < 1)
		return moe_err_set(err, MOE_EFORMAT, "%s: layers: expected at least one, found none", where);
	if ((int64_t)h->n_layers * h->n_experts > MOE_TRACE_PAIRS_MAX)
		return moe_err_set(err, MOE_EFORMAT, "%s: %d layers of %d experts: expected at most %d experts in all",
		                   where, h->n_layers, h->n_experts, MOE_TRACE_PAIRS_MAX);
	for (int32_t i = 0; i < h->n_layers; i++) {
		int32_t least = i > 0 ? h->layers[i - 1] : -1;
		if (h->layers[i] <= least)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: layers: expected ascending numbers from 0, found %d after %d", where,
			                   h->layers[i], least);
	}
	if (h->n_model_layers < 0 || h->n_groups < 0 || h->top_groups < 0 || !(fabs(h->scale) <= (double)FLT_MAX))
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: expected n_model_layers, n_groups and top_groups of at least 0 and a "
		                   "scale within the range of 32-bit floating point, found %d, %d, %d and %g",
		                   where, h->n_model_layers, h->n_groups, h->top_groups, h->scale);
	const uint64_t n_bytes = moe_run_bytes(h, MOE_TRACE_VERSION, 1, 1, true);   /* of one token */
	if ((int64_t)h->n_layers * h->top_k > MOE_TRACE_CHOICES_MAX || n_bytes > MOE_TRACE_RECORD_MAX)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: a token of %d layers, %d experts and top_k %d needs %llu bytes; the "
		                   "format takes %u bytes and %d choices",
		                   where, h->n_layers, h->n_experts, h->top_k,
		                   (unsigned long long)n_bytes, MOE_TRACE_RECORD_MAX,
		                   MOE_TRACE_CHOICES_MAX);
	return MOE_OK;
}

static void put_text(struct moe_buf *buf, const char *key, const char *text)
{
	text = text ? text : "";
	moe_buf_addf(buf, "\"%s\":", key);
	moe_json_quote(buf, text, strlen(text));
	moe_buf_adds(buf, ",\n");
}

void moe_header_print(const struct moe_trace_header *header, struct moe_buf *buf)
{
	const struct moe_trace_header *h = header;
	moe_buf_adds(buf, "{");
	put_text(buf, "model", h->model);
	put_text(buf, "model_hash", h->model_hash);
	put_text(buf, "tokenizer_hash", h->tokenizer_hash);
	put_text(buf, "family", h->family);
	put_text(buf, "policy", h->policy);
	put_text(buf, "scoring", h->scoring);
	put_text(buf, "math", h->math);
	put_text(buf, "command", h->command);
	put_text(buf, "version", h->version);
	moe_buf_adds(buf, "\"layers\":[");
	for (int32_t i = 0; i < h->n_layers; i++)
		moe_buf_addf(buf, "%s%d", i ? "," : "", h->layers[i]);
	moe_buf_addf(buf,
	             "],\n\"n_model_layers\":%d,\n\"n_experts\":%d,\n\"top_k\":%d,\n\"id_bits\":%d,\n\"n_groups\":%d,\n"
	             "\"top_groups\":%d,\n\"scale\":",
	             h->n_model_layers, h->n_experts, h->top_k, moe_id_bits(h->n_experts), h->n_groups, h->top_groups);
	moe_buf_add_f64(buf, h->scale);
	const struct moe_policy *policy = h->policy ? moe_policy_by_name(h->policy) : NULL;
	if (policy && policy->reads & MOE_READS_EPS) {
		moe_buf_adds(buf, ",\n\"eps\":");
		moe_buf_add_f64(buf, h->eps);
	}
	if (policy && policy->reads & MOE_READS_P_NORM) {
		moe_buf_adds(buf, ",\n\"p_norm\":");
		moe_buf_add_f64(buf, h->p_norm);
	}
	moe_buf_addf(buf, ",\n\"normalize\":%s,\n\"gates\":\"%s\",\n\"logits\":%s,\n\"margins\":%s}\n",
	             h->normalize ? "true" : "false", moe_gate_type_name(h->gates), h->logits ? "true" : "false",
	             h->margins ? "true" : "false");
}

static enum moe_status get_text(const json_t *json, const char *key, const char *where, struct moe_arena *arena,
                                const char **out, struct moe_err *err)
{
	const char *text = "";
	enum moe_status status = moe_json_str(json, key, where, &text, err);
	if (status)
		return status;
	*out = moe_arena_strndup(arena, text, strlen(text));
	return *out ? MOE_OK : moe_err_nomem(err, strlen(text) + 1, "a trace header");
}

static enum moe_status get_texts(const json_t *json, const char *where, struct moe_arena *arena,
                                 struct moe_trace_header *h, struct moe_err *err)
{
	const struct { const char *key; const char **out; } texts[] = {
		{ "model", &h->model }, { "model_hash", &h->model_hash }, { "tokenizer_hash", &h->tokenizer_hash },
		{ "family", &h->family }, { "policy", &h->policy }, { "scoring", &h->scoring }, { "math", &h->math },
		{ "command", &h->command }, { "version", &h->version },
	};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		enum moe_status status = get_text(json, texts[i].key, where, arena, texts[i].out, err);
		if (status)
			return status;
	}
	return MOE_OK;
}

static enum moe_status get_layers(const json_t *json, const char *where, struct moe_arena *arena,
                                  struct moe_trace_header *h, struct moe_err *err)
{
	const json_t *layers = json_object_get(json, "layers");
	if (!json_is_array(layers))
		return moe_err_set(err, MOE_EFORMAT, "%s: layers: expected a list of numbers", where);
	size_t n = json_array_size(layers);
	int32_t *list = MOE_NEW(arena, int32_t, n);
	if (!list)
		return moe_err_nomem(err, n * sizeof *list, "a trace header");
	for (size_t i = 0; i < n; i++) {
		const json_t *layer = json_array_get(layers, i);
		json_int_t value = json_is_integer(layer) ? json_integer_value(layer) : -1;
		if (value < 0 || value > INT32_MAX)
			return moe_err_set(err, MOE_EFORMAT, "%s: layers: entry %zu is not a number from 0 to %d",
			                   where, i, INT32_MAX);
		list[i] = (int32_t)value;
	}
	h->n_layers = (int32_t)n;   /* fits: the header text is bounded */
	h->layers = list;
	return MOE_OK;
}

static enum moe_status get_gate_type(const json_t *json, const char *where, struct moe_trace_header *h,
                                     struct moe_err *err)
{
	const char *name = "";
	enum moe_status status = moe_json_str(json, "gates", where, &name, err);
	for (int i = MOE_GATES_F32; !status && i <= MOE_GATES_NONE; i++) {
		if (strcmp(name, gate_names[i]) == 0) {
			h->gates = (enum moe_gate_type)i;
			return MOE_OK;
		}
	}
	return status ? status : moe_err_set(err, MOE_EFORMAT, "%s: gates: expected f32, f16, 8bit or none, found '%s'",
	                                     where, name);
}

/* The parameters that only some policies have; traces written before they were kept meant the defaults. */
static enum moe_status get_own_params(const json_t *json, const char *where, struct moe_trace_header *h,
                                      struct moe_err *err)
{
	const struct moe_policy *policy = moe_policy_by_name(h->policy);
	h->eps = policy ? policy->eps : 0;
	h->p_norm = policy ? policy->p_norm : 0;
	enum moe_status status = moe_json_f64(json, "eps", where, &h->eps, err);
	if (!status)
		status = moe_json_f64(json, "p_norm", where, &h->p_norm, err);
	if (!status && !(h->eps >= 0 && h->eps <= FLT_MAX && h->p_norm >= 0 && h->p_norm <= FLT_MAX))
		status = moe_err_set(err, MOE_EFORMAT,
		                     "%s: expected eps and p_norm of at least 0 within the range of 32-bit floating "
		                     "point, found %g and %g", where, h->eps, h->p_norm);
	return status;
}

enum moe_status moe_header_parse(struct moe_trace_header *header, struct moe_arena *arena, const char *text, size_t n,
                                 const char *where, struct moe_err *err)
{
	struct moe_trace_header *h = header;
	*h = (struct moe_trace_header) { .n_groups = 1, .top_groups = 1, .scale = 1 };
	json_t *json = NULL;
	enum moe_status status = moe_json_parse(&json, text, n, where, err);
	if (status)
		return status;
	int32_t id_bits = 0;
	const struct { const char *key; int32_t *out; } numbers[] = {
		{ "n_model_layers", &h->n_model_layers }, { "n_experts", &h->n_experts }, { "top_k", &h->top_k },
		{ "n_groups", &h->n_groups }, { "top_groups", &h->top_groups }, { "id_bits", &id_bits },
	};
	if (!json_is_object(json))
		status = moe_err_set(err, MOE_EFORMAT, "%s: expected a JSON object", where);
	for (size_t i = 0; !status && i < sizeof numbers / sizeof *numbers; i++)
		status = moe_json_i32(json, numbers[i].key, where, 0, INT32_MAX, numbers[i].out, err);
	if (!status)
		status = get_texts(json, where, arena, h, err);
	if (!status)
		status = moe_json_f64(json, "scale", where, &h->scale, err);
	if (!status)
		status = get_own_params(json, where, h, err);
	if (!status)
		status = moe_json_bool(json, "normalize", where, &h->normalize, err);
	if (!status)
		status = moe_json_bool(json, "logits", where, &h->logits, err);
	if (!status)
		status = moe_json_bool(json, "margins", where, &h->margins, err);
	if (!status)
		status = get_gate_type(json, where, h, err);
	if (!status)
		status = get_layers(json, where, arena, h, err);
	if (!status)
		status = moe_header_check(h, where, err);
	if (!status && id_bits != moe_id_bits(h->n_experts))
		status = moe_err_set(err, MOE_EFORMAT, "%s: id_bits: expected %d for %d experts, found %d", where,
		                     moe_id_bits(h->n_experts), h->n_experts, id_bits);
	json_decref(json);
	return status;
}
