/* Byte pair encoding: a vocabulary of pieces and an order of merges. A piece of text begins as single characters, or
 * bytes written as visible characters, which merge.c joins. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/bytechar.h"
#include "text/merge.h"
#include "text/stage.h"
#include "text/utf8.h"

enum {
	CACHE_BYTES = 24,        /* longest piece remembered */
	CACHE_IDS = 8,
	CACHE_SLOTS = 1 << 14,   /* for a long text; a short one gets fewer */
};

struct entry {
	const char *text;
	uint32_t n_bytes;
	int32_t id;
};

struct bpe {
	char *blob;              /* the text of all entries */
	struct entry *entries;   /* [n] */
	size_t n;
	uint32_t *slots;         /* [slot_mask + 1] index into entries + 1; 0: empty */
	size_t slot_mask;
	struct moe_merges merges;
	int32_t byte_ids[256];   /* of the visible character of a byte; -1: none */
	int32_t code_ids[256];   /* of <0xHH>; -1: none */
	int32_t unk_id;          /* -1: none */
	bool byte_fallback, fuse_unk, ignore_merges, any_merges;
};

struct cached {
	uint8_t n_bytes, n_ids;
	char text[CACHE_BYTES];
	int32_t ids[CACHE_IDS];
};

struct scratch {
	struct cached *cache;    /* [cache_mask + 1] */
	size_t cache_mask;
	struct moe_merging merging;
	struct moe_buf mapped;
};

static uint64_t hash_bytes(const char *p, size_t n)
{
	uint64_t h = UINT64_C(0x9E3779B97F4A7C15) ^ n, word;

	for (; n >= 8; p += 8, n -= 8) {
		memcpy(&word, p, 8);
		h = (h ^ word) * UINT64_C(0xBF58476D1CE4E5B9);
		h ^= h >> 32;
	}
	word = 0;
	memcpy(&word, p, n);
	h = (h ^ word) * UINT64_C(0x94D049BB133111EB);
	return h ^ h >> 29;
}

static int32_t find(const void *self, struct moe_str text)
{
	const struct bpe *bpe = self;

	for (size_t i = hash_bytes(text.p, text.n) & bpe->slot_mask; bpe->slots[i]; i = (i + 1) & bpe->slot_mask) {
		const struct entry *e = &bpe->entries[bpe->slots[i] - 1];
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

static enum moe_status read_vocab(struct bpe *bpe, const json_t *vocab, const char *where, struct moe_err *err)
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
		struct entry *e = &bpe->entries[bpe->n];
		json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
		size_t n = strlen(key), slot;

		if (id < 0 || id > INT32_MAX - 1)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s.vocab: the id of '%.100s' is not a number from 0 to 2147483646", where,
			                   key);
		if (n > UINT32_MAX)
			return moe_err_set(err, MOE_EFORMAT, "%s.vocab: a token of %zu bytes", where, n);
		memcpy(bpe->blob + at, key, n);
		*e = (struct entry){bpe->blob + at, (uint32_t)n, (int32_t)id};
		at += n;
		slot = hash_bytes(key, n) & bpe->slot_mask;
		while (bpe->slots[slot])
			slot = (slot + 1) & bpe->slot_mask;
		bpe->slots[slot] = (uint32_t)++bpe->n;
	}
	return MOE_OK;
}

/* Entry i of the merges: [left, right] or "left right". */
static enum moe_status read_pair(const json_t *item, size_t i, const char *where, struct moe_str pair[2],
                                 struct moe_err *err)
{
	if (json_is_array(item) && json_array_size(item) == 2 && json_is_string(json_array_get(item, 0)) &&
	    json_is_string(json_array_get(item, 1))) {
		for (size_t k = 0; k < 2; k++) {
			const json_t *s = json_array_get(item, k);
			pair[k] = (struct moe_str){json_string_value(s), json_string_length(s)};
		}
		return MOE_OK;
	}
	if (json_is_string(item)) {
		const char *text = json_string_value(item);
		size_t n = json_string_length(item);
		const char *space = memchr(text, ' ', n);
		if (space && !memchr(space + 1, ' ', n - (size_t)(space + 1 - text))) {
			pair[0] = (struct moe_str){text, (size_t)(space - text)};
			pair[1] = (struct moe_str){space + 1, n - pair[0].n - 1};
			return MOE_OK;
		}
	}
	return moe_err_set(err, MOE_EFORMAT, "%s.merges[%zu]: two tokens are expected, as \"a b\" or [\"a\", \"b\"]",
	                   where, i);
}

static enum moe_status read_merges(struct bpe *bpe, const json_t *merges, const char *where, struct moe_err *err)
{
	size_t n = json_array_size(merges);
	struct moe_buf joined = {0};
	struct moe_str pair[2];
	enum moe_status status = MOE_OK;

	if (!json_is_array(merges))
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s.merges: an array is expected; a vocabulary without its merges cannot "
		                   "encode", where);
	bpe->any_merges = n > 0;
	status = moe_merges_room(&bpe->merges, n, err);
	for (size_t i = 0; i < n && !status; i++) {
		const json_t *item = json_array_get(merges, i);
		int32_t ids[3];

		if (json_is_string(item) && strncmp(json_string_value(item), "#version", 8) == 0)
			continue;
		status = read_pair(item, i, where, pair, err);
		if (status)
			break;
		joined.n = 0;
		moe_buf_add(&joined, pair[0].p, pair[0].n);
		moe_buf_add(&joined, pair[1].p, pair[1].n);
		status = moe_buf_check(&joined, err);
		if (status)
			break;
		ids[0] = find(bpe, pair[0]);
		ids[1] = find(bpe, pair[1]);
		ids[2] = find(bpe, (struct moe_str){joined.p ? joined.p : "", joined.n});
		for (int k = 0; k < 3 && !status; k++) {
			struct moe_str s = k < 2 ? pair[k] : (struct moe_str){joined.p ? joined.p : "", joined.n};
			if (ids[k] < 0)
				status = moe_err_set(err, MOE_EFORMAT,
				                     "%s.merges[%zu]: '%.*s' is not in the vocabulary", where, i,
				                     (int)(s.n < 100 ? s.n : 100), s.p);
		}
		if (!status)
			moe_merges_put(&bpe->merges, ids[0], ids[1], ids[2], (uint32_t)i);
	}
	moe_buf_free(&joined);
	return status;
}

/* Options that would change ids in ways this model does not know. */
static enum moe_status check_options(const json_t *obj, const char *where, struct moe_err *err)
{
	static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
	double dropout = 0;
	enum moe_status status = moe_json_f64(obj, "dropout", where, &dropout, err);

	if (!status && dropout != 0)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s.dropout: %g would make ids random; only 0 or null is supported", where, dropout);
	for (size_t i = 0; i < 2 && !status; i++) {
		const char *affix = "";
		status = moe_json_str(obj, affixes[i], where, &affix, err);
		if (!status && *affix)
			return moe_err_set(err, MOE_EFORMAT, "%s.%s: '%.100s' is not supported, only nothing", where,
			                   affixes[i], affix);
	}
	return status;
}

static void bpe_free(void *self)
{
	struct bpe *bpe = self;

	if (!bpe)
		return;
	free(bpe->blob);
	free(bpe->entries);
	free(bpe->slots);
	moe_merges_free(&bpe->merges);
	free(bpe);
}

static enum moe_status bpe_parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	struct bpe *bpe = calloc(1, sizeof *bpe);
	const char *unk = NULL;
	char code[8];
	uint8_t utf8[4];
	enum moe_status status;

	*self = NULL;
	if (!bpe)
		return moe_err_nomem(err, sizeof *bpe, "a tokenizer");
	status = check_options(obj, where, err);
	if (!status)
		status = moe_json_bool(obj, "byte_fallback", where, &bpe->byte_fallback, err);
	if (!status)
		status = moe_json_bool(obj, "fuse_unk", where, &bpe->fuse_unk, err);
	if (!status)
		status = moe_json_bool(obj, "ignore_merges", where, &bpe->ignore_merges, err);
	if (!status)
		status = moe_json_str(obj, "unk_token", where, &unk, err);
	if (!status)
		status = read_vocab(bpe, json_object_get(obj, "vocab"), where, err);
	if (!status)
		status = read_merges(bpe, json_object_get(obj, "merges"), where, err);
	if (!status) {
		bpe->unk_id = unk ? find(bpe, moe_str_of(unk)) : -1;
		if (unk && bpe->unk_id < 0)
			status = moe_err_set(err, MOE_EFORMAT, "%s.unk_token: '%.100s' is not in the vocabulary", where,
			                     unk);
	}
	if (status) {
		bpe_free(bpe);
		return status;
	}
	for (int b = 0; b < 256; b++) {
		bpe->byte_ids[b] = find(bpe,
		                        (struct moe_str){(char *)utf8, moe_utf8_put(utf8, moe_bytechar((uint8_t)b))});
		snprintf(code, sizeof code, "<0x%02X>", b);
		bpe->code_ids[b] = find(bpe, moe_str_of(code));
	}
	*self = bpe;
	return MOE_OK;
}

static size_t n_pieces(const void *self)
{
	return ((const struct bpe *)self)->n;
}

static void piece_at(const void *self, size_t i, int32_t *id, struct moe_str *text)
{
	const struct entry *e = &((const struct bpe *)self)->entries[i];

	*id = e->id;
	*text = (struct moe_str){e->text, e->n_bytes};
}

/* Of several characters, with no merge to make it of them; neither the unknown token nor a byte as <0xHH>. */
static bool lacks_merges(const void *self, int32_t id, struct moe_str text)
{
	const struct bpe *bpe = self;
	size_t used = 0;

	if (bpe->any_merges || bpe->ignore_merges || id == bpe->unk_id || text.n == 0)
		return false;
	if (text.n == 6 && strncmp(text.p, "<0x", 3) == 0 && text.p[5] == '>')
		return false;
	moe_utf8_take((const uint8_t *)text.p, text.n, &used);
	return used > 0 && used < text.n;
}

/* -- encoding ----------------------------------------------------------------------------------------------------- */

static void scratch_free(void *scratch)
{
	struct scratch *sc = scratch;

	if (!sc)
		return;
	free(sc->cache);
	moe_merging_free(&sc->merging);
	moe_buf_free(&sc->mapped);
	free(sc);
}

static void *scratch_new(const void *self, size_t n_bytes)
{
	struct scratch *sc = calloc(1, sizeof *sc);
	size_t slots = 16;

	(void)self;
	while (slots < CACHE_SLOTS && slots < n_bytes / 8)
		slots *= 2;
	if (!sc)
		return NULL;
	sc->cache = calloc(slots, sizeof *sc->cache);
	sc->cache_mask = slots - 1;
	if (!sc->cache) {
		scratch_free(sc);
		return NULL;
	}
	return sc;
}

static enum moe_status unknown_char(const char *p, size_t n, struct moe_err *err)
{
	return moe_err_set(err, MOE_EFORMAT, "the tokenizer has no token for the character '%.*s', nor an unk_token",
	                   (int)n, p);
}

/* The ids of single characters into sc->merging.symbols. A character without an id becomes its bytes as <0xHH> if
 * byte_fallback says so and all are there, otherwise unk_token, one for several in a row if fuse_unk says so. */
static enum moe_status first_symbols(const struct bpe *bpe, struct scratch *sc, struct moe_str piece, bool byte_level,
                                     size_t *n, struct moe_err *err)
{
	bool pending = false;
	uint8_t utf8[4];
	size_t used = 1;

	*n = 0;
	for (size_t i = 0; i < piece.n; i += used) {
		struct moe_str c = {piece.p + i, 1};
		int32_t id;
		bool all = bpe->byte_fallback;

		used = 1;
		if (byte_level) {
			id = bpe->byte_ids[(uint8_t)piece.p[i]];
			c = (struct moe_str){(char *)utf8, moe_utf8_put(utf8, moe_bytechar((uint8_t)piece.p[i]))};
		} else {
			(void)moe_utf8_take((const uint8_t *)piece.p + i, piece.n - i, &used);
			c.n = used;
			id = find(bpe, c);
		}
		if (id >= 0) {
			if (pending)
				sc->merging.symbols[(*n)++] = bpe->unk_id;
			pending = false;
			sc->merging.symbols[(*n)++] = id;
			continue;
		}
		for (size_t k = 0; k < c.n && all; k++)
			all = bpe->code_ids[(uint8_t)c.p[k]] >= 0;
		for (size_t k = 0; k < c.n && all; k++)
			sc->merging.symbols[(*n)++] = bpe->code_ids[(uint8_t)c.p[k]];
		if (all)
			continue;
		if (bpe->unk_id < 0)
			return unknown_char(c.p, c.n, err);
		if (pending && !bpe->fuse_unk)
			sc->merging.symbols[(*n)++] = bpe->unk_id;
		pending = true;
	}
	if (pending)
		sc->merging.symbols[(*n)++] = bpe->unk_id;
	return MOE_OK;
}

/* The id of a whole piece for ignore_merges; -1: none. */
static int32_t whole_id(const struct bpe *bpe, struct scratch *sc, struct moe_str piece, bool byte_level)
{
	if (!byte_level)
		return find(bpe, piece);
	sc->mapped.n = 0;
	for (size_t i = 0; i < piece.n; i++) {
		uint8_t utf8[4];
		moe_buf_add(&sc->mapped, utf8, moe_utf8_put(utf8, moe_bytechar((uint8_t)piece.p[i])));
	}
	return find(bpe, (struct moe_str){sc->mapped.p ? sc->mapped.p : "", sc->mapped.n});
}

static enum moe_status add_ids(struct moe_ids *ids, const int32_t *from, size_t n, struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < n && !status; i++)
		status = moe_ids_add(ids, from[i], err);
	return status;
}

static enum moe_status encode_piece(const struct bpe *bpe, struct scratch *sc, struct moe_str piece, bool byte_level,
                                    size_t *n, struct moe_err *err)
{
	enum moe_status status;

	if (piece.n > INT32_MAX / 4)
		return moe_err_set(err, MOE_EFORMAT,
		                   "a piece of text of %zu bytes that nothing divides, at most %d are supported",
		                   piece.n, INT32_MAX / 4);
	/* A character of n bytes becomes at most 2 n symbols: the bytes of its visible characters. */
	status = moe_merging_room(&sc->merging, 2 * piece.n, err);
	if (status)
		return status;
	if (bpe->ignore_merges) {
		int32_t id = whole_id(bpe, sc, piece, byte_level);
		status = moe_buf_check(&sc->mapped, err);
		if (status || id >= 0) {
			sc->merging.symbols[0] = id;
			*n = 1;
			return status;
		}
	}
	status = first_symbols(bpe, sc, piece, byte_level, n, err);
	if (status)
		return status;
	return moe_merging_run(&sc->merging, &bpe->merges, n, err);
}

static enum moe_status encode(const void *self, void *scratch, struct moe_str piece, bool byte_level,
                              struct moe_ids *ids, struct moe_err *err)
{
	struct scratch *sc = scratch;
	struct cached *slot = NULL;
	size_t n = 0;
	enum moe_status status;

	if (piece.n == 0)
		return MOE_OK;
	if (piece.n <= CACHE_BYTES) {
		slot = &sc->cache[hash_bytes(piece.p, piece.n) & sc->cache_mask];
		if (slot->n_bytes == piece.n && memcmp(slot->text, piece.p, piece.n) == 0)
			return add_ids(ids, slot->ids, slot->n_ids, err);
	}
	status = encode_piece(self, sc, piece, byte_level, &n, err);
	if (status)
		return status;
	if (slot && n <= CACHE_IDS) {
		slot->n_bytes = (uint8_t)piece.n;
		slot->n_ids = (uint8_t)n;
		memcpy(slot->text, piece.p, piece.n);
		memcpy(slot->ids, sc->merging.symbols, n * sizeof *slot->ids);
	}
	return add_ids(ids, sc->merging.symbols, n, err);
}

const struct moe_text_model moe_text_model_bpe = {
	.part = {.type = "BPE", .parse = bpe_parse, .free = bpe_free},
	.n_pieces = n_pieces,
	.piece = piece_at,
	.find = find,
	.lacks_merges = lacks_merges,
	.scratch_new = scratch_new,
	.scratch_free = scratch_free,
	.encode = encode,
};
