/* Byte pair encoding: from single characters, the adjacent pair of lowest rank is merged, the leftmost among equals,
 * until no pair has a rank. Short pieces look for the pair by scanning, long ones by a heap, so that a line of ten
 * megabytes without a space takes n log n. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/bytechar.h"
#include "text/stage.h"
#include "text/utf8.h"

enum {
	SCAN_MAX = 48,           /* symbols: measured, the heap wins beyond */
	CACHE_BYTES = 24,        /* longest piece remembered */
	CACHE_IDS = 8,
	CACHE_SLOTS = 1 << 14,   /* for a long text; a short one gets fewer */
};

#define NO_RANK UINT32_MAX

struct entry {
	const char *text;
	uint32_t n_bytes;
	int32_t id;
};

/* One slot of the table of merges: the pair left, right becomes id. Empty: rank is NO_RANK. */
struct merge {
	int32_t left, right, id;
	uint32_t rank;
};

struct bpe {
	char *blob;              /* the text of all entries */
	struct entry *entries;   /* [n] */
	size_t n;
	uint32_t *slots;         /* [slot_mask + 1] index into entries + 1; 0: empty */
	size_t slot_mask;
	struct merge *merges;    /* [merge_mask + 1] */
	size_t merge_mask;
	int32_t byte_ids[256];   /* of the visible character of a byte; -1: none */
	int32_t code_ids[256];   /* of <0xHH>; -1: none */
	int32_t unk_id;          /* -1: none */
	bool byte_fallback, fuse_unk, ignore_merges;
};

struct cached {
	uint8_t n_bytes, n_ids;
	char text[CACHE_BYTES];
	int32_t ids[CACHE_IDS];
};

/* A pair that may still be there: whether it is, the symbols tell when its turn comes. */
struct candidate {
	uint32_t rank;
	int32_t at, left, right, id;
};

struct scratch {
	struct cached *cache;    /* [cache_mask + 1] */
	size_t cache_mask;
	int32_t *symbols;        /* [cap] ids; -1: merged away */
	int32_t *prev, *next;    /* [cap] neighbours, -1: none */
	struct candidate *heap;  /* [cap_heap] */
	size_t cap, n_heap, cap_heap;
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

static uint64_t hash_pair(int32_t left, int32_t right)
{
	uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * UINT64_C(0x9E3779B97F4A7C15);
	return h ^ h >> 32;
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

static const struct merge *find_merge(const struct bpe *bpe, int32_t left, int32_t right)
{
	size_t i = hash_pair(left, right) & bpe->merge_mask;

	while (bpe->merges[i].rank != NO_RANK && (bpe->merges[i].left != left || bpe->merges[i].right != right))
		i = (i + 1) & bpe->merge_mask;
	return &bpe->merges[i];
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
	size_t n = json_array_size(merges), size = table_size(n);
	struct moe_buf joined = {0};
	struct moe_str pair[2];
	enum moe_status status = MOE_OK;

	if (!json_is_array(merges))
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s.merges: an array is expected; a vocabulary without its merges cannot "
		                   "encode",
		                   where);
	if (n >= NO_RANK)
		return moe_err_set(err, MOE_EFORMAT, "%s.merges: too many", where);
	bpe->merges = malloc(size * sizeof *bpe->merges);
	if (!bpe->merges)
		return moe_err_nomem(err, size * sizeof *bpe->merges, "merges");
	memset(bpe->merges, 0xFF, size * sizeof *bpe->merges);
	bpe->merge_mask = size - 1;
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
				status =
					moe_err_set(err, MOE_EFORMAT, "%s.merges[%zu]: '%.*s' is not in the vocabulary",
				                    where, i, (int)(s.n < 100 ? s.n : 100), s.p);
		}
		if (!status) {
			/* Written twice, the later rank holds. */
			struct merge *m = (struct merge *)find_merge(bpe, ids[0], ids[1]);
			*m = (struct merge){ids[0], ids[1], ids[2], (uint32_t)i};
		}
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
	free(bpe->merges);
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
		bpe->byte_ids[b] =
			find(bpe, (struct moe_str){ (char *)utf8, moe_utf8_put(utf8, moe_bytechar((uint8_t)b)) });
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

/* -- encoding ----------------------------------------------------------------------------------------------------- */

static void scratch_free(void *scratch)
{
	struct scratch *sc = scratch;

	if (!sc)
		return;
	free(sc->cache);
	free(sc->symbols);
	free(sc->prev);
	free(sc->next);
	free(sc->heap);
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

static enum moe_status need_symbols(struct scratch *sc, size_t n, struct moe_err *err)
{
	size_t cap = sc->cap ? sc->cap : 256;
	int32_t **arrays[] = {&sc->symbols, &sc->prev, &sc->next};

	if (n <= sc->cap)
		return MOE_OK;
	while (cap < n)
		cap *= 2;
	for (int i = 0; i < 3; i++) {
		int32_t *grown = realloc(*arrays[i], cap * sizeof *grown);
		if (!grown)
			return moe_err_nomem(err, cap * sizeof *grown, "a piece of text");
		*arrays[i] = grown;
	}
	sc->cap = cap;
	return MOE_OK;
}

static enum moe_status unknown_char(const char *p, size_t n, struct moe_err *err)
{
	return moe_err_set(err, MOE_EFORMAT, "the tokenizer has no token for the character '%.*s', nor an unk_token",
	                   (int)n, p);
}

/* The ids of single characters into sc->symbols. A character without an id becomes its bytes as <0xHH> if byte_fallback
 * says so and all are there, otherwise unk_token, one for several in a row if fuse_unk says so. */
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
				sc->symbols[(*n)++] = bpe->unk_id;
			pending = false;
			sc->symbols[(*n)++] = id;
			continue;
		}
		for (size_t k = 0; k < c.n && all; k++)
			all = bpe->code_ids[(uint8_t)c.p[k]] >= 0;
		for (size_t k = 0; k < c.n && all; k++)
			sc->symbols[(*n)++] = bpe->code_ids[(uint8_t)c.p[k]];
		if (all)
			continue;
		if (bpe->unk_id < 0)
			return unknown_char(c.p, c.n, err);
		if (pending && !bpe->fuse_unk)
			sc->symbols[(*n)++] = bpe->unk_id;
		pending = true;
	}
	if (pending)
		sc->symbols[(*n)++] = bpe->unk_id;
	return MOE_OK;
}

/* Merges symbols[0 .. n) in place by scanning for the lowest rank; returns how many are left. */
static size_t merge_by_scan(const struct bpe *bpe, int32_t *symbols, size_t n)
{
	const struct merge *pairs[SCAN_MAX];

	for (size_t i = 0; i + 1 < n; i++)
		pairs[i] = find_merge(bpe, symbols[i], symbols[i + 1]);
	while (n > 1) {
		size_t best = 0;

		for (size_t i = 1; i + 1 < n; i++) {
			if (pairs[i]->rank < pairs[best]->rank)
				best = i;
		}
		if (pairs[best]->rank == NO_RANK)
			break;
		symbols[best] = pairs[best]->id;
		n--;
		memmove(symbols + best + 1, symbols + best + 2, (n - best - 1) * sizeof *symbols);
		if (best + 1 < n) {
			memmove(pairs + best + 1, pairs + best + 2, (n - best - 2) * sizeof *pairs);
			pairs[best] = find_merge(bpe, symbols[best], symbols[best + 1]);
		}
		if (best > 0)
			pairs[best - 1] = find_merge(bpe, symbols[best - 1], symbols[best]);
	}
	return n;
}

static bool before(const struct candidate *a, const struct candidate *b)
{
	return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static enum moe_status heap_add(struct scratch *sc, const struct bpe *bpe, int32_t at, struct moe_err *err)
{
	int32_t left = sc->symbols[at], right = sc->symbols[sc->next[at]];
	const struct merge *m = find_merge(bpe, left, right);
	struct candidate new = {m->rank, at, left, right, m->id};
	size_t i = sc->n_heap;

	if (m->rank == NO_RANK)
		return MOE_OK;
	if (sc->n_heap == sc->cap_heap) {
		size_t cap = sc->cap_heap ? 2 * sc->cap_heap : 256;
		struct candidate *grown = realloc(sc->heap, cap * sizeof *grown);
		if (!grown)
			return moe_err_nomem(err, cap * sizeof *grown, "a piece of text");
		sc->heap = grown;
		sc->cap_heap = cap;
	}
	sc->n_heap++;
	for (; i > 0 && before(&new, &sc->heap[(i - 1) / 2]); i = (i - 1) / 2)
		sc->heap[i] = sc->heap[(i - 1) / 2];
	sc->heap[i] = new;
	return MOE_OK;
}

static struct candidate heap_take(struct scratch *sc)
{
	struct candidate top = sc->heap[0], last = sc->heap[--sc->n_heap];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < sc->n_heap) {
		if (child + 1 < sc->n_heap && before(&sc->heap[child + 1], &sc->heap[child]))
			child++;
		if (!before(&sc->heap[child], &last))
			break;
		sc->heap[i] = sc->heap[child];
		i = child;
	}
	sc->heap[i] = last;
	return top;
}

/* The same result as merge_by_scan for any n up to INT32_MAX. */
static enum moe_status merge_by_heap(const struct bpe *bpe, struct scratch *sc, size_t *n, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	size_t kept = 0;

	sc->n_heap = 0;
	for (size_t i = 0; i < *n; i++) {
		sc->prev[i] = (int32_t)i - 1;
		sc->next[i] = i + 1 < *n ? (int32_t)i + 1 : -1;
	}
	for (size_t i = 0; i + 1 < *n && !status; i++)
		status = heap_add(sc, bpe, (int32_t)i, err);
	while (sc->n_heap > 0 && !status) {
		struct candidate c = heap_take(sc);
		int32_t right = sc->next[c.at];

		if (sc->symbols[c.at] != c.left || right < 0 || sc->symbols[right] != c.right)
			continue;
		sc->symbols[c.at] = c.id;
		sc->symbols[right] = -1;
		sc->next[c.at] = sc->next[right];
		if (sc->next[right] >= 0) {
			sc->prev[sc->next[right]] = c.at;
			status = heap_add(sc, bpe, c.at, err);
		}
		if (sc->prev[c.at] >= 0 && !status)
			status = heap_add(sc, bpe, sc->prev[c.at], err);
	}
	for (size_t i = 0; i < *n; i++) {
		if (sc->symbols[i] >= 0)
			sc->symbols[kept++] = sc->symbols[i];
	}
	*n = kept;
	return status;
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
	status = need_symbols(sc, 2 * piece.n, err);
	if (status)
		return status;
	if (bpe->ignore_merges) {
		int32_t id = whole_id(bpe, sc, piece, byte_level);
		status = moe_buf_check(&sc->mapped, err);
		if (status || id >= 0) {
			sc->symbols[0] = id;
			*n = 1;
			return status;
		}
	}
	status = first_symbols(bpe, sc, piece, byte_level, n, err);
	if (status)
		return status;
	if (*n > SCAN_MAX)
		return merge_by_heap(bpe, sc, n, err);
	*n = merge_by_scan(bpe, sc->symbols, *n);
	return MOE_OK;
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
		memcpy(slot->ids, sc->symbols, n * sizeof *slot->ids);
	}
	return add_ids(ids, sc->symbols, n, err);
}

const struct moe_text_model moe_text_model_bpe = {
	.part = {.type = "BPE", .parse = bpe_parse, .free = bpe_free},
	.n_pieces = n_pieces,
	.piece = piece_at,
	.find = find,
	.scratch_new = scratch_new,
	.scratch_free = scratch_free,
	.encode = encode,
};
