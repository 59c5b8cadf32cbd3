/* Finding members by type, and what several of them share: growing text, and fields. */
#include "text/stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/utf8.h"

#define X(n) extern const struct moe_normalizer moe_normalizer_##n;
#include "gen/text_normalizer.h"
#undef X
#define X(n) extern const struct moe_pretokenizer moe_pretokenizer_##n;
#include "gen/text_pretokenizer.h"
#undef X
#define X(n) extern const struct moe_text_model moe_text_model_##n;
#include "gen/text_model.h"
#undef X
#define X(n) extern const struct moe_decoder moe_decoder_##n;
#include "gen/text_decoder.h"
#undef X

#define X(n) &moe_normalizer_##n.part,
static const struct moe_part *const normalizers[] = {
#include "gen/text_normalizer.h"
	NULL
};
#undef X
#define X(n) &moe_pretokenizer_##n.part,
static const struct moe_part *const pretokenizers[] = {
#include "gen/text_pretokenizer.h"
	NULL
};
#undef X
#define X(n) &moe_text_model_##n.part,
static const struct moe_part *const models[] = {
#include "gen/text_model.h"
	NULL
};
#undef X
#define X(n) &moe_decoder_##n.part,
static const struct moe_part *const decoders[] = {
#include "gen/text_decoder.h"
	NULL
};
#undef X

enum moe_status moe_codes_room(struct moe_codes *codes, size_t n, struct moe_err *err)
{
	size_t cap = codes->cap ? codes->cap : 64;
	uint32_t *grown;

	if (n > SIZE_MAX / 8 - codes->n)
		return moe_err_nomem(err, n, "a text");
	if (codes->n + n > UINT32_MAX)
		return moe_err_set(err, MOE_EFORMAT, "a text of %zu bytes, at most %u are supported", codes->n + n,
		                   UINT32_MAX);
	if (codes->limit && codes->n + n > codes->limit)
		return moe_err_set(err, MOE_EFORMAT, "normalizer: makes more than 64 characters of each "
		                   "character of a text");
	while (cap < codes->n + n)
		cap *= 2;
	if (cap == codes->cap)
		return MOE_OK;
	grown = realloc(codes->p, cap * sizeof *grown);
	if (!grown)
		return moe_err_nomem(err, cap * sizeof *grown, "a text");
	codes->p = grown;
	codes->cap = cap;
	return MOE_OK;
}

enum moe_status moe_codes_add(struct moe_codes *codes, const uint32_t *p, size_t n, struct moe_err *err)
{
	enum moe_status status = moe_codes_room(codes, n, err);

	if (status)
		return status;
	if (n)
		memcpy(codes->p + codes->n, p, n * sizeof *p);
	codes->n += n;
	return MOE_OK;
}

enum moe_status moe_codes_add_utf8(struct moe_codes *codes, const char *text, size_t n, struct moe_err *err)
{
	const uint8_t *p = (const uint8_t *)text;
	enum moe_status status = moe_codes_room(codes, n, err);
	uint32_t *out;
	size_t i = 0, used;

	if (status)
		return status;
	out = codes->p + codes->n;
	while (i < n) {
		if (p[i] < 0x80) {
			*out++ = p[i++];
			continue;
		}
		*out++ = moe_utf8_take(p + i, n - i, &used);
		i = used ? i + used : n;
	}
	codes->n = (size_t)(out - codes->p);
	return MOE_OK;
}

void moe_codes_free(struct moe_codes *codes)
{
	free(codes->p);
	*codes = (struct moe_codes){0};
}

void moe_codes_drop(struct moe_codes *codes, size_t n)
{
	if (n == 0)
		return;
	memmove(codes->p, codes->p + n, (codes->n - n) * sizeof *codes->p);
	codes->n -= n;
	codes->n_lead -= n < codes->n_lead ? n : codes->n_lead;
}

enum moe_status moe_decode_emit(struct moe_decode_link *link, struct moe_str text, bool begins, struct moe_err *err)
{
	if (link->kind)
		return link->kind->add(link, text, begins, err);
	moe_buf_add(link->out, text.p, text.n);
	return moe_buf_check(link->out, err);
}

enum moe_status moe_stage_new(struct moe_stage *stage, enum moe_stage_kind kind, const json_t *obj, const char *where,
                              struct moe_err *err)
{
	static const struct moe_part *const *const tables[] = {normalizers, pretokenizers, models, decoders};
	const char *type = NULL;
	char known[256] = "";
	size_t n = 0;
	enum moe_status status;

	*stage = (struct moe_stage){0};
	if (!json_is_object(obj))
		return moe_err_set(err, MOE_EFORMAT, "%s: an object is expected", where);
	status = moe_json_str(obj, "type", where, &type, err);
	if (status)
		return status;
	for (const struct moe_part *const *p = tables[kind]; *p; p++) {
		if (type && strcmp((*p)->type, type) == 0) {
			status = (*p)->parse(&stage->self, obj, where, err);
			stage->part = status ? NULL : *p;
			return status;
		}
		if (n < sizeof known)
			n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", (*p)->type);
	}
	return moe_err_set(err, MOE_EFORMAT, "%s.type: '%.100s' is not known here, only %s", where,
	                   type ? type : "(nothing)", known);
}

void moe_stage_free(struct moe_stage *stage)
{
	if (stage->part)
		stage->part->free(stage->self);
	*stage = (struct moe_stage){0};
}

enum moe_status moe_stages_new(struct moe_stages **out, enum moe_stage_kind kind, const json_t *obj, const char *key,
                               const char *where, struct moe_err *err)
{
	const json_t *list = json_object_get(obj, key);
	struct moe_stages *stages;
	char path[512];
	enum moe_status status = MOE_OK;

	*out = NULL;
	if (!json_is_array(list))
		return moe_err_set(err, MOE_EFORMAT, "%s.%s: an array is expected", where, key);
	if (strlen(where) > sizeof path - 64)
		return moe_err_set(err, MOE_EFORMAT, "%s: nested too deeply", where);
	stages = calloc(1, sizeof *stages);
	if (stages)
		stages->v = calloc(json_array_size(list) + 1, sizeof *stages->v);
	if (!stages || !stages->v) {
		free(stages);
		return moe_err_nomem(err, json_array_size(list) * sizeof *stages->v, key);
	}
	for (size_t i = 0; i < json_array_size(list) && !status; i++) {
		snprintf(path, sizeof path, "%s.%s[%zu]", where, key, i);
		status = moe_stage_new(&stages->v[i], kind, json_array_get(list, i), path, err);
		stages->n += !status;
	}
	if (status)
		moe_stages_free(stages);
	else
		*out = stages;
	return status;
}

void moe_stages_free(void *self)
{
	struct moe_stages *stages = self;

	if (!stages)
		return;
	for (size_t i = 0; i < stages->n; i++)
		moe_stage_free(&stages->v[i]);
	free(stages->v);
	free(stages);
}

enum moe_status moe_stage_str(const json_t *obj, const char *key, const char *where, struct moe_str *out,
                              struct moe_err *err)
{
	const json_t *value = json_object_get(obj, key);

	if (!json_is_string(value))
		return moe_err_set(err, MOE_EFORMAT, "%s.%s: a string is expected", where, key);
	*out = (struct moe_str){json_string_value(value), json_string_length(value)};
	return MOE_OK;
}

enum moe_status moe_stage_char(const json_t *obj, const char *key, const char *where, uint32_t *out,
                               struct moe_err *err)
{
	struct moe_str text = {NULL, 0};
	size_t used = 0;
	enum moe_status status = moe_stage_str(obj, key, where, &text, err);

	if (status)
		return status;
	if (text.n > 0)
		*out = moe_utf8_take((const uint8_t *)text.p, text.n, &used);
	if (text.n == 0 || used != text.n)
		return moe_err_set(err, MOE_EFORMAT, "%s.%s: one character is expected", where, key);
	return MOE_OK;
}

enum moe_status moe_stage_parse_nothing(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	(void)obj, (void)where, (void)err;
	*self = NULL;
	return MOE_OK;
}

void moe_stage_free_nothing(void *self)
{
	(void)self;
}

enum moe_status moe_stage_pattern(const json_t *obj, const char *where, struct moe_regex **out, struct moe_err *err)
{
	const json_t *pattern = json_object_get(obj, "pattern");
	struct moe_str text = {NULL, 0};
	char path[600];
	enum moe_status status;

	*out = NULL;
	if (!json_is_object(pattern) || json_object_size(pattern) != 1)
		return moe_err_set(err, MOE_EFORMAT, "%s.pattern: an object with Regex or String is expected", where);
	snprintf(path, sizeof path, "%s.pattern", where);
	if (moe_json_has(pattern, "String")) {
		status = moe_stage_str(pattern, "String", path, &text, err);
		if (!status && text.n == 0)
			status = moe_err_set(err, MOE_EFORMAT, "%s.String: the pattern is empty", path);
		return status ? status : moe_regex_compile_literal(out, text.p, text.n, path, err);
	}
	status = moe_stage_str(pattern, "Regex", path, &text, err);
	return status ? status : moe_regex_compile(out, text.p, text.n, path, err);
}
