/* Finding members by type, and what several of them share: growing text, pieces and the ways to split. */
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
	if (codes->limit && codes->n + n > codes->limit)
		return moe_err_set(err, MOE_EFORMAT, "the tokenizer's normalizer makes more than 64 characters of each "
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

enum moe_status moe_normalize(const struct moe_stage *normalizer, struct moe_codes *text, struct moe_codes *spare,
                              size_t limit, struct moe_err *err)
{
	const struct moe_normalizer *kind = (const struct moe_normalizer *)normalizer->part;
	enum moe_status status;

	if (!kind)
		return MOE_OK;
	/* Members exchange the two. */
	text->limit = spare->limit = limit;
	status = kind->apply(normalizer->self, text, spare, err);
	text->limit = spare->limit = 0;
	return status;
}

enum moe_status moe_pieces_add(struct moe_pieces *pieces, size_t start, size_t end, bool is_match, struct moe_err *err)
{
	if (pieces->n == pieces->cap) {
		size_t cap = pieces->cap ? pieces->cap * 2 : 64;
		struct moe_piece *grown = realloc(pieces->v, cap * sizeof *grown);
		if (!grown)
			return moe_err_nomem(err, cap * sizeof *grown, "the pieces of a text");
		pieces->v = grown;
		pieces->cap = cap;
	}
	pieces->v[pieces->n++] = (struct moe_piece){start, end, is_match};
	return MOE_OK;
}

void moe_split_free(struct moe_split *split)
{
	moe_codes_free(&split->text);
	moe_codes_free(&split->spare_text);
	free(split->pieces.v);
	free(split->spare.v);
	free(split->matches.v);
	*split = (struct moe_split){0};
}

/* Appends to split->spare the pieces that split->matches, which cover a piece without a gap, make of it. */
static enum moe_status add_by_behavior(struct moe_split *split, enum moe_behavior behavior, struct moe_err *err)
{
	const struct moe_pieces *m = &split->matches;
	struct moe_pieces *out = &split->spare;
	size_t first = out->n;

	for (size_t i = 0; i < m->n; i++) {
		const struct moe_piece *v = &m->v[i];
		bool join = false;
		enum moe_status status;

		if (v->start == v->end && behavior == MOE_SPLIT_ISOLATED)
			continue;
		switch (behavior) {
		case MOE_SPLIT_ISOLATED:
			break;
		case MOE_SPLIT_REMOVED:
			if (v->is_match)
				continue;
			break;
		case MOE_SPLIT_WITH_PREVIOUS:
			join = v->is_match && !(i > 0 && m->v[i - 1].is_match);
			break;
		case MOE_SPLIT_WITH_NEXT:
			join = i > 0 && m->v[i - 1].is_match && !v->is_match;
			/* Of several matches in a row only the last goes with the gap behind them. */
			break;
		case MOE_SPLIT_CONTIGUOUS:
			join = i > 0 && v->is_match == m->v[i - 1].is_match;
			break;
		}
		if (join && out->n > first) {
			out->v[out->n - 1].end = v->end;
			continue;
		}
		status = moe_pieces_add(out, v->start, v->end, false, err);
		if (status)
			return status;
	}
	return MOE_OK;
}

/* The pieces gathered in spare become those of the split; empty ones go. */
static void take_spare(struct moe_split *split)
{
	struct moe_pieces done = split->spare;
	size_t kept = 0;

	for (size_t i = 0; i < done.n; i++) {
		if (done.v[i].start < done.v[i].end)
			done.v[kept++] = done.v[i];
	}
	done.n = kept;
	split->spare = split->pieces;
	split->pieces = done;
}

enum moe_status moe_pieces_match(struct moe_pieces *out, struct moe_regex_scan *scan, struct moe_piece piece,
                                 bool invert, struct moe_err *err)
{
	size_t from = piece.start, gap = piece.start, start, stop;
	bool found, any = false;
	enum moe_status status;

	out->n = 0;
	while (from <= piece.end) {
		status = moe_regex_find(scan, piece.start, piece.end, from, &found, &start, &stop, err);
		if (status)
			return status;
		if (!found)
			break;
		if (start == stop && any && start == gap) {
			from = from + 1;
			continue;
		}
		if (gap != start)
			status = moe_pieces_add(out, gap, start, invert, err);
		if (!status)
			status = moe_pieces_add(out, start, stop, !invert, err);
		if (status)
			return status;
		from = gap = stop;
		any = true;
	}
	return gap == piece.end ? MOE_OK : moe_pieces_add(out, gap, piece.end, invert, err);
}

enum moe_status moe_split_regex(struct moe_split *split, const struct moe_regex *regex, enum moe_behavior behavior,
                                bool invert, struct moe_err *err)
{
	struct moe_regex_scan *scan;
	enum moe_status status = moe_regex_begin(&scan, regex, split->text.p, split->text.n, err);

	split->spare.n = 0;
	for (size_t i = 0; i < split->pieces.n && !status; i++) {
		status = moe_pieces_match(&split->matches, scan, split->pieces.v[i], invert, err);
		if (!status)
			status = add_by_behavior(split, behavior, err);
	}
	moe_regex_finish(scan);
	take_spare(split);
	return status;
}

enum moe_status moe_split_where(struct moe_split *split, bool (*is)(uint32_t code), enum moe_behavior behavior,
                                struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	split->spare.n = 0;
	for (size_t i = 0; i < split->pieces.n && !status; i++) {
		struct moe_piece piece = split->pieces.v[i];
		size_t gap = piece.start;

		split->matches.n = 0;
		for (size_t k = piece.start; k < piece.end && !status; k++) {
			if (!is(split->text.p[k]))
				continue;
			if (gap < k)
				status = moe_pieces_add(&split->matches, gap, k, false, err);
			if (!status)
				status = moe_pieces_add(&split->matches, k, k + 1, true, err);
			gap = k + 1;
		}
		if (!status && gap < piece.end)
			status = moe_pieces_add(&split->matches, gap, piece.end, false, err);
		if (!status)
			status = add_by_behavior(split, behavior, err);
	}
	take_spare(split);
	return status;
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
