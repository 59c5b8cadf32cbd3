/* Bytes of headers and runs. Little-endian throughout; ids are packed least significant bit first. */
#include "trace/record.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json.h"

#define N_FIXED 25               /* seq, pos, source, n_tokens, flags */
#define FLAG_WIDE 1
#define TARGET_BYTES (1 << 20)
#define F16_LIMIT 65520.0f       /* rounds to infinity from here on */

static const char *const gate_names[] = {
	[MOE_GATES_F32] = "f32", [MOE_GATES_F16] = "f16", [MOE_GATES_8BIT] = "8bit", [MOE_GATES_NONE] = "none",
};

const char *moe_gate_type_name(enum moe_gate_type type)
{
	return gate_names[type];
}

/* ---- header ---- */

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
	if ((int64_t)h->n_layers * h->top_k > MOE_TRACE_CHOICES_MAX || moe_run_bytes(h, 1, true) > MOE_TRACE_RECORD_MAX)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: a token of %d layers, %d experts and top_k %d needs %llu bytes; the "
		                   "format takes %u bytes and %d choices",
		                   where, h->n_layers, h->n_experts, h->top_k,
		                   (unsigned long long)moe_run_bytes(h, 1, true), MOE_TRACE_RECORD_MAX,
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

/* ---- sizes ---- */

int moe_id_bits(int64_t n_values)
{
	int n_bits = 1;
	while (n_values > INT64_C(1) << n_bits)
		n_bits++;
	return n_bits;
}

static int run_bits(const struct moe_trace_header *header, bool wide)
{
	return moe_id_bits((int64_t)header->n_experts + wide);
}

/* Bytes of the gates of one layer. */
static uint64_t gate_bytes(const struct moe_trace_header *header, uint64_t n_tokens)
{
	uint64_t n = n_tokens * (uint64_t)header->top_k;
	switch (header->gates) {
	case MOE_GATES_F32: return 4 * n;
	case MOE_GATES_F16: return 2 * n;
	case MOE_GATES_8BIT: return 2 * n_tokens + n;
	case MOE_GATES_NONE: break;
	}
	return 0;
}

/* Numbers are bounded by the callers: n_tokens below 2^32, or one token, of a header that was checked or is about to
 * be; n_layers below 2^24, top_k and n_experts below 2^31. Doubles first, so that nothing wraps. */
uint64_t moe_run_bytes(const struct moe_trace_header *header, int64_t n_tokens, bool wide)
{
	const struct moe_trace_header *h = header;
	uint64_t n = (uint64_t)n_tokens;
	double estimate = (double)n * h->n_layers * (h->top_k * 8.0 + (h->logits ? 4.0 * h->n_experts : 0.0) + 8.0);
	if (estimate > 0x1p60)
		return UINT64_MAX;
	uint64_t ids = (n * (uint64_t)h->top_k * (uint64_t)run_bits(h, wide) + 7) / 8;
	uint64_t layer =
		ids + gate_bytes(h, n) + (h->logits ? 4 * n * (uint64_t)h->n_experts : 0) + (h->margins ? 4 * n : 0);
	return N_FIXED + 4 * n + (uint64_t)h->n_layers * layer;
}

int64_t moe_run_limit(const struct moe_trace_header *header)
{
	uint64_t per_token = moe_run_bytes(header, 1, true) - N_FIXED; /* rounded up, so that n of them suffice for n */
	int64_t n = (int64_t)((TARGET_BYTES - N_FIXED) / per_token);
	return n > 0 ? n : 1;
}

/* ---- half precision ---- */

/* To nearest, ties to even. */
static uint16_t f16_from_f32(float value)
{
	uint32_t bits = moe_f32_bits(value), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
	if (size > 0x7f800000)
		return (uint16_t)(sign | 0x7e00);
	if (size >= 0x477ff000)   /* 65520 */
		return (uint16_t)(sign | 0x7c00);
	if (size < 0x38800000) {   /* below 2^-14: a multiple of 2^-24, which the sum with 0.5 rounds to */
		float sum = moe_f32_from_bits(size) + 0.5f;
		return (uint16_t)(sign | (moe_f32_bits(sum) - moe_f32_bits(0.5f)));
	}
	size += 0xfff + (size >> 13 & 1);
	return (uint16_t)(sign | (size - (112u << 23)) >> 13);
}

static float f16_to_f32(uint16_t half)
{
	uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 0x3ff;
	if (exponent == 31)
		return moe_f32_from_bits(sign | 0x7f800000 | fraction << 13);
	if (exponent == 0) {
		float value = (float)fraction * 0x1p-24f;
		return sign ? -value : value;
	}
	return moe_f32_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

/* ---- runs, written ---- */

static void put_ids(const int32_t *ids, int64_t n, int n_bits, int32_t n_experts, uint8_t *out)
{
	uint64_t word = 0;
	int n_held = 0;
	for (int64_t i = 0; i < n; i++) {
		word |= (uint64_t)(uint32_t)(ids[i] < 0 ? n_experts : ids[i]) << n_held;
		for (n_held += n_bits; n_held >= 8; n_held -= 8, word >>= 8)
			*out++ = (uint8_t)word;
	}
	if (n_held > 0)
		*out = (uint8_t)word;
}

static void put_f32(const float *values, int64_t n, uint8_t *out)
{
	for (int64_t i = 0; i < n; i++)
		moe_store_u32(out + 4 * i, moe_f32_bits(values[i]));
}

static enum moe_status put_f16(const float *values, int64_t n, uint8_t *out, const char *where, struct moe_err *err)
{
	for (int64_t i = 0; i < n; i++) {
		if (isfinite(values[i]) && fabsf(values[i]) >= F16_LIMIT)
			return moe_err_set(err, MOE_EFORMAT, "%s: gates of type f16 cannot hold %g", where, values[i]);
		moe_store_u16(out + 2 * i, f16_from_f32(values[i]));
	}
	return MOE_OK;
}

/* Each token's largest gate as f16, then every gate as a part in 255 of that. */
static enum moe_status put_8bit(const float *values, int64_t n_tokens, int32_t top_k, uint8_t *out, const char *where,
                                struct moe_err *err)
{
	uint8_t *codes = out + 2 * n_tokens;
	for (int64_t t = 0; t < n_tokens; t++) {
		const float *gates = values + t * top_k;
		float max = 0;
		for (int32_t i = 0; i < top_k; i++) {
			if (!(gates[i] >= 0 && gates[i] < F16_LIMIT))
				return moe_err_set(err, MOE_EFORMAT, "%s: gates of type 8bit cannot hold %g", where,
				                   gates[i]);
			max = gates[i] > max ? gates[i] : max;
		}
		uint16_t half = f16_from_f32(max);
		moe_store_u16(out + 2 * t, half);
		float unit = f16_to_f32(half);
		for (int32_t i = 0; i < top_k; i++) {
			float code = unit > 0 ? rintf(gates[i] / unit * 255) : 0;
			codes[t * top_k + i] = (uint8_t)(code > 255 ? 255 : code);
		}
	}
	return MOE_OK;
}

static enum moe_status put_gates(const struct moe_trace_header *header, const struct moe_routing *layer, uint8_t *out,
                                 const char *where, struct moe_err *err)
{
	int64_t n = layer->n_tokens * header->top_k;
	switch (header->gates) {
	case MOE_GATES_F32: put_f32(layer->weights, n, out); break;
	case MOE_GATES_F16: return put_f16(layer->weights, n, out, where, err);
	case MOE_GATES_8BIT: return put_8bit(layer->weights, layer->n_tokens, header->top_k, out, where, err);
	case MOE_GATES_NONE: break;
	}
	return MOE_OK;
}

static bool has_absent(const struct moe_trace_header *header, const struct moe_trace_run *run)
{
	for (int32_t l = 0; l < header->n_layers; l++)
		for (int64_t i = 0; i < run->n_tokens * header->top_k; i++)
			if (run->layers[l].ids[i] < 0)
				return true;
	return false;
}

enum moe_status moe_run_put(const struct moe_trace_header *header, const struct moe_trace_run *run, uint32_t source,
                            struct moe_buf *buf, const char *where, struct moe_err *err)
{
	const struct moe_trace_header *h = header;
	bool wide = has_absent(h, run);
	int64_t n = run->n_tokens;
	int n_bits = run_bits(h, wide);
	size_t n_bytes = (size_t)moe_run_bytes(h, n, wide);
	uint8_t *out = (uint8_t *)moe_buf_room(buf, n_bytes);
	if (!out)
		return moe_err_nomem(err, n_bytes, "a record");
	memset(out, 0, n_bytes);
	moe_store_u64(out, (uint64_t)run->seq);
	moe_store_u64(out + 8, (uint64_t)run->pos);
	moe_store_u32(out + 16, source);
	moe_store_u32(out + 20, (uint32_t)n);
	out[24] = wide ? FLAG_WIDE : 0;
	out += N_FIXED;
	for (int64_t i = 0; i < n; i++, out += 4)
		moe_store_u32(out, (uint32_t)run->tokens[i]);
	for (int32_t l = 0; l < h->n_layers; l++) {
		const struct moe_routing *layer = &run->layers[l];
		put_ids(layer->ids, n * h->top_k, n_bits, h->n_experts, out);
		out += (n * h->top_k * n_bits + 7) / 8;
		enum moe_status status = put_gates(h, layer, out, where, err);
		if (status)
			return status;
		out += gate_bytes(h, (uint64_t)n);
		if (h->logits) {
			put_f32(layer->logits, n * h->n_experts, out);
			out += 4 * n * h->n_experts;
		}
		if (h->margins) {
			put_f32(layer->margins, n, out);
			out += 4 * n;
		}
	}
	buf->n += n_bytes;
	return MOE_OK;
}

/* ---- runs, read ---- */

static bool holds(const struct moe_run_space *space, const struct moe_trace_header *h, enum moe_trace_field field)
{
	bool kept = field == MOE_TRACE_GATES    ? h->gates != MOE_GATES_NONE
	            : field == MOE_TRACE_LOGITS ? h->logits
	                                        : h->margins;
	return kept && !(space->skip & field);
}

void moe_run_space_free(struct moe_run_space *space)
{
	unsigned skip = space->skip;
	free(space->tokens);
	free(space->ids);
	free(space->weights);
	free(space->logits);
	free(space->margins);
	free(space->layers);
	*space = (struct moe_run_space) {.skip = skip};
}

enum moe_status moe_run_space_fit(struct moe_run_space *space, const struct moe_trace_header *header, int64_t n_tokens,
                                  struct moe_err *err)
{
	const struct moe_trace_header *h = header;
	const bool gates = holds(space, h, MOE_TRACE_GATES), logits = holds(space, h, MOE_TRACE_LOGITS),
		   margins = holds(space, h, MOE_TRACE_MARGINS);
	if (space->header != h || space->n_tokens < n_tokens) {
		int64_t room = space->header == h && n_tokens < 2 * space->n_tokens ? 2 * space->n_tokens : n_tokens;
		if (room * h->top_k * h->n_layers > MOE_TRACE_CHOICES_MAX)
			room = n_tokens;
		moe_run_space_free(space);
		size_t n = (size_t)room, n_ids = n * (size_t)h->n_layers * (size_t)h->top_k;
		size_t n_logits = logits ? n * (size_t)h->n_layers * (size_t)h->n_experts : 0;
		space->tokens = malloc(n * sizeof *space->tokens);
		space->ids = malloc(n_ids * sizeof *space->ids);
		space->weights = gates ? malloc(n_ids * sizeof *space->weights) : NULL;
		space->logits = logits ? malloc(n_logits * sizeof *space->logits) : NULL;
		space->margins = margins ? malloc(n * (size_t)h->n_layers * sizeof *space->margins) : NULL;
		space->layers = malloc((size_t)h->n_layers * sizeof *space->layers);
		if (!space->tokens || !space->ids || !space->layers || (gates && !space->weights) ||
		    (logits && !space->logits) || (margins && !space->margins)) {
			moe_run_space_free(space);
			return moe_err_nomem(err, 8 * n_ids + 4 * n_logits, "a run of a trace");
		}
		space->n_tokens = room;
		space->header = h;
	}
	for (int32_t l = 0; l < h->n_layers; l++) {
		space->layers[l] = (struct moe_routing) {
			.layer = h->layers[l], .n_experts = h->n_experts, .top_k = h->top_k, .n_tokens = n_tokens,
			.ids = space->ids + l * n_tokens * h->top_k,
			.weights = space->weights ? space->weights + l * n_tokens * h->top_k : NULL,
			.logits = space->logits ? space->logits + l * n_tokens * h->n_experts : NULL,
			.margins = space->margins ? space->margins + l * n_tokens : NULL,
		};
	}
	return MOE_OK;
}

/* False at an id that is neither an expert nor, in a wide run, the mark of an absent choice; *bad is that number. */
static bool get_ids(const uint8_t *p, int64_t n, int n_bits, int32_t n_experts, bool wide, int32_t *ids, uint32_t *bad)
{
	uint64_t word = 0, mask = (UINT64_C(1) << n_bits) - 1;
	int n_held = 0;
	for (int64_t i = 0; i < n; i++) {
		for (; n_held < n_bits; n_held += 8)
			word |= (uint64_t)*p++ << n_held;
		uint32_t id = (uint32_t)(word & mask);
		word >>= n_bits;
		n_held -= n_bits;
		if (id >= (uint32_t)n_experts + wide) {
			*bad = id;
			return false;
		}
		ids[i] = id == (uint32_t)n_experts ? -1 : (int32_t)id;
	}
	return true;
}

static void get_f32(const uint8_t *p, int64_t n, float *out)
{
	for (int64_t i = 0; i < n; i++)
		out[i] = moe_f32_from_bits(moe_load_u32(p + 4 * i));
}

static void get_gates(const struct moe_trace_header *header, const uint8_t *p, int64_t n_tokens, float *out)
{
	int32_t top_k = header->top_k;
	switch (header->gates) {
	case MOE_GATES_F32:
		get_f32(p, n_tokens * top_k, out);
		break;
	case MOE_GATES_F16:
		for (int64_t i = 0; i < n_tokens * top_k; i++)
			out[i] = f16_to_f32(moe_load_u16(p + 2 * i));
		break;
	case MOE_GATES_8BIT:
		for (int64_t i = 0; i < n_tokens * top_k; i++) {
			float unit = f16_to_f32(moe_load_u16(p + 2 * (i / top_k)));
			out[i] = (float)p[2 * n_tokens + i] / 255 * unit;
		}
		break;
	case MOE_GATES_NONE:
		break;
	}
}

enum moe_status moe_run_get(const struct moe_trace_header *header, const uint8_t *payload, size_t n_bytes,
                            struct moe_run_space *space, struct moe_trace_run *run, uint32_t *source, const char *where,
                            struct moe_err *err)
{
	const struct moe_trace_header *h = header;
	if (n_bytes < N_FIXED)
		return moe_err_set(err, MOE_EFORMAT, "%s: a run record has at least %d bytes, found %zu", where,
		                   N_FIXED, n_bytes);
	uint64_t seq = moe_load_u64(payload), pos = moe_load_u64(payload + 8);
	int64_t n = moe_load_u32(payload + 20);
	bool wide = payload[24] & FLAG_WIDE;
	if (payload[24] & ~FLAG_WIDE)
		return moe_err_set(err, MOE_EFORMAT, "%s: run flags: expected 0 or 1, found %d", where, payload[24]);
	if (seq > INT64_MAX || pos > INT64_MAX - UINT32_MAX)
		return moe_err_set(err, MOE_EFORMAT, "%s: sequence %llu, position %llu: too large", where,
		                   (unsigned long long)seq, (unsigned long long)pos);
	if (n < 1 || n > (int64_t)n_bytes || n > MOE_TRACE_CHOICES_MAX / ((int64_t)h->top_k * h->n_layers) ||
	    moe_run_bytes(h, n, wide) != n_bytes)
		return moe_err_set(err, MOE_EFORMAT, "%s: a run of %lld tokens does not have %zu bytes", where,
		                   (long long)n, n_bytes);
	enum moe_status status = moe_run_space_fit(space, h, n, err);
	if (status)
		return status;
	const uint8_t *p = payload + N_FIXED;
	for (int64_t i = 0; i < n; i++, p += 4)
		space->tokens[i] = (int32_t)moe_load_u32(p);
	int n_bits = run_bits(h, wide);
	for (int32_t l = 0; l < h->n_layers; l++) {
		uint32_t bad = 0;
		if (!get_ids(p, n * h->top_k, n_bits, h->n_experts, wide, space->ids + l * n * h->top_k, &bad))
			return moe_err_set(err, MOE_EFORMAT, "%s: layer %d: expected an expert from 0 to %d, found %u",
			                   where, h->layers[l], h->n_experts - 1, bad);
		p += (n * h->top_k * n_bits + 7) / 8;
		if (space->weights)
			get_gates(h, p, n, space->weights + l * n * h->top_k);
		p += gate_bytes(h, (uint64_t)n);
		if (space->logits)
			get_f32(p, n * h->n_experts, space->logits + l * n * h->n_experts);
		p += h->logits ? 4 * n * h->n_experts : 0;
		if (space->margins)
			get_f32(p, n, space->margins + l * n);
		p += h->margins ? 4 * n : 0;
	}
	run->seq = (int64_t)seq;
	run->pos = (int64_t)pos;
	run->n_tokens = n;
	run->tokens = space->tokens;
	run->layers = space->layers;
	*source = moe_load_u32(payload + 16);
	return MOE_OK;
}
