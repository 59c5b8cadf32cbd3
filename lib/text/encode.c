/* Text to ids: added tokens are cut out, what lies between runs through normalizer, pre-tokenizer and model.
 *
 * The text comes window by window. Each stage takes what has come to it, hands on what nothing that follows can change,
 * and keeps the rest for the next window; a stage that could not hand on anything is asked again when twice as much has
 * come. Where an added token or the text ends, all of them hand on everything. */
#include "text/encode.h"

#include <stdlib.h>
#include <string.h>

#include "text/parts.h"
#include "text/split.h"
#include "text/utf8.h"

/* A normalizer may make GROWTH code points of each byte of a text, and SLACK more in all: hostile ones multiply. */
#define GROWTH 64
#define SLACK ((size_t)1 << 20)

enum { WINDOW = 1 << 16 };   /* code points taken at a time */

enum moe_status moe_ids_add(struct moe_ids *ids, int32_t id, struct moe_err *err)
{
	if (ids->n == ids->cap) {
		size_t cap = ids->cap ? 2 * ids->cap : 64;
		int32_t *grown = realloc(ids->ids, cap * sizeof *grown);
		if (!grown)
			return moe_err_nomem(err, cap * sizeof *grown, "ids");
		ids->ids = grown;
		ids->cap = cap;
	}
	ids->ids[ids->n++] = id;
	return MOE_OK;
}

void moe_ids_free(struct moe_ids *ids)
{
	free(ids->ids);
	*ids = (struct moe_ids){0};
}

/* One text on its way. */
struct encoder {
	const struct moe_tokenizer *tok;
	size_t window;                   /* also bytes of a piece that the model is given before it ends */
	struct moe_divide raw, normal;   /* raw.text: also where there are no added tokens to be found in it */
	struct moe_norm norm;
	bool in_part;                    /* a part of the raw text has begun and not ended */
	struct moe_steps steps;
	struct moe_splitter *splitters;  /* [steps.n] */
	struct moe_stream pieces;        /* for the model */
	size_t need;                     /* bytes of the piece that goes on, before the model is asked */
	bool begun;                      /* the model has used some of it */
	void *scratch;
	struct moe_ids *ids;
	struct moe_err *err;
};

/* -- pieces ------------------------------------------------------------------------------------------------------- */

/* The model takes the pieces that have ended, and of a long one that goes on what it can. */
static enum moe_status run_model(struct encoder *en)
{
	const struct moe_text_model *model = (const struct moe_text_model *)en->tok->model.part;
	const void *self = en->tok->model.self;
	const bool bytes = en->steps.byte_level;
	struct moe_stream *in = &en->pieces;
	size_t n_used;
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < in->n_ends && !status; i++) {
		const struct moe_str piece = {in->text.p + in->at, in->ends[i] - in->at};

		status = en->begun ? model->advance(self, en->scratch, piece, bytes, false, true, &n_used, en->ids,
		                                    en->err)
		                   : model->encode(self, en->scratch, piece, bytes, en->ids, en->err);
		in->at = in->ends[i];
		en->begun = false;
		en->need = 0;
	}
	if (!status && in->text.n - in->at >= (en->need > en->window ? en->need : en->window)) {
		const struct moe_str piece = {in->text.p + in->at, in->text.n - in->at};

		status = model->advance(self, en->scratch, piece, bytes, !en->begun, false, &n_used, en->ids, en->err);
		if (status)
			return status;
		in->at += n_used;
		en->begun |= n_used > 0;
		en->need = 2 * (piece.n - n_used);
	}
	if (!status)
		moe_stream_drop(in, in->at);
	return status;
}

static struct moe_stream *first_stream(struct encoder *en)
{
	return en->steps.n ? &en->splitters[0].in : &en->pieces;
}

static enum moe_status run_steps(struct encoder *en)
{
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < en->steps.n && !status; i++)
		status = moe_splitter_run(&en->splitters[i], i + 1 < en->steps.n ? &en->splitters[i + 1].in
		                                                                  : &en->pieces, en->err);
	return status ? status : run_model(en);
}

static enum moe_status end_plain(struct encoder *en)
{
	enum moe_status status = moe_stream_close(first_stream(en), en->err);

	return status ? status : run_steps(en);
}

/* Normalised text without added tokens; n_lead as in struct moe_codes; ends: that is all until the next. */
static enum moe_status encode_plain(struct encoder *en, const uint32_t *codes, size_t n, size_t n_lead, bool ends)
{
	struct moe_stream *to = first_stream(en);
	uint8_t *start = (uint8_t *)moe_buf_room(&to->text, 4 * n), *p = start;

	if (!p)
		return moe_buf_check(&to->text, en->err);
	for (size_t i = 0; i < n; i++) {
		if (i == n_lead)
			to->n_lead += (size_t)(p - start);
		p += moe_utf8_put(p, codes[i]);
	}
	if (n <= n_lead)
		to->n_lead += (size_t)(p - start);
	to->text.n += (size_t)(p - start);
	to->open |= n > 0;
	return ends ? end_plain(en) : run_steps(en);
}

/* -- parts -------------------------------------------------------------------------------------------------------- */

/* What has come out of the normalizers; last: that is all of the part. */
static enum moe_status encode_normal(struct encoder *en, bool last)
{
	struct moe_codes *out = &en->norm.out;
	struct moe_divide *div = &en->normal;
	struct moe_added_part v;
	enum moe_status status = MOE_OK;

	if (!en->tok->normal) {
		status = encode_plain(en, out->p, out->n, out->n_lead, last);
		moe_codes_drop(out, out->n);
		out->n_lead = last ? 0 : out->n_lead;
		return status;
	}
	div->text.n_lead += out->n_lead;
	out->n_lead = 0;
	status = moe_codes_add(&div->text, out->p, out->n, en->err);
	out->n = 0;
	while (!status && moe_added_next(en->tok->normal, div, last, &v)) {
		if (v.id < 0) {
			size_t n_lead = div->text.n_lead > v.start ? div->text.n_lead - v.start : 0;
			status = encode_plain(en, div->text.p + v.start, v.end - v.start, n_lead, v.ends);
			continue;
		}
		status = end_plain(en);
		if (!status)
			status = moe_ids_add(en->ids, v.id, en->err);
	}
	moe_divide_drop(div, last);
	return status || !last ? status : end_plain(en);
}

static enum moe_status end_part(struct encoder *en)
{
	enum moe_status status;

	if (!en->in_part)
		return MOE_OK;
	en->in_part = false;
	status = moe_norm_run(&en->norm, true, en->err);
	return status ? status : encode_normal(en, true);
}

/* Text between two added tokens of the raw text; ends: all that is left of it. */
static enum moe_status encode_part(struct encoder *en, const uint32_t *codes, size_t n, size_t n_lead, bool ends)
{
	struct moe_codes *to = moe_norm_in(&en->norm);
	enum moe_status status = moe_codes_add(to, codes, n, en->err);

	to->n_lead += n_lead;
	en->in_part |= n > 0;
	if (ends && !status)
		return end_part(en);
	if (!status)
		status = moe_norm_run(&en->norm, false, en->err);
	return status ? status : encode_normal(en, false);
}

/* -- the text ----------------------------------------------------------------------------------------------------- */

/* Takes a window off the text. */
static enum moe_status take_window(struct encoder *en, struct moe_str *text)
{
	struct moe_codes *codes = &en->raw.text;
	const uint8_t *p = (const uint8_t *)text->p, *end = p + text->n;
	size_t n = en->window < text->n ? en->window : text->n, used;
	enum moe_status status = moe_codes_room(codes, n, en->err);

	while (!status && n-- > 0 && p < end) {
		if (*p < 0x80) {
			codes->p[codes->n++] = *p++;
			continue;
		}
		codes->p[codes->n++] = moe_utf8_take(p, (size_t)(end - p), &used);
		p += used ? used : (size_t)(end - p);
	}
	*text = (struct moe_str){(const char *)p, (size_t)(end - p)};
	return status;
}

static enum moe_status encode_window(struct encoder *en, bool last)
{
	struct moe_divide *raw = &en->raw;
	struct moe_added_part v;
	enum moe_status status = MOE_OK;

	if (!en->tok->raw) {
		status = encode_part(en, raw->text.p, raw->text.n, raw->text.n_lead, last);
		moe_codes_drop(&raw->text, raw->text.n);
	}
	while (en->tok->raw && !status && moe_added_next(en->tok->raw, raw, last, &v)) {
		if (v.id < 0) {
			status = encode_part(en, raw->text.p + v.start, v.end - v.start, v.start < raw->text.n_lead,
			                     v.ends);
			continue;
		}
		status = end_part(en);
		if (!status)
			status = moe_ids_add(en->ids, v.id, en->err);
	}
	moe_divide_drop(raw, last);
	return status || !last ? status : end_part(en);
}

static enum moe_status begin(struct encoder *en, size_t n_bytes)
{
	const struct moe_tokenizer *tok = en->tok;
	const struct moe_text_model *model = (const struct moe_text_model *)tok->model.part;
	const struct moe_pretokenizer *pre = (const struct moe_pretokenizer *)tok->pretokenizer.part;
	enum moe_status status = moe_norm_new(&en->norm, &tok->normalizer, GROWTH * n_bytes + SLACK, en->err);

	if (!status && pre)
		status = pre->steps(tok->pretokenizer.self, &en->steps, en->err);
	if (status)
		return status;
	en->splitters = calloc(en->steps.n + 1, sizeof *en->splitters);
	en->scratch = model->scratch_new(tok->model.self, n_bytes);
	if (!en->splitters || !en->scratch)
		return moe_err_nomem(en->err, en->steps.n * sizeof *en->splitters, "a tokenizer's scratch");
	for (size_t i = 0; i < en->steps.n; i++)
		en->splitters[i].step = &en->steps.v[i];
	en->raw.text.n_lead = 1;
	return MOE_OK;
}

static void finish(struct encoder *en)
{
	const struct moe_text_model *model = (const struct moe_text_model *)en->tok->model.part;

	moe_codes_free(&en->raw.text);
	moe_codes_free(&en->normal.text);
	moe_norm_free(&en->norm);
	for (size_t i = 0; en->splitters && i < en->steps.n; i++)
		moe_splitter_free(&en->splitters[i]);
	free(en->splitters);
	free(en->steps.v);
	moe_stream_free(&en->pieces);
	model->scratch_free(en->scratch);
}

enum moe_status moe_tokenizer_encode_by(const struct moe_tokenizer *tok, const char *text, size_t n_bytes,
                                        size_t window, struct moe_ids *ids, struct moe_err *err)
{
	struct encoder en = {.tok = tok, .window = window, .ids = ids, .err = err};
	struct moe_str rest = {text, n_bytes};
	enum moe_status status = begin(&en, n_bytes);

	while (rest.n > 0 && !status) {
		status = take_window(&en, &rest);
		if (!status)
			status = encode_window(&en, rest.n == 0);
	}
	finish(&en);
	return moe_tokenizer_blame(tok, status, err);
}

enum moe_status moe_tokenizer_encode(const struct moe_tokenizer *tok, const char *text, size_t n_bytes,
                                     struct moe_ids *ids, struct moe_err *err)
{
	return moe_tokenizer_encode_by(tok, text, n_bytes, WINDOW, ids, err);
}
