/* Unigram: each piece has a score, and a text becomes the pieces of the greatest sum.
 *
 * The sums are doubles, added from left to right over a whole piece of text, and the first of equal ones is kept: the
 * bits decide, as in the reference. Wherever no piece reaches across a place, the path through it is certain; what is
 * before is given out there, so that memory does not grow with the text. Where there is no such place for long, the
 * best paths to all places that are still open are followed back to where they are one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/bytechar.h"
#include "text/memo.h"
#include "text/stage.h"
#include "text/trie.h"
#include "text/utf8.h"

#define UNKNOWN_PENALTY 10.0   /* an unknown character scores as much less than the worst piece */
#define NO_START UINT32_MAX

enum {
	GIVE_OUT = 512,            /* bytes that are certain before they are given out */
	JOIN = 1 << 14,            /* bytes without such a place before the best paths are followed back to one */
	MAX_PIECE = INT32_MAX,     /* bytes of text that nothing divides */
};

struct entry {
	struct moe_str text;       /* a view of blob */
	double score;
};

struct unigram {
	char *blob;
	struct entry *entries;     /* [n] by id */
	size_t n;
	size_t longest;            /* bytes of an entry, or of a character */
	struct moe_trie trie;
	double unk_score;
	int32_t unk_id;            /* -1: none */
	int32_t code_ids[256];     /* of <0xHH>; -1: none */
	bool byte_fallback;
};

/* The best way to end at a place. */
struct node {
	double score;
	uint32_t start;            /* where its last piece begins; NO_START: nothing ends here */
	int32_t id;
};

/* A piece of text on its way. Places are relative to `done`. */
struct path {
	struct moe_str text;
	size_t done;               /* what is before it is given out, but for unknown characters */
	size_t unknown;            /* where those begin; done: there are none */
};

struct scratch {
	struct moe_memo memo;
	struct node *nodes;        /* [cap] */
	size_t cap;
	uint32_t *ends;            /* [cap_ends] of the pieces being given out */
	size_t cap_ends;
	struct moe_buf mapped;
	double score;              /* of a piece that comes bit by bit, at its `done` */
	size_t n_unknown;          /* bytes before that */
};

static int32_t find(const void *self, struct moe_str text)
{
	return moe_trie_find(&((const struct unigram *)self)->trie, text);
}

/* -- reading ------------------------------------------------------------------------------------------------------ */

static enum moe_status read_entry(struct unigram *ug, const json_t *item, const char *where, char *blob,
                                  struct moe_err *err)
{
	const json_t *text = json_array_get(item, 0), *score = json_array_get(item, 1);
	struct entry *e = &ug->entries[ug->n];

	if (!json_is_array(item) || json_array_size(item) != 2 || !json_is_string(text) || !json_is_number(score))
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s.vocab[%zu]: a piece and its score are expected, as [\"a\", -1.5]", where,
		                   ug->n);
	memcpy(blob, json_string_value(text), json_string_length(text));
	e->text = (struct moe_str){blob, json_string_length(text)};
	e->score = json_number_value(score);
	return moe_trie_put(&ug->trie, e->text, (int32_t)ug->n++, err);
}

static enum moe_status read_vocab(struct unigram *ug, const json_t *vocab, const char *where, struct moe_err *err)
{
	size_t n = json_array_size(vocab), n_bytes = 0;
	double worst = 0;
	char *at;
	enum moe_status status = MOE_OK;

	if (!json_is_array(vocab) || n == 0 || n >= INT32_MAX)
		return moe_err_set(err, MOE_EFORMAT, "%s.vocab: a list of pieces that is not empty is expected", where);
	for (size_t i = 0; i < n; i++)
		n_bytes += json_string_length(json_array_get(json_array_get(vocab, i), 0));
	ug->blob = at = malloc(n_bytes + 1);
	ug->entries = calloc(n, sizeof *ug->entries);
	if (!ug->blob || !ug->entries)
		return moe_err_nomem(err, n * sizeof *ug->entries, "a vocabulary");
	for (size_t i = 0; i < n && !status; i++) {
		status = read_entry(ug, json_array_get(vocab, i), where, at, err);
		at += ug->entries[i].text.n;
		worst = i == 0 || ug->entries[i].score < worst ? ug->entries[i].score : worst;
	}
	ug->longest = 4;
	for (size_t i = 0; i < ug->n; i++)
		ug->longest = ug->entries[i].text.n > ug->longest ? ug->entries[i].text.n : ug->longest;
	ug->unk_score = worst - UNKNOWN_PENALTY;
	return status;
}

static void unigram_free(void *self)
{
	struct unigram *ug = self;

	if (!ug)
		return;
	free(ug->blob);
	free(ug->entries);
	moe_trie_free(&ug->trie);
	free(ug);
}

static enum moe_status read_unk(struct unigram *ug, const json_t *obj, const char *where, struct moe_err *err)
{
	const json_t *unk = json_object_get(obj, "unk_id");

	ug->unk_id = -1;
	if (!unk || json_is_null(unk))
		return MOE_OK;
	if (!json_is_integer(unk) || json_integer_value(unk) < 0 || json_integer_value(unk) >= (json_int_t)ug->n)
		return moe_err_set(err, MOE_EFORMAT, "%s.unk_id: a number below the %zu pieces of the vocabulary is "
		                   "expected", where, ug->n);
	ug->unk_id = (int32_t)json_integer_value(unk);
	return MOE_OK;
}

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	struct unigram *ug = calloc(1, sizeof *ug);
	enum moe_status status;

	*self = NULL;
	if (!ug)
		return moe_err_nomem(err, sizeof *ug, "a tokenizer");
	status = moe_trie_new(&ug->trie, err);
	if (!status)
		status = moe_json_bool(obj, "byte_fallback", where, &ug->byte_fallback, err);
	if (!status)
		status = read_vocab(ug, json_object_get(obj, "vocab"), where, err);
	if (!status)
		status = read_unk(ug, obj, where, err);
	if (status) {
		unigram_free(ug);
		return status;
	}
	for (int b = 0; b < 256; b++) {
		char code[8];
		snprintf(code, sizeof code, "<0x%02X>", b);
		ug->code_ids[b] = find(ug, moe_str_of(code));
	}
	*self = ug;
	return MOE_OK;
}

static size_t n_pieces(const void *self)
{
	return ((const struct unigram *)self)->n;
}

static void piece_at(const void *self, size_t i, int32_t *id, struct moe_str *text)
{
	*id = (int32_t)i;
	*text = ((const struct unigram *)self)->entries[i].text;
}

/* -- encoding ----------------------------------------------------------------------------------------------------- */

static void scratch_free(void *scratch)
{
	struct scratch *sc = scratch;

	if (!sc)
		return;
	moe_memo_free(&sc->memo);
	free(sc->nodes);
	free(sc->ends);
	moe_buf_free(&sc->mapped);
	free(sc);
}

static void *scratch_new(const void *self, size_t n_bytes)
{
	struct scratch *sc = calloc(1, sizeof *sc);

	(void)self;
	if (sc && !moe_memo_new(&sc->memo, n_bytes)) {
		scratch_free(sc);
		return NULL;
	}
	return sc;
}

/* Room for nodes[0 .. n]. */
static enum moe_status node_room(struct scratch *sc, size_t n, struct moe_err *err)
{
	size_t cap = sc->cap ? sc->cap : 4 * GIVE_OUT;
	struct node *grown;

	if (n < sc->cap)
		return MOE_OK;
	while (cap <= n)
		cap *= 2;
	grown = realloc(sc->nodes, cap * sizeof *grown);
	if (!grown)
		return moe_err_nomem(err, cap * sizeof *grown, "a piece of text");
	sc->nodes = grown;
	sc->cap = cap;
	return MOE_OK;
}

/* The ids of text that is unknown as a whole: that of such a piece, should there be one, its bytes, or the unknown. */
static enum moe_status add_unknown(const struct unigram *ug, struct moe_str text, struct moe_ids *ids,
                                   struct moe_err *err)
{
	int32_t id = find(ug, text);
	bool all = id < 0 && ug->byte_fallback;
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < text.n && all; i++)
		all = ug->code_ids[(uint8_t)text.p[i]] >= 0;
	if (!all)
		return moe_ids_add(ids, id >= 0 ? id : ug->unk_id, err);
	for (size_t i = 0; i < text.n && !status; i++)
		status = moe_ids_add(ids, ug->code_ids[(uint8_t)text.p[i]], err);
	return status;
}

static enum moe_status end_unknown(const struct unigram *ug, struct path *path, size_t at, struct moe_ids *ids,
                                   struct moe_err *err)
{
	struct moe_str text = {path->text.p + path->unknown, at - path->unknown};

	path->unknown = at;
	return text.n > 0 ? add_unknown(ug, text, ids, err) : MOE_OK;
}

/* The ends of the best pieces up to nodes[n], last first, to sc->ends. */
static enum moe_status follow_back(struct scratch *sc, size_t n, size_t *n_ends, struct moe_err *err)
{
	*n_ends = 0;
	for (size_t at = n; at > 0; at = sc->nodes[at].start) {
		if (*n_ends == sc->cap_ends) {
			size_t cap = sc->cap_ends ? 2 * sc->cap_ends : GIVE_OUT;
			uint32_t *grown = realloc(sc->ends, cap * sizeof *grown);
			if (!grown)
				return moe_err_nomem(err, cap * sizeof *grown, "a piece of text");
			sc->ends = grown;
			sc->cap_ends = cap;
		}
		sc->ends[(*n_ends)++] = (uint32_t)at;
	}
	return MOE_OK;
}

/* Gives out the best pieces up to nodes[n], through which every path goes, and begins anew there. */
static enum moe_status give_out(const struct unigram *ug, struct scratch *sc, struct path *path, size_t n,
                                struct moe_ids *ids, struct moe_err *err)
{
	size_t n_ends;
	enum moe_status status = follow_back(sc, n, &n_ends, err);

	while (!status && n_ends-- > 0) {
		const struct node *node = &sc->nodes[sc->ends[n_ends]];
		size_t end = path->done + sc->ends[n_ends];

		if (node->id == ug->unk_id)
			continue;
		status = end_unknown(ug, path, path->done + node->start, ids, err);
		if (!status)
			status = moe_ids_add(ids, node->id, err);
		path->unknown = end;
	}
	sc->nodes[0].score = sc->nodes[n].score;
	path->done += n;
	return status;
}

/* The last place that the best paths to nodes[at] and to all behind it have in common; 0: where they begin. */
static enum moe_status find_join(struct scratch *sc, size_t at, size_t furthest, size_t *join, struct moe_err *err)
{
	size_t n_ends, i = 0;
	enum moe_status status = follow_back(sc, at, &n_ends, err);

	for (size_t k = at + 1; k <= furthest && !status && i < n_ends; k++) {
		size_t place = k;

		if (sc->nodes[k].start == NO_START)
			continue;
		/* What is before sc->ends[i] is on no path but those that go through it. */
		while (i < n_ends && place != sc->ends[i]) {
			if (place > sc->ends[i])
				place = sc->nodes[place].start;
			else
				i++;
		}
	}
	*join = !status && i < n_ends ? sc->ends[i] : 0;
	return status;
}

/* Gives out what is certain of the nodes up to `furthest`, which then begin where that ends; *n is its length. */
static enum moe_status give_out_joined(const struct unigram *ug, struct scratch *sc, struct path *path, size_t at,
                                       size_t furthest, size_t *n, struct moe_ids *ids, struct moe_err *err)
{
	enum moe_status status = find_join(sc, at, furthest, n, err);

	if (status || *n == 0)
		return status;
	status = give_out(ug, sc, path, *n, ids, err);
	for (size_t k = 1; k <= furthest - *n && !status; k++) {
		struct node *node = &sc->nodes[k];
		*node = sc->nodes[k + *n];
		/* Those that begin before are on no best path any more. */
		if (node->start != NO_START)
			node->start = node->start > *n ? node->start - (uint32_t)*n : 0;
	}
	return status;
}

/* All pieces that begin at nodes[at] against what ends where they do. *furthest is the end of the nodes in use. */
static enum moe_status extend(const struct unigram *ug, struct scratch *sc, const struct path *path, size_t at,
                              size_t *n_char, size_t *furthest, struct moe_err *err)
{
	const uint8_t *p = (const uint8_t *)path->text.p + path->done + at;
	size_t n = path->text.n - path->done - at;
	const double score = sc->nodes[at].score;
	bool single = false;
	uint32_t node = 0;

	(void)moe_utf8_take(p, n, n_char);
	for (size_t i = 0; i < n; i++) {
		double sum;
		int32_t id;

		node = moe_trie_step(&ug->trie, node, p[i]);
		if (node == 0)
			break;
		id = ug->trie.values[node];
		if (id < 0)
			continue;
		if (at + i + 1 > *furthest) {
			enum moe_status status = node_room(sc, at + i + 1, err);
			if (status)
				return status;
			while (*furthest < at + i + 1)
				sc->nodes[++*furthest].start = NO_START;
		}
		sum = ug->entries[id].score + score;
		if (sc->nodes[at + i + 1].start == NO_START || sum > sc->nodes[at + i + 1].score)
			sc->nodes[at + i + 1] = (struct node){sum, (uint32_t)at, id};
		single |= i + 1 == *n_char;
	}
	if (single)
		return MOE_OK;
	if (at + *n_char > *furthest) {
		enum moe_status status = node_room(sc, at + *n_char, err);
		if (status)
			return status;
		while (*furthest < at + *n_char)
			sc->nodes[++*furthest].start = NO_START;
	}
	if (sc->nodes[at + *n_char].start != NO_START && !(ug->unk_score + score > sc->nodes[at + *n_char].score))
		return MOE_OK;
	if (ug->unk_id < 0)
		return moe_err_set(err, MOE_EFORMAT,
		                   "has no token for the character '%.*s', nor an unk_id", (int)*n_char,
		                   (const char *)p);
	sc->nodes[at + *n_char] = (struct node){ug->unk_score + score, (uint32_t)at, ug->unk_id};
	return MOE_OK;
}

/* The ids of the piece from path->done on; open: more of it follows, and what depends on that is not given out. */
static enum moe_status encode_path(const struct unigram *ug, struct scratch *sc, struct path *path, bool open,
                                   struct moe_ids *ids, struct moe_err *err)
{
	const size_t n = path->text.n, ahead = open ? ug->longest : 1;
	size_t at = 0, furthest = 0, joined = JOIN, n_char;
	enum moe_status status = node_room(sc, 0, err);

	if (status)
		return status;
	sc->nodes[0] = (struct node){sc->score, NO_START, -1};
	while (n - path->done - at >= ahead && !status) {
		if (at == furthest && at >= GIVE_OUT) {
			status = give_out(ug, sc, path, at, ids, err);
			at = furthest = 0;
			joined = JOIN;
			continue;
		}
		if (at >= joined) {
			size_t n_joined;
			status = give_out_joined(ug, sc, path, at, furthest, &n_joined, ids, err);
			at -= n_joined;
			furthest -= n_joined;
			joined = at > JOIN / 2 ? 2 * at : JOIN;
			continue;
		}
		status = extend(ug, sc, path, at, &n_char, &furthest, err);
		at += n_char;
	}
	sc->score = sc->nodes[0].score;
	if (open || status)
		return status;
	status = give_out(ug, sc, path, at, ids, err);
	return status ? status : end_unknown(ug, path, n, ids, err);
}

static enum moe_status map_bytes(struct scratch *sc, struct moe_str *piece, struct moe_err *err)
{
	sc->mapped.n = 0;
	for (size_t i = 0; i < piece->n; i++) {
		uint8_t utf8[4];
		moe_buf_add(&sc->mapped, utf8, moe_utf8_put(utf8, moe_bytechar((uint8_t)piece->p[i])));
	}
	*piece = (struct moe_str){sc->mapped.p ? sc->mapped.p : "", sc->mapped.n};
	return moe_buf_check(&sc->mapped, err);
}

static enum moe_status check_length(struct moe_str piece, struct moe_err *err)
{
	if (piece.n < MAX_PIECE)
		return MOE_OK;
	return moe_err_set(err, MOE_EFORMAT,
	                   "a piece of text of %zu bytes that nothing divides, at most %d are supported", piece.n,
	                   MAX_PIECE);
}

static enum moe_status encode(const void *self, void *scratch, struct moe_str piece, bool byte_level,
                              struct moe_ids *ids, struct moe_err *err)
{
	struct scratch *sc = scratch;
	struct path path = {.text = piece};
	struct moe_memo_slot *slot;
	size_t first = ids->n;
	enum moe_status status = byte_level ? map_bytes(sc, &path.text, err) : MOE_OK;

	if (!status)
		status = check_length(path.text, err);
	if (status)
		return status;
	slot = moe_memo_slot(&sc->memo, path.text);
	if (moe_memo_holds(slot, path.text)) {
		for (size_t i = 0; i < slot->n_ids && !status; i++)
			status = moe_ids_add(ids, slot->ids[i], err);
		return status;
	}
	sc->score = 0;
	status = encode_path(self, sc, &path, false, ids, err);
	if (!status)
		moe_memo_put(slot, path.text, ids->ids + first, ids->n - first);
	return status;
}

static enum moe_status advance(const void *self, void *scratch, struct moe_str text, bool byte_level, bool begins,
                               bool ends, size_t *n_used, struct moe_ids *ids, struct moe_err *err)
{
	struct scratch *sc = scratch;
	struct path path = {.text = text};
	enum moe_status status = byte_level ? map_bytes(sc, &path.text, err) : MOE_OK;

	*n_used = text.n;
	if (!status)
		status = check_length(path.text, err);
	if (status)
		return status;
	if (begins) {
		sc->score = 0;
		sc->n_unknown = 0;
	}
	path.done = sc->n_unknown;
	status = encode_path(self, sc, &path, !ends, ids, err);
	if (ends || status)
		return status;
	sc->n_unknown = path.done - path.unknown;
	*n_used = path.unknown;
	for (size_t i = 0; i < path.unknown && byte_level; i++)
		*n_used -= ((uint8_t)path.text.p[i] & 0xC0) == 0x80;
	return MOE_OK;
}

const struct moe_text_model moe_text_model_unigram = {
	.part = {.type = "Unigram", .parse = parse, .free = unigram_free},
	.n_pieces = n_pieces,
	.piece = piece_at,
	.find = find,
	.scratch_new = scratch_new,
	.scratch_free = scratch_free,
	.encode = encode,
	.advance = advance,
};
