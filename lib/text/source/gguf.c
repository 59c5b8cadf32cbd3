/* The keys tokenizer.ggml.* of a GGUF file: a vocabulary as lists of texts and types, with merges and the name of a
 * pre-tokenizer (model gpt2, byte-level BPE) or with scores (model llama, BPE of SentencePiece; model t5, Unigram). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/pre.h"
#include "text/source.h"

#define KEY "tokenizer.ggml."

/* Types of tokens, by their number in a file. */
enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };

struct gguf {
	const json_t *keys;
	const char *name;        /* of the file, for messages */
	const json_t *tokens;    /* [n] texts */
	const json_t *types;     /* [n] */
	int32_t n;
	json_t *vocab;           /* text: id; owned */
	int32_t unk_id;
	struct moe_err *err;
};

static enum moe_status refuse(struct gguf *g, const char *key, const char *what)
{
	return moe_err_set(g->err, MOE_EFORMAT, "%s: " KEY "%s: %s", g->name, key, what);
}

/* -- keys --------------------------------------------------------------------------------------------------------- */

/* NULL: the key is not there. */
static const json_t *value_of(const struct gguf *g, const char *key)
{
	char full[80];

	snprintf(full, sizeof full, KEY "%s", key);
	return json_object_get(json_object_get(g->keys, full), "value");
}

/* NULL: not there. */
static enum moe_status take_text(struct gguf *g, const char *key, const char **out)
{
	const json_t *value = value_of(g, key);

	*out = json_string_value(value);
	return value && !*out ? refuse(g, key, "text is expected") : MOE_OK;
}

static enum moe_status take_bool(struct gguf *g, const char *key, bool *out)
{
	const json_t *value = value_of(g, key);

	if (value && !json_is_boolean(value))
		return refuse(g, key, "a bool is expected");
	*out = value ? json_is_true(value) : *out;
	return MOE_OK;
}

/* An id, which must be that of a token; left as it is where the key is not there. */
static enum moe_status take_id(struct gguf *g, const char *key, int32_t *out)
{
	const json_t *value = value_of(g, key);

	if (value && (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) >= g->n))
		return moe_err_set(g->err, MOE_EFORMAT, "%s: " KEY "%s: expected an id below %d, the number of tokens",
		                   g->name, key, (int)g->n);
	*out = value ? (int32_t)json_integer_value(value) : *out;
	return MOE_OK;
}

/* An array, of one element per token where `each` says so. */
static enum moe_status take_array(struct gguf *g, const char *key, bool each, const json_t **out)
{
	*out = value_of(g, key);
	if (!json_is_array(*out))
		return refuse(g, key, *out ? "an array is expected" : "is not there");
	if (each && json_array_size(*out) != (size_t)g->n)
		return moe_err_set(g->err, MOE_EFORMAT, "%s: " KEY "%s: %zu elements for %d tokens", g->name, key,
		                   json_array_size(*out), (int)g->n);
	return MOE_OK;
}

/* -- tokens ------------------------------------------------------------------------------------------------------- */

/* A token that is more than text: what a text says of it becomes its id. */
static enum moe_status add_token(struct moe_tokenizer *tok, int32_t id, const json_t *text, bool special,
                                 struct moe_err *err)
{
	const struct moe_added_token token = {
		.id = id, .content = {json_string_value(text), json_string_length(text)}, .special = special,
	};

	return moe_tokenizer_add_token(tok, &token, err);
}

static enum moe_status take_token(struct gguf *g, struct moe_tokenizer *tok, int32_t id)
{
	const json_t *text = json_array_get(g->tokens, (size_t)id), *type = json_array_get(g->types, (size_t)id);
	const json_t *there;
	const json_int_t kind = json_is_integer(type) ? json_integer_value(type) : 0;
	const char *p = json_string_value(text);
	const size_t n = json_string_length(text);
	enum moe_status status = MOE_OK;

	if (!p)
		return moe_err_set(g->err, MOE_EFORMAT, "%s: " KEY "tokens[%d]: expected text in UTF-8", g->name,
		                   (int)id);
	if (kind < NORMAL || kind > BYTE)
		return moe_err_set(g->err, MOE_EFORMAT, "%s: " KEY "token_type[%d]: expected 1 to 6", g->name,
		                   (int)id);
	if (kind == UNUSED)
		return MOE_OK;
	if (kind == UNKNOWN)
		g->unk_id = id;
	/* Nothing in a text is an empty token, but a model may give its id. */
	if (kind == UNKNOWN || kind == CONTROL || kind == USER_DEFINED || n == 0)
		status = add_token(tok, id, text, kind != USER_DEFINED && kind != NORMAL, g->err);
	if (status || n == 0)
		return status;
	there = json_object_getn(g->vocab, p, n);
	if (there)
		return moe_err_set(g->err, MOE_EFORMAT, "%s: " KEY "tokens: '%.100s' has the ids %lld and %d", g->name,
		                   p, (long long)json_integer_value(there), (int)id);
	return json_object_setn_new_nocheck(g->vocab, p, n, json_integer(id))
	       ? moe_err_nomem(g->err, n, "a vocabulary") : MOE_OK;
}

static enum moe_status take_tokens(struct gguf *g, struct moe_tokenizer *tok)
{
	enum moe_status status = take_array(g, "tokens", false, &g->tokens);

	if (!status && (json_array_size(g->tokens) == 0 || json_array_size(g->tokens) > INT32_MAX - 1))
		status = refuse(g, "tokens", "is empty");
	g->n = (int32_t)json_array_size(g->tokens);
	if (!status)
		status = take_array(g, "token_type", true, &g->types);
	for (int32_t id = 0; id < g->n && !status; id++)
		status = take_token(g, tok, id);
	if (!status && json_object_size(g->vocab) == 0)
		status = refuse(g, "tokens", "no token has a text");
	return status;
}

/* -- the models --------------------------------------------------------------------------------------------------- */

static enum moe_status unknown_pre(struct gguf *g, const char *name)
{
	char known[256] = "";
	size_t n = 0;

	for (size_t i = 0; moe_pre_at(i) && n < sizeof known; i++)
		n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", moe_pre_at(i)->name);
	if (!name)
		return moe_err_set(g->err, MOE_EFORMAT, "%s: " KEY "pre: is not there, so how text is divided is not "
		                   "known; known are %s", g->name, known);
	return moe_err_set(g->err, MOE_EFORMAT, "%s: " KEY "pre: '%.100s' is not known here, only %s", g->name, name,
	                   known);
}

static enum moe_status make_gpt2(struct gguf *g, struct moe_tokenizer *tok)
{
	const struct moe_pre *pre;
	const json_t *merges = NULL;
	const char *name = NULL;
	char where[512];
	enum moe_status status = take_text(g, "pre", &name);

	if (status)
		return status;
	pre = name ? moe_pre_by_name(name) : NULL;
	if (!pre)
		return unknown_pre(g, name);
	status = take_array(g, "merges", false, &merges);
	snprintf(where, sizeof where, "%.400s: tokenizer.ggml", g->name);
	if (!status)
		status = moe_stage_take(&tok->model, MOE_STAGE_MODEL,
		                        json_pack("{s:s, s:O, s:O, s:b}", "type", "BPE", "vocab", g->vocab, "merges",
		                                  (json_t *)merges, "ignore_merges", pre->ignore_merges), where,
		                        g->err);
	tok->add_bos = pre->add_bos;
	return status ? status : moe_tokenizer_byte_level(tok, pre, g->err);
}

/* Spaces are U+2581, one before every text that begins or follows a special token. */
static enum moe_status spaces(struct moe_tokenizer *tok, bool prefix, struct moe_err *err)
{
	static const char block[] = "\xE2\x96\x81";
	json_t *before = json_array(), *behind = json_array();
	bool good = before && behind;
	enum moe_status status;

	if (good && prefix)
		good = !json_array_append_new(before, json_pack("{s:s, s:s}", "type", "Prepend", "prepend", block));
	if (good)
		good = !json_array_append_new(before, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern",
		                                                "String", " ", "content", block)) &&
		       !json_array_append_new(behind, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern",
		                                                "String", block, "content", " ")) &&
		       !json_array_append_new(behind, json_pack("{s:s}", "type", "ByteFallback")) &&
		       !json_array_append_new(behind, json_pack("{s:s}", "type", "Fuse"));
	if (good && prefix)
		good = !json_array_append_new(behind, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content",
		                                                " ", "start", 1, "stop", 0));
	status = good ? MOE_OK : moe_err_nomem(err, 0, "a tokenizer");
	if (!status)
		status = moe_stage_take(&tok->normalizer, MOE_STAGE_NORMALIZER,
		                        json_pack("{s:s, s:O}", "type", "Sequence", "normalizers", before), tok->name,
		                        err);
	if (!status)
		status = moe_stage_take(&tok->decoder, MOE_STAGE_DECODER,
		                        json_pack("{s:s, s:O}", "type", "Sequence", "decoders", behind), tok->name,
		                        err);
	json_decref(before);
	json_decref(behind);
	return status;
}

static enum moe_status make_llama(struct gguf *g, struct moe_tokenizer *tok)
{
	const json_t *scores = NULL;
	bool prefix = true;
	char where[512];
	json_t *model;
	enum moe_status status = take_array(g, "scores", true, &scores);

	if (!status)
		status = take_bool(g, "add_space_prefix", &prefix);
	for (int32_t i = 0; i < g->n && !status; i++) {
		if (!json_is_number(json_array_get(scores, (size_t)i)))
			status = moe_err_set(g->err, MOE_EFORMAT, "%s: " KEY "scores[%d]: a finite number is expected",
			                     g->name, (int)i);
	}
	if (status)
		return status;
	model = json_pack("{s:s, s:O, s:O, s:b, s:b}", "type", "Ranks", "vocab", g->vocab, "scores", (json_t *)scores,
	                  "byte_fallback", 1, "fuse_unk", 1);
	if (model && g->unk_id >= 0 && json_object_set_new(model, "unk_id", json_integer(g->unk_id))) {
		json_decref(model);
		model = NULL;
	}
	snprintf(where, sizeof where, "%.400s: tokenizer.ggml", g->name);
	status = moe_stage_take(&tok->model, MOE_STAGE_MODEL, model, where, g->err);
	tok->add_bos = true;
	return status ? status : spaces(tok, prefix, g->err);
}

/* The bytes of precompiled_charsmap as base64, or (not there) NULL. */
static enum moe_status take_charsmap(struct gguf *g, json_t **out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const json_t *list = NULL;
	struct moe_buf text = {0};
	enum moe_status status;

	*out = NULL;
	if (!value_of(g, "precompiled_charsmap"))
		return MOE_OK;
	status = take_array(g, "precompiled_charsmap", false, &list);
	for (size_t i = 0, n = json_array_size(list); i < n && !status; i += 3) {
		uint32_t bits = 0;

		for (size_t k = i; k < i + 3; k++) {
			const json_t *byte = json_array_get(list, k);
			const json_int_t value = json_integer_value(byte);

			if (k < n && (!json_is_integer(byte) || value < -128 || value > 255))
				status = refuse(g, "precompiled_charsmap", "bytes are expected");
			bits = bits << 8 | ((uint32_t)value & 255);
		}
		for (size_t k = 0; k < 4; k++)
			moe_buf_addc(&text, i + k > n ? '=' : digits[bits >> (18 - 6 * k) & 63]);
	}
	if (!status)
		status = moe_buf_check(&text, g->err);
	if (!status && text.n && !(*out = json_stringn(text.p, text.n)))
		status = moe_err_nomem(g->err, text.n, "a table of characters");
	moe_buf_free(&text);
	return status;
}

/* Pieces and scores by id, up to the last that is used; one that is not has a text that no text holds, as blanks are
 * U+2581. */
static enum moe_status unigram_model(struct gguf *g, json_t **out)
{
	const json_t *scores = NULL;
	json_t *vocab = json_array();
	bool bytes = false, good = vocab;
	int32_t n = g->n;
	enum moe_status status = take_array(g, "scores", true, &scores);

	while (n > 1 && json_integer_value(json_array_get(g->types, (size_t)n - 1)) == UNUSED)
		n--;
	for (int32_t i = 0; i < n && !status && good; i++) {
		const json_t *text = json_array_get(g->tokens, (size_t)i), *score = json_array_get(scores, (size_t)i);
		const json_int_t kind = json_integer_value(json_array_get(g->types, (size_t)i));

		if (!json_is_number(score))
			status = moe_err_set(g->err, MOE_EFORMAT, "%s: " KEY "scores[%d]: a finite number is expected",
			                     g->name, (int)i);
		bytes |= kind == BYTE;
		char unused[32];

		snprintf(unused, sizeof unused, " [unused %d]", (int)i);
		good = !json_array_append_new(vocab, json_pack("[o,O]", kind == UNUSED ? json_string(unused)
		                              : json_incref((json_t *)text), (json_t *)score));
	}
	*out = good && !status ? json_pack("{s:s, s:O, s:b}", "type", "Unigram", "vocab", vocab, "byte_fallback",
	                                   (int)bytes) : NULL;
	json_decref(vocab);
	if (*out && g->unk_id >= 0 && json_object_set_new(*out, "unk_id", json_integer(g->unk_id))) {
		json_decref(*out);
		*out = NULL;
	}
	return status;   /* *out NULL: no memory, which moe_stage_take tells */
}

/* Characters by the table, blanks at the ends away and rows of them one, one before, and each the beginning of a piece:
 * what tokenizer.json says in these steps. */
static enum moe_status t5_steps(struct gguf *g, struct moe_tokenizer *tok)
{
	static const char block[] = "\xE2\x96\x81";
	bool prefix = true, removes = true, good;
	json_t *before = json_array(), *map = NULL;
	enum moe_status status = take_bool(g, "add_space_prefix", &prefix);

	if (!status)
		status = take_bool(g, "remove_extra_whitespaces", &removes);
	if (!status)
		status = take_charsmap(g, &map);
	good = before;
	if (good && map)
		good = !json_array_append_new(before, json_pack("{s:s, s:O}", "type", "Precompiled",
		                                                "precompiled_charsmap", map));
	if (good && removes)
		good = !json_array_append_new(before, json_pack("{s:s, s:b, s:b}", "type", "Strip", "strip_left",
		                                                !prefix, "strip_right", 1)) &&
		       !json_array_append_new(before, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern",
		                                                "Regex", " {2,}", "content", block));
	if (!status && !good)
		status = moe_err_nomem(g->err, 0, "a tokenizer");
	if (!status)
		status = moe_stage_take(&tok->normalizer, MOE_STAGE_NORMALIZER,
		                        json_pack("{s:s, s:O}", "type", "Sequence", "normalizers", before), tok->name,
		                        g->err);
	if (!status)
		status = moe_stage_take(&tok->pretokenizer, MOE_STAGE_PRETOKENIZER,
		                        json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", block,
		                                  "prepend_scheme", prefix ? "always" : "never", "split", 1),
		                        tok->name, g->err);
	if (!status)
		status = moe_stage_take(&tok->decoder, MOE_STAGE_DECODER,
		                        json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", block,
		                                  "prepend_scheme", prefix ? "always" : "never", "split", 1),
		                        tok->name, g->err);
	json_decref(before);
	json_decref(map);
	return status;
}

static enum moe_status make_t5(struct gguf *g, struct moe_tokenizer *tok)
{
	json_t *model = NULL;
	char where[512];
	enum moe_status status = unigram_model(g, &model);

	if (status)
		return status;
	snprintf(where, sizeof where, "%.400s: tokenizer.ggml", g->name);
	status = moe_stage_take(&tok->model, MOE_STAGE_MODEL, model, where, g->err);
	tok->add_eos = true;
	return status ? status : t5_steps(g, tok);
}

static const struct {
	const char *name;
	enum moe_status (*make)(struct gguf *g, struct moe_tokenizer *tok);
} models[] = {{"gpt2", make_gpt2}, {"llama", make_llama}, {"t5", make_t5}};

static enum moe_status make_model(struct gguf *g, struct moe_tokenizer *tok)
{
	const char *name = NULL;
	enum moe_status status = take_text(g, "model", &name);

	for (size_t i = 0; i < sizeof models / sizeof *models && !status && name; i++) {
		if (strcmp(models[i].name, name) == 0)
			return models[i].make(g, tok);
	}
	return status ? status : moe_err_set(g->err, MOE_EFORMAT, "%s: " KEY "model: '%.100s' is not known here, only "
	                                     "gpt2, llama, t5", g->name, name ? name : "(nothing)");
}

/* -- the tokenizer ------------------------------------------------------------------------------------------------ */

static enum moe_status take_ends(struct gguf *g, struct moe_tokenizer *tok)
{
	enum moe_status status = take_id(g, "bos_token_id", &tok->bos_id);

	if (!status)
		status = take_id(g, "eos_token_id", &tok->eos_id);
	if (!status)
		status = take_bool(g, "add_bos_token", &tok->add_bos);
	if (!status)
		status = take_bool(g, "add_eos_token", &tok->add_eos);
	if (!status && tok->add_bos && tok->bos_id < 0)
		status = refuse(g, "bos_token_id", "is not there, but a text is to begin with that token");
	if (!status && tok->add_eos && tok->eos_id < 0)
		status = refuse(g, "eos_token_id", "is not there, but a text is to end with that token");
	return status;
}

/* The identity of the tokenizer: its keys but for the chat template, as compact JSON. */
static enum moe_status identify(struct gguf *g, struct moe_tokenizer *tok)
{
	json_t *own = json_object(), *value;
	const char *key;
	char *text = NULL;
	enum moe_status status;

	json_object_foreach((json_t *)g->keys, key, value) {
		if (own && strncmp(key, KEY, strlen(KEY)) == 0 && json_object_set(own, key, value)) {
			json_decref(own);
			own = NULL;
		}
	}
	text = own ? json_dumps(own, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	status = text ? moe_tokenizer_identify(tok, &(struct moe_text_file){g->name, text, strlen(text)}, g->err)
	              : moe_err_nomem(g->err, 0, "a tokenizer");
	free(text);
	json_decref(own);
	return status;
}

static bool is_there(const struct moe_text_files *files)
{
	return json_object_get(files->gguf, KEY "model") || json_object_get(files->gguf, KEY "tokens");
}

static enum moe_status read_gguf(struct moe_tokenizer *tok, const struct moe_text_files *files, struct moe_err *err)
{
	struct gguf g = {.keys = files->gguf, .name = files->gguf_name, .unk_id = -1, .err = err,
	                 .vocab = json_object()};
	enum moe_status status = g.vocab ? identify(&g, tok) : moe_err_nomem(err, 0, "a vocabulary");

	if (!status)
		status = take_tokens(&g, tok);
	if (!status)
		status = take_id(&g, "unknown_token_id", &g.unk_id);
	if (!status)
		status = make_model(&g, tok);
	if (!status)
		status = moe_tokenizer_finish(tok, err);
	if (!status)
		status = take_ends(&g, tok);
	json_decref(g.vocab);
	return status;
}

const struct moe_text_source moe_text_source_gguf = {
	.needs = "tokenizer keys of GGUF",
	.order = 2,
	.is_there = is_there,
	.read = read_gguf,
};
