/* Byte pair encoding: look-ups in a vocabulary, and pieces of text that begin as single characters, or bytes written
 * as visible characters, which merge.c joins. */
#include "text/bpe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/bytechar.h"
#include "text/utf8.h"

enum {
	CACHE_BYTES = 24,        /* longest piece remembered */
	CACHE_IDS = 8,
	CACHE_SLOTS = 1 << 14,   /* for a long text; a short one gets fewer */
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

int32_t moe_bpe_find(const void *self, struct moe_str text)
{
	const struct moe_bpe *bpe = self;

	for (size_t i = hash_bytes(text.p, text.n) & bpe->slot_mask; bpe->slots[i]; i = (i + 1) & bpe->slot_mask) {
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
		memcpy(bpe->blob + at, key, n);
		*e = (struct moe_bpe_entry){bpe->blob + at, (uint32_t)n, (int32_t)id};
		at += n;
		slot = hash_bytes(key, n) & bpe->slot_mask;
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
	free(sc->cache);
	moe_merging_free(&sc->merging);
	moe_buf_free(&sc->mapped);
	free(sc);
}

void *moe_bpe_scratch_new(const void *self, size_t n_bytes)
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
		moe_bpe_scratch_free(sc);
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
static enum moe_status first_symbols(const struct moe_bpe *bpe, struct scratch *sc, struct moe_str piece,
                                     bool byte_level, size_t *n, struct moe_err *err)
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
			id = moe_bpe_find(bpe, c);
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

static enum moe_status add_ids(struct moe_ids *ids, const int32_t *from, size_t n, struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < n && !status; i++)
		status = moe_ids_add(ids, from[i], err);
	return status;
}

static enum moe_status encode_piece(const struct moe_bpe *bpe, struct scratch *sc, struct moe_str piece,
                                    bool byte_level, size_t *n, struct moe_err *err)
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

enum moe_status moe_bpe_encode(const void *self, void *scratch, struct moe_str piece, bool byte_level,
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
