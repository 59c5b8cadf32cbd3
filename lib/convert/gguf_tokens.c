/* tokenizer.ggml.*: the vocabulary of a tokenizer.json as GGUF readers expect it, BPE of bytes ("gpt2") or, where bytes
 * are what is left of other pieces, of SentencePiece ("llama"), or Unigram ("t5", gguf_unigram.c).
 *
 * Token types: 1 normal, 2 unknown, 3 control (a special added token), 4 user defined (another added token), 5 unused
 * (padding up to the model's vocabulary), 6 a byte. Scores of "llama" say which pair is joined first, the highest:
 * minus the place of the first merge that makes the token, so that the order is that of the merges. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "convert/gguf_meta.h"
#include "model/gguf_keys.h"
#include "text/pre.h"

enum { TOKEN_NORMAL = 1, TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_USER, TOKEN_UNUSED, TOKEN_BYTE };

static const char *pre_name(const json_t *tokenizer)
{
	const json_t *pre = json_object_get(tokenizer, "pre_tokenizer");
	const json_t *list = json_object_get(pre, "pretokenizers"), *step;
	const char *found[MOE_PRE_SPLITS];
	const struct moe_pre *known;
	size_t n = 0, i;

	json_array_foreach(list, i, step) {
		const char *type = json_string_value(json_object_get(step, "type"));
		const json_t *pattern = json_object_get(step, "pattern");
		const char *regex = json_string_value(json_object_get(pattern, "Regex"));
		if (!type || strcmp(type, "Split") != 0)
			continue;
		if (!regex || n == MOE_PRE_SPLITS)
			return NULL;
		found[n++] = regex;
	}
	known = moe_pre_by_splits(found, n);
	return known ? known->name : NULL;
}

struct tokens {
	const char *name;             /* of tokenizer.json, for messages */
	json_int_t n;
	const char **text;            /* [n] views; NULL: none */
	size_t *text_bytes;           /* [n] */
	uint8_t *type;                /* [n] */
};

static enum moe_status place(struct tokens *t, const json_t *id, const char *text, size_t n_bytes, int type,
                             struct moe_err *err)
{
	const json_int_t i = json_integer_value(id);

	if (!json_is_integer(id) || !text)
		return moe_err_set(err, MOE_EFORMAT, "%s: a token without text or id", t->name);
	if (i < 0 || i >= t->n)
		return moe_err_set(err, MOE_EFORMAT, "%s: token '%.64s' has id %lld, but the model has %lld tokens",
		                   t->name, text, (long long)i, (long long)t->n);
	t->text[i] = text;
	t->text_bytes[i] = n_bytes;
	t->type[i] = (uint8_t)type;
	return MOE_OK;
}

static enum moe_status collect(struct tokens *t, const json_t *tokenizer, struct moe_err *err)
{
	json_t *vocab = json_object_get(json_object_get(tokenizer, "model"), "vocab"), *id, *added;
	const char *text;
	size_t i, n_bytes;
	enum moe_status st = MOE_OK;

	/* of Unigram: pieces and scores, in the order of their ids */
	for (i = 0; json_is_array(vocab) && i < json_array_size(vocab); i++) {
		const json_t *piece = json_array_get(json_array_get(vocab, i), 0);
		json_t *place_id = json_integer((json_int_t)i);

		st = place(t, place_id, json_string_value(piece), json_string_length(piece), TOKEN_NORMAL, err);
		json_decref(place_id);
		if (st)
			return st;
	}
	if (!json_is_object(vocab) && !json_is_array(vocab))
		return moe_err_set(err, MOE_EFORMAT, "%s: model.vocab: expected an object", t->name);
	json_object_keylen_foreach(vocab, text, n_bytes, id) {
		st = place(t, id, text, n_bytes, TOKEN_NORMAL, err);
		if (st)
			return st;
	}
	json_array_foreach(json_object_get(tokenizer, "added_tokens"), i, added) {
		const json_t *content = json_object_get(added, "content");
		const bool special = json_is_true(json_object_get(added, "special"));
		st = place(t, json_object_get(added, "id"), json_string_value(content), json_string_length(content),
		           special ? TOKEN_CONTROL : TOKEN_USER, err);
		if (st)
			return st;
	}
	return MOE_OK;
}

bool moe_gguf_put_array(json_t *keys, const char *key, const char *of, json_t *values)
{
	json_t *entry = json_pack("{s:s, s:s, s:o}", "type", "array", "of", of, "value", values);
	return entry && !json_object_set_new(keys, key, entry);
}

static bool put_vocab(json_t *keys, const struct tokens *t)
{
	json_t *texts = json_array(), *types = json_array();
	bool ok = texts && types;

	for (json_int_t i = 0; ok && i < t->n; i++) {
		char pad[40];
		snprintf(pad, sizeof pad, "[PAD%lld]", (long long)i);
		ok = !json_array_append_new(texts, t->text[i] ? json_stringn(t->text[i], t->text_bytes[i])
		                                              : json_string(pad));
		ok = !json_array_append_new(types, json_integer(t->text[i] ? t->type[i] : TOKEN_UNUSED)) && ok;
	}
	if (!ok) {
		json_decref(texts);
		json_decref(types);
		return false;
	}
	ok = moe_gguf_put_array(keys, "tokenizer.ggml.tokens", "string", texts);
	return moe_gguf_put_array(keys, "tokenizer.ggml.token_type", "i32", types) && ok;
}

/* "a b": what it makes, unless an earlier one made it. */
static bool put_rank(json_t *rank, const struct moe_buf *merge, size_t place)
{
	const char *blank = memchr(merge->p, ' ', merge->n);
	struct moe_buf made = {0};
	bool ok = true;

	if (blank) {
		const size_t left = (size_t)(blank - merge->p);
		moe_buf_add(&made, merge->p, left);
		moe_buf_add(&made, blank + 1, merge->n - left - 1);
		ok = !made.failed && (json_object_getn(rank, made.p, made.n) ||
		                      !json_object_setn_new(rank, made.p, made.n, json_integer(-(json_int_t)place)));
	}
	moe_buf_free(&made);
	return ok;
}

/* "a b" strings or pairs, as a list of the former; or, where `rank` is an object, what they make and minus the place of
 * the first one that makes it. */
static enum moe_status put_merges(json_t *keys, const json_t *tokenizer, const char *name, json_t *rank,
                                  struct moe_err *err)
{
	const json_t *merges = json_object_get(json_object_get(tokenizer, "model"), "merges");
	json_t *out = json_array(), *merge;
	struct moe_buf text = {0};
	enum moe_status st = MOE_OK;
	size_t i;

	if (!json_is_array(merges) || json_array_size(merges) == 0)
		st = moe_err_set(err, MOE_EFORMAT, "%s: model.merges: expected a list of merges, found none", name);
	json_array_foreach(merges, i, merge) {
		const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
		text.n = 0;
		if (json_is_string(merge)) {
			moe_buf_add(&text, json_string_value(merge), json_string_length(merge));
		} else if (json_is_string(left) && json_is_string(right) && json_array_size(merge) == 2) {
			moe_buf_add(&text, json_string_value(left), json_string_length(left));
			moe_buf_addc(&text, ' ');
			moe_buf_add(&text, json_string_value(right), json_string_length(right));
		} else {
			st = moe_err_set(err, MOE_EFORMAT, "%s: model.merges: entry %zu is neither \"a b\" nor a pair",
			                 name, i);
			break;
		}
		if (rank && !text.failed && !put_rank(rank, &text, i)) {
			st = moe_err_nomem(err, text.n, "merges");
			break;
		}
		if (text.failed || (!rank && json_array_append_new(out, json_stringn(text.p, text.n)))) {
			st = moe_err_nomem(err, text.n, "merges");
			break;
		}
	}
	moe_buf_free(&text);
	if (st || !out || rank)
		json_decref(out);
	else if (!moe_gguf_put_array(keys, "tokenizer.ggml.merges", "string", out))
		st = moe_err_nomem(err, 64, "merges");
	return st;
}

/* The id of a token that tokenizer_config.json names, as a string or an object with content; else `absent`. */
static int64_t special_id(const struct tokens *t, const json_t *config, const char *key, int64_t absent)
{
	const json_t *value = json_object_get(config, key);
	const char *text = json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);

	for (json_int_t i = 0; text && i < t->n; i++)
		if (t->text[i] && !strcmp(t->text[i], text))
			return i;
	return absent;
}

/* bos, eos: where the config names none; -1: none. */
static bool put_specials(json_t *keys, const struct tokens *t, const json_t *config, int64_t bos, int64_t eos)
{
	static const char *const flags[] = {"add_bos_token", "add_eos_token"};
	const struct {
		const char *token, *key;
		int64_t absent;
	} ids[] = {
		{"bos_token", "tokenizer.ggml.bos_token_id", bos},
		{"eos_token", "tokenizer.ggml.eos_token_id", eos},
		{"unk_token", "tokenizer.ggml.unknown_token_id", -1},
		{"pad_token", "tokenizer.ggml.padding_token_id", -1},
	};
	const json_t *chat = json_object_get(config, "chat_template");
	bool ok = true;

	for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
		const int64_t id = special_id(t, config, ids[i].token, ids[i].absent);
		if (id >= 0 && id < t->n)
			ok = moe_gguf_put(keys, NULL, ids[i].key, "u32", json_integer(id)) && ok;
	}
	for (size_t i = 0; i < 2; i++) {
		const json_t *flag = json_object_get(config, flags[i]);
		if (json_is_boolean(flag))
			ok = moe_gguf_put(keys, "tokenizer.ggml", flags[i], "bool",
			                  json_boolean(json_is_true(flag))) && ok;
	}
	if (json_is_string(chat))
		ok = moe_gguf_put(keys, NULL, "tokenizer.chat_template", "string", json_incref((json_t *)chat)) && ok;
	return ok;
}

static enum moe_status parse(json_t **out, const struct moe_ckpt *src, const char *name, char *where,
                             struct moe_err *err)
{
	const struct moe_companion *file = moe_ckpt_companion(src, name);

	snprintf(where, 1024, "%.900s/%s", src->path, name);
	return file ? moe_json_parse(out, file->data, file->n_bytes, where, err) : MOE_OK;
}

/* <0x00> to <0xFF> */
static bool is_byte(const char *text, size_t n)
{
	return n == 6 && !strncmp(text, "<0x", 3) && strspn(text + 3, "0123456789ABCDEF") == 2 && text[5] == '>';
}

/* What pieces have and bytes have not: scores, types of their own, the blank before a text. */
static enum moe_status put_pieces(json_t *keys, const json_t *tokenizer, struct tokens *t, struct moe_err *err)
{
	const json_t *model = json_object_get(tokenizer, "model");
	const char *unknown = json_string_value(json_object_get(model, "unk_token"));
	const double last = -(double)json_array_size(json_object_get(model, "merges"));
	json_t *rank = json_object(), *scores = json_array();
	enum moe_status st = rank && scores ? put_merges(keys, tokenizer, t->name, rank, err)
	                                    : moe_err_nomem(err, 64, "scores");
	bool ok = true;

	for (json_int_t i = 0; i < t->n && !st && ok; i++) {
		const json_t *place = t->text[i] ? json_object_getn(rank, t->text[i], t->text_bytes[i]) : NULL;

		if (t->text[i] && is_byte(t->text[i], t->text_bytes[i]))
			t->type[i] = TOKEN_BYTE;
		else if (t->text[i] && unknown && !strcmp(unknown, t->text[i]))
			t->type[i] = TOKEN_UNKNOWN;
		ok = !json_array_append_new(scores, json_real(place ? (double)json_integer_value(place)
		                                              : t->type[i] == TOKEN_NORMAL ? last : 0));
	}
	json_decref(rank);
	if (st || !ok) {
		json_decref(scores);
		return st ? st : moe_err_nomem(err, 64, "scores");
	}
	ok = moe_gguf_put_array(keys, "tokenizer.ggml.scores", "f32", scores);
	return ok ? MOE_OK : moe_err_nomem(err, 64, "scores");
}

/* Does the tokenizer put a blank before a text? */
static bool prepends(const json_t *tokenizer)
{
	const json_t *step = json_object_get(tokenizer, "pre_tokenizer");
	const json_t *normalizer = json_object_get(tokenizer, "normalizer");
	const char *type = json_string_value(json_object_get(step, "type"));
	const char *scheme = json_string_value(json_object_get(step, "prepend_scheme"));
	size_t i;

	if (type && !strcmp(type, "Metaspace"))
		return scheme ? strcmp(scheme, "never") != 0
		              : !json_is_false(json_object_get(step, "add_prefix_space"));
	json_array_foreach(json_object_get(normalizer, "normalizers"), i, step) {
		type = json_string_value(json_object_get(step, "type"));
		if (type && !strcmp(type, "Prepend"))
			return true;
	}
	return false;
}

static enum moe_status fill(json_t *keys, const json_t *tokenizer, const json_t *config,
                            const struct moe_config *model, const char *name, struct moe_buf *notes,
                            struct moe_err *err)
{
	const bool unigram = moe_gguf_unigram_fits(tokenizer);
	const bool pieces = !unigram &&
	                    json_is_true(json_object_get(json_object_get(tokenizer, "model"), "byte_fallback"));
	const char *pre = pieces || unigram ? NULL : pre_name(tokenizer);
	const size_t n = (size_t)model->vocab_size;
	struct tokens t = { .name = name, .n = model->vocab_size, .text = calloc(n, sizeof *t.text),
	                    .text_bytes = calloc(n, sizeof *t.text_bytes), .type = calloc(n, 1) };
	enum moe_status st = MOE_OK;

	if (!t.text || !t.text_bytes || !t.type)
		st = moe_err_nomem(err, n * 17, "the vocabulary");
	if (!st)
		st = collect(&t, tokenizer, err);
	if (!st && unigram)
		st = moe_gguf_unigram_put(keys, tokenizer, t.n, t.type, name, err);
	else if (!st && pieces)
		st = put_pieces(keys, tokenizer, &t, err);
	else if (!st)
		st = put_merges(keys, tokenizer, name, NULL, err);
	if (!st && !(moe_gguf_put(keys, NULL, "tokenizer.ggml.model", "string",
	                          json_string(unigram ? "t5" : pieces ? "llama" : "gpt2")) &&
	             moe_gguf_put(keys, NULL, "tokenizer.ggml.pre", "string", json_string(pre ? pre : "default")) &&
	             put_vocab(keys, &t)))
		st = moe_err_nomem(err, 64, "the vocabulary");
	if (!st && pieces && !moe_gguf_put(keys, NULL, "tokenizer.ggml.add_space_prefix", "bool",
	                                   json_boolean(prepends(tokenizer))))
		st = moe_err_nomem(err, 64, "tokenizer keys");
	int64_t bos = model->bos_id, eos = model->n_eos ? model->eos_ids[0] : -1, end;
	if (unigram) {
		moe_gguf_unigram_ends(tokenizer, &bos, &end);
		eos = end >= 0 ? end : eos;
	}
	if (!st && !put_specials(keys, &t, config, bos, eos))
		st = moe_err_nomem(err, 64, "tokenizer keys");
	if (!st && !pre && !pieces && !unigram)
		moe_buf_adds(notes, "the pre-tokenizer of tokenizer.json has no name in GGUF: tokenizer.ggml.pre is "
		             "\"default\", and other programs may cut text differently\n");
	free(t.text);
	free(t.text_bytes);
	free(t.type);
	return st;
}

enum moe_status moe_gguf_tokens(json_t *keys, const struct moe_ckpt *src, const struct moe_config *model,
                                struct moe_buf *notes, struct moe_err *err)
{
	json_t *tokenizer = NULL, *config = NULL;
	char where[1024], config_where[1024];
	enum moe_status st = parse(&tokenizer, src, "tokenizer.json", where, err);

	if (!st)
		st = parse(&config, src, "tokenizer_config.json", config_where, err);
	const char *type = json_string_value(json_object_get(json_object_get(tokenizer, "model"), "type"));
	const bool known = type && (!strcmp(type, "BPE") || moe_gguf_unigram_fits(tokenizer));
	if (!st && !tokenizer)
		moe_buf_adds(notes, "there is no tokenizer.json: the GGUF file gets no vocabulary, and runs on token "
		             "ids\n");
	else if (!st && type && !strcmp(type, "Unigram") && !known)
		moe_buf_adds(notes, "tokenizer.json is of type Unigram, but its other steps are not those of T5: the "
		             "GGUF file gets no vocabulary that other programs know\n");
	else if (!st && !known)
		moe_buf_addf(notes, "tokenizer.json is of type %s, not BPE or Unigram: the GGUF file gets no "
		             "vocabulary that other programs know\n", type ? type : "none");
	if (!st && !known && !moe_gguf_put(keys, NULL, "tokenizer.ggml.model", "string", json_string("no_vocab")))
		st = moe_err_nomem(err, 64, "tokenizer keys");
	else if (!st && known)
		st = fill(keys, tokenizer, config, model, where, notes, err);
	json_decref(tokenizer);
	json_decref(config);
	return st;
}
