/* Text to ids: added tokens are cut out, what lies between runs through normalizer, pre-tokenizer and model. */
#include <stdlib.h>

#include "text/parts.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

/* A normalizer may make GROWTH code points of each of a text, and SLACK more in all: hostile ones multiply. */
#define GROWTH 64
#define SLACK ((size_t)1 << 20)

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
	struct moe_codes text, part;
	struct moe_added_parts raw, normal;
	struct moe_split split;
	struct moe_buf utf8;
	void *scratch;
	size_t n_left;   /* code points that the normal form of the rest may have */
	struct moe_ids *ids;
	struct moe_err *err;
};

/* Normalised text without added tokens; n_lead as in struct moe_codes. */
static enum moe_status encode_plain(struct encoder *en, const uint32_t *codes, size_t n, size_t n_lead)
{
	const struct moe_tokenizer *tok = en->tok;
	const struct moe_text_model *model = (const struct moe_text_model *)tok->model.part;
	struct moe_split *split = &en->split;
	enum moe_status status;

	split->text.n = 0;
	split->pieces.n = 0;
	split->byte_level = false;
	split->text.n_lead = n_lead;
	status = moe_codes_add(&split->text, codes, n, en->err);
	if (!status)
		status = moe_pieces_add(&split->pieces, 0, n, false, en->err);
	if (!status && tok->pretokenizer.part) {
		const struct moe_pretokenizer *kind = (const struct moe_pretokenizer *)tok->pretokenizer.part;
		status = kind->split(tok->pretokenizer.self, split, en->err);
	}
	for (size_t i = 0; i < split->pieces.n && !status; i++) {
		const struct moe_piece *v = &split->pieces.v[i];
		uint8_t *p;

		en->utf8.n = 0;
		p = (uint8_t *)moe_buf_room(&en->utf8, 4 * (v->end - v->start));
		if (!p)
			return moe_buf_check(&en->utf8, en->err);
		for (size_t k = v->start; k < v->end; k++)
			p += moe_utf8_put(p, split->text.p[k]);
		en->utf8.n = (size_t)((char *)p - en->utf8.p);
		status = model->encode(tok->model.self, en->scratch, (struct moe_str){en->utf8.p, en->utf8.n},
		                       split->byte_level, en->ids, en->err);
	}
	return status;
}

/* A part between two added tokens of the raw text; leads: it is where the text begins. */
static enum moe_status encode_part(struct encoder *en, const uint32_t *codes, size_t n, bool leads)
{
	const struct moe_tokenizer *tok = en->tok;
	enum moe_status status;

	if (!tok->normalizer.part && !tok->normal)
		return n ? encode_plain(en, codes, n, leads) : MOE_OK;
	en->part.n = 0;
	en->part.n_lead = leads;
	status = moe_codes_add(&en->part, codes, n, en->err);
	if (!status)
		status = moe_normalize(&tok->normalizer, &en->part, &en->split.spare_text, en->n_left, en->err);
	if (tok->normalizer.part)
		en->n_left -= en->part.n < en->n_left ? en->part.n : en->n_left - 1;
	if (status || en->part.n == 0)
		return status;
	if (!tok->normal)
		return encode_plain(en, en->part.p, en->part.n, en->part.n_lead);
	status = moe_added_divide(tok->normal, en->part.p, en->part.n, &en->normal, en->err);
	for (size_t i = 0; i < en->normal.n && !status; i++) {
		const struct moe_added_part *v = &en->normal.v[i];
		size_t n_lead = en->part.n_lead > v->start ? en->part.n_lead - v->start : 0;
		status = v->id >= 0 ? moe_ids_add(en->ids, v->id, en->err)
		                    : encode_plain(en, en->part.p + v->start, v->end - v->start, n_lead);
	}
	return status;
}

static enum moe_status encode_text(struct encoder *en, const char *text, size_t n_bytes)
{
	const struct moe_tokenizer *tok = en->tok;
	const struct moe_text_model *model = (const struct moe_text_model *)tok->model.part;
	enum moe_status status = moe_codes_add_utf8(&en->text, text, n_bytes, en->err);

	if (status)
		return status;
	en->n_left = GROWTH * en->text.n + SLACK;
	en->scratch = model->scratch_new(tok->model.self, n_bytes);
	if (!en->scratch)
		return moe_err_nomem(en->err, 0, "a tokenizer's scratch");
	if (!tok->raw)
		return encode_part(en, en->text.p, en->text.n, true);
	status = moe_added_divide(tok->raw, en->text.p, en->text.n, &en->raw, en->err);
	for (size_t i = 0; i < en->raw.n && !status; i++) {
		const struct moe_added_part *v = &en->raw.v[i];
		status = v->id >= 0 ? moe_ids_add(en->ids, v->id, en->err)
		                    : encode_part(en, en->text.p + v->start, v->end - v->start,
		                                  v->start == 0);
	}
	return status;
}

enum moe_status moe_tokenizer_encode(const struct moe_tokenizer *tok, const char *text, size_t n_bytes,
                                     struct moe_ids *ids, struct moe_err *err)
{
	struct encoder en = {.tok = tok, .ids = ids, .err = err};
	const struct moe_text_model *model = (const struct moe_text_model *)tok->model.part;
	enum moe_status status = encode_text(&en, text, n_bytes);

	moe_codes_free(&en.text);
	moe_codes_free(&en.part);
	free(en.raw.v);
	free(en.normal.v);
	moe_split_free(&en.split);
	moe_buf_free(&en.utf8);
	model->scratch_free(en.scratch);
	return moe_tokenizer_blame(tok, status, err);
}
