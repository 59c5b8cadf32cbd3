/* Byte pair encoding: look-ups in a vocabulary, and pieces of text that begin as single characters, or bytes written
 * as visible characters, which merge.c joins. */
#include "text/bpe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/bytechar.h"
#include "text/memo.h"
#include "text/utf8.h"

struct scratch {
	struct moe_memo memo;
	struct moe_merging merging;
	struct moe_buf mapped;
};

int32_t moe_bpe_find(const void *self, struct moe_str text)
{
	const struct moe_bpe *bpe = self;

	for (size_t i = moe_memo_hash(text.p, text.n) & bpe->slot_mask; bpe->slots[i]; i = (i + 1) & bpe->slot_mask) {
		const struct moe_bpe_entry *e = &bpe->entries[bpe->slots[i] - 1];
		if (e->n_bytes == text.n && memcmp(e->text, text.p, text.n) == 0)
			return e->id;
	}
	return -1;
}

static size_t table_size(size_t n)
{
	size_t size = 16;

	while (size < 2 * n)
		size *= 2;
	return size;
}

/* -- reading ------------------------------------------------------------------------------------------------------ */

enum moe_status moe_bpe_read_vocab(struct moe_bpe *bpe, const json_t *vocab, const char *where, struct moe_err *err)
{
	const char *key;
	json_t *value;
	size_t n_bytes = 0, at = 0, size;

	if (!json_is_object(vocab) || json_object_size(vocab) == 0)
		return moe_err_set(err, MOE_EFORMAT, "%s.vocab: an object that is not empty is expected", where);
	json_object_foreach((json_t *)vocab, key, value)
		n_bytes += strlen(key);
	size = table_size(json_object_size(vocab));
	bpe->blob = malloc(n_bytes + 1);
	bpe->entries = calloc(json_object_size(vocab), sizeof *bpe->entries);
	bpe->slots = calloc(size, sizeof *bpe->slots);
	bpe->slot_mask = size - 1;
	if (!bpe->blob || !bpe->entries || !bpe->slots || json_object_size(vocab) > INT32_MAX)
		return moe_err_nomem(err, n_bytes, "a vocabulary");
	json_object_foreach((json_t *)vocab, key, value) {
		struct moe_bpe_entry *e = &bpe->entries[bpe->n];
		json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
		size_t n = strlen(key), slot;

		if (id < 0 || id > INT32_MAX - 1)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s.vocab: the id of '%.100s' is not a number from 0 to 2147483646", where,
			                   key);
		if (n > UINT32_MAX)
			return moe_err_set(err, MOE_EFORMAT, "%s.vocab: a token of %zu bytes", where, n);
		if (n > bpe->longest)
			bpe->longest = n;
		memcpy(bpe->blob + at, key, n);
		*e = (struct moe_bpe_entry){bpe->blob + at, (uint32_t)n, (int32_t)id};
		at += n;
		slot = moe_memo_hash(key, n) & bpe->slot_mask;
		while (bpe->slots[slot])
			slot = (slot + 1) & bpe->slot_mask;
		bpe->slots[slot] = (uint32_t)++bpe->n;
	}
	return MOE_OK;
}

void moe_bpe_free(void *self)
{
	struct moe_bpe *bpe = self;

	if (!bpe)
		return;
	free(bpe->blob);
	free(bpe->entries);
	free(bpe->slots);
	moe_merges_free(&bpe->merges);
	moe_seams_free(&bpe->seams);
	free(bpe);
}

size_t moe_bpe_n_pieces(const void *self)
{
	return ((const struct moe_bpe *)self)->n;
}

void moe_bpe_piece(const void *self, size_t i, int32_t *id, struct moe_str *text)
{
	const struct moe_bpe_entry *e = &((const struct moe_bpe *)self)->entries[i];

	*id = e->id;
	*text = (struct moe_str){e->text, e->n_bytes};
}

void moe_bpe_settle(struct moe_bpe *bpe)
{
	char code[8];
	uint8_t utf8[4];

	for (size_t i = 0; i < bpe->n; i++) {
		const struct moe_str text = {bpe->entries[i].text, bpe->entries[i].n_bytes};
		if (bpe->entries[i].id == bpe->unk_id)
			moe_seam_ends(text, &bpe->unk_first, &bpe->unk_last);
	}
	for (int b = 0; b < 128; b++)
		bpe->ascii_ids[b] = moe_bpe_find(bpe, (struct moe_str){&(const char){(char)b}, 1});
	for (int b = 0; b < 256; b++) {
		const size_t n = moe_utf8_put(utf8, moe_bytechar((uint8_t)b));
		bpe->byte_ids[b] = moe_bpe_find(bpe, (struct moe_str){(char *)utf8, n});
		snprintf(code, sizeof code, "<0x%02X>", b);
		bpe->code_ids[b] = moe_bpe_find(bpe, moe_str_of(code));
	}
}

/* -- encoding ----------------------------------------------------------------------------------------------------- */

void moe_bpe_scratch_free(void *scratch)
{
	struct scratch *sc = scratch;

	if (!sc)
		return;
	moe_memo_free(&sc->memo);
	moe_merging_free(&sc->merging);
	moe_buf_free(&sc->mapped);
	free(sc);
}

void *moe_bpe_scratch_new(const void *self, size_t n_bytes)
{
	struct scratch *sc = calloc(1, sizeof *sc);

	(void)self;
	if (sc && !moe_memo_new(&sc->memo, n_bytes)) {
		moe_bpe_scratch_free(sc);
		return NULL;
	}
	return sc;
}

static enum moe_status unknown_char(const char *p, size_t n, struct moe_err *err)
{
	return moe_err_set(err, MOE_EFORMAT, "has no token for the character '%.*s', nor an unk_token",
	                   (int)n, p);
}

/* A stretch of a piece of text on its way: symbols in scratch that no seam keeps apart. */
struct stretch {
	const struct moe_bpe *bpe;
	struct scratch *sc;
	struct moe_str piece;
	size_t n;            /* symbols */
	size_t start;        /* where it begins in the piece */
	uint32_t last;       /* the character that its last symbol ends with */
	bool plain;          /* every symbol is that of a character */
	size_t sure;         /* up to here in the piece nothing depends on what is behind; */
	size_t n_sure;       /* the ids then */
	struct moe_ids *ids;
	struct moe_err *err;
};

static enum moe_status add_ids(struct moe_ids *ids, const int32_t *from, size_t n, struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < n && !status; i++)
		status = moe_ids_add(ids, from[i], err);
	return status;
}

/* Merges the symbols there are and gives out their ids; `end` is where the stretch ends in the piece. */
static enum moe_status close_stretch(struct stretch *st, size_t end)
{
	struct moe_merging *mg = &st->sc->merging;
	const struct moe_str text = {st->piece.p + st->start, end - st->start};
	/* With ignore_merges what is remembered of whole pieces may differ. */
	const bool known = st->plain && st->n > 1 && !st->bpe->ignore_merges;
	struct moe_memo_slot *slot = known ? moe_memo_slot(&st->sc->memo, text) : NULL;
	size_t n = st->n;
	enum moe_status status = MOE_OK;

	st->n = 0;
	if (moe_memo_holds(slot, text))
		return add_ids(st->ids, slot->ids, slot->n_ids, st->err);
	if (n > 1)
		status = moe_merging_run(mg, &st->bpe->merges, &n, st->err);
	if (!status)
		moe_memo_put(slot, text, mg->symbols, n);
	return status ? status : add_ids(st->ids, mg->symbols, n, st->err);
}

/* Appends a symbol that begins with the character `first` and ends with `last`, of the text at `at`. exact: it begins
 * there, and none before it is still to come. */
static enum moe_status put(struct stretch *st, int32_t id, uint32_t first, uint32_t last, size_t at, bool plain,
                           bool exact)
{
	enum moe_status status = MOE_OK;

	if (st->n > 0 && st->bpe->has_seams && !moe_seams_has(&st->bpe->seams, st->last, first))
		status = close_stretch(st, at);
	if (st->n == 0) {
		st->start = at;
		st->plain = true;
		if (exact) {
			st->sure = at;
			st->n_sure = st->ids->n;
		}
	}
	if (!status && st->n == st->sc->merging.cap)
		status = moe_merging_room(&st->sc->merging, st->n + 1, st->err);
	if (status)
		return status;
	st->sc->merging.symbols[st->n++] = id;
	st->last = last;
	st->plain &= plain;
	return MOE_OK;
}

/* The character c of the text at `at`, which has no id: its bytes as <0xHH> if byte_fallback says so and all are there,
 * otherwise unk_token, one for several in a row if fuse_unk says so. *pending: one is still to come. */
static enum moe_status put_unknown(struct stretch *st, struct moe_str c, size_t at, bool *pending)
{
	const struct moe_bpe *bpe = st->bpe;
	bool all = bpe->byte_fallback;
	enum moe_status status = MOE_OK;

	for (size_t k = 0; k < c.n && all; k++)
		all = bpe->code_ids[(uint8_t)c.p[k]] >= 0;
	for (size_t k = 0; k < c.n && all && !status; k++)
		status = put(st, bpe->code_ids[(uint8_t)c.p[k]], '<', '>', at, false, k == 0 && !*pending);
	if (all)
		return status;
	if (bpe->unk_id < 0)
		return unknown_char(c.p, c.n, st->err);
	if (*pending && !bpe->fuse_unk)
		status = put(st, bpe->unk_id, bpe->unk_first, bpe->unk_last, at, false, false);
	*pending = true;
	return status;
}

/* The ids of all characters, stretch by stretch; open: of those up to st->sure. */
static enum moe_status put_all(struct stretch *st, bool byte_level, bool open)
{
	const struct moe_bpe *bpe = st->bpe;
	const uint8_t *p = (const uint8_t *)st->piece.p;
	bool pending = false;
	uint8_t utf8[4];
	size_t used = 1;
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < st->piece.n && !status; i += used) {
		struct moe_str c = {st->piece.p + i, 1};
		uint32_t code;
		int32_t id;

		used = 1;
		if (byte_level) {
			code = moe_bytechar(p[i]);
			id = bpe->byte_ids[p[i]];
			c = (struct moe_str){(char *)utf8, moe_utf8_put(utf8, code)};
		} else {
			code = moe_utf8_take(p + i, st->piece.n - i, &used);
			c.n = used;
			id = code < 128 ? bpe->ascii_ids[code] : moe_bpe_find(bpe, c);
		}
		if (id < 0) {
			status = put_unknown(st, c, i, &pending);
			continue;
		}
		if (pending)
			status = put(st, bpe->unk_id, bpe->unk_first, bpe->unk_last, i, false, false);
		pending = false;
		if (!status)
			status = put(st, id, code, code, i, true, true);
	}
	if (open) {
		st->ids->n = status ? st->ids->n : st->n_sure;
		return status;
	}
	if (pending && !status)
		status = put(st, bpe->unk_id, bpe->unk_first, bpe->unk_last, st->piece.n, false, false);
	return status || st->n == 0 ? status : close_stretch(st, st->piece.n);
}

/* The id of a whole piece for ignore_merges; -1: none. */
static int32_t whole_id(const struct moe_bpe *bpe, struct scratch *sc, struct moe_str piece, bool byte_level)
{
	if (!byte_level)
		return moe_bpe_find(bpe, piece);
	sc->mapped.n = 0;
	for (size_t i = 0; i < piece.n; i++) {
		uint8_t utf8[4];
		moe_buf_add(&sc->mapped, utf8, moe_utf8_put(utf8, moe_bytechar((uint8_t)piece.p[i])));
	}
	return moe_bpe_find(bpe, (struct moe_str){sc->mapped.p ? sc->mapped.p : "", sc->mapped.n});
}

static enum moe_status check_length(struct moe_str piece, struct moe_err *err)
{
	if (piece.n <= INT32_MAX / 4)
		return MOE_OK;
	return moe_err_set(err, MOE_EFORMAT,
	                   "a piece of text of %zu bytes that nothing divides, at most %d are supported", piece.n,
	                   INT32_MAX / 4);
}

static enum moe_status encode_piece(const struct moe_bpe *bpe, struct scratch *sc, struct moe_str piece,
                                    bool byte_level, struct moe_ids *ids, struct moe_err *err)
{
	struct stretch st = {.bpe = bpe, .sc = sc, .piece = piece, .ids = ids, .err = err};
	enum moe_status status = check_length(piece, err);

	if (!status && bpe->ignore_merges) {
		int32_t id = whole_id(bpe, sc, piece, byte_level);
		status = moe_buf_check(&sc->mapped, err);
		if (!status && id >= 0)
			return moe_ids_add(ids, id, err);
	}
	return status ? status : put_all(&st, byte_level, false);
}

enum moe_status moe_bpe_encode(const void *self, void *scratch, struct moe_str piece, bool byte_level,
                               struct moe_ids *ids, struct moe_err *err)
{
	struct scratch *sc = scratch;
	struct moe_memo_slot *slot = moe_memo_slot(&sc->memo, piece);
	size_t first = ids->n;
	enum moe_status status;

	if (moe_memo_holds(slot, piece))
		return add_ids(ids, slot->ids, slot->n_ids, err);
	status = encode_piece(self, sc, piece, byte_level, ids, err);
	if (!status)
		moe_memo_put(slot, piece, ids->ids + first, ids->n - first);
	return status;
}

enum moe_status moe_bpe_advance(const void *self, void *scratch, struct moe_str text, bool byte_level, bool begins,
                                bool ends, size_t *n_used, struct moe_ids *ids, struct moe_err *err)
{
	const struct moe_bpe *bpe = self;
	struct stretch st = {.bpe = bpe, .sc = scratch, .piece = text, .n_sure = ids->n, .ids = ids, .err = err};
	enum moe_status status = check_length(text, err);

	*n_used = ends ? text.n : 0;
	if (begins && ends)
		return moe_bpe_encode(self, scratch, text, byte_level, ids, err);
	/* What has become longer than every entry is none as a whole. */
	if (begins && bpe->ignore_merges && text.n <= bpe->longest)
		return status;
	if (!status)
		status = put_all(&st, byte_level, !ends);
	if (!ends)
		*n_used = st.sure;
	return status;
}
