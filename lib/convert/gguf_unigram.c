/* Keys of a Unigram tokenizer, as T5's: model "t5" of GGUF readers.
 *
 * They say: characters are mapped by a table, blanks at the ends go and rows of them become one
 * (remove_extra_whitespaces), blanks are U+2581, one is put before a text (add_space_prefix). A tokenizer.json says so
 * in two ways: Precompiled, Strip on the right and Replace before Metaspace; or Precompiled, then WhitespaceSplit and
 * Metaspace, which is the same where the table maps all white space to blanks, as T5's does. */
#include <string.h>

#include "base/json.h"
#include "convert/gguf_meta.h"
#include "model/gguf_keys.h"

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN = 2, TYPE_BYTE = 6 };

static bool is_type(const json_t *step, const char *type)
{
	const char *found = json_string_value(json_object_get(step, "type"));

	return found && !strcmp(found, type);
}

/* The steps of a stage: those of a Sequence, or itself. */
static const json_t *step_of(const json_t *stage, const char *list, size_t i)
{
	if (is_type(stage, "Sequence"))
		return json_array_get(json_object_get(stage, list), i);
	return i == 0 && json_is_object(stage) ? stage : NULL;
}

static bool is_text(const json_t *value, const char *text)
{
	return json_is_string(value) && !strcmp(json_string_value(value), text);
}

struct steps {
	const char *charsmap;   /* base64; NULL: none */
	bool strips, joins, splits, prefix;
};

static bool read_normalizer(struct steps *s, const json_t *stage)
{
	const json_t *step;

	for (size_t i = 0; (step = step_of(stage, "normalizers", i)); i++) {
		const json_t *content = json_object_get(step, "content");
		const json_t *regex = json_object_get(json_object_get(step, "pattern"), "Regex");

		if (is_type(step, "Precompiled") && i == 0 && json_object_get(step, "precompiled_charsmap"))
			s->charsmap = json_string_value(json_object_get(step, "precompiled_charsmap"));
		else if (is_type(step, "Strip") && !s->joins && json_is_false(json_object_get(step, "strip_left")) &&
		         json_is_true(json_object_get(step, "strip_right")))
			s->strips = true;
		else if (is_type(step, "Replace") && is_text(regex, " {2,}") &&
		         (is_text(content, " ") || is_text(content, "\xE2\x96\x81")))
			s->joins = true;
		else
			return false;
	}
	return true;
}

static bool read_pretokenizer(struct steps *s, const json_t *stage)
{
	size_t i = 0;

	if (is_type(step_of(stage, "pretokenizers", 0), "WhitespaceSplit"))
		s->splits = true, i++;
	const json_t *step = step_of(stage, "pretokenizers", i), *scheme = json_object_get(step, "prepend_scheme");

	if (!is_type(step, "Metaspace") || step_of(stage, "pretokenizers", i + 1) ||
	    !is_text(json_object_get(step, "replacement"), "\xE2\x96\x81") ||
	    json_is_false(json_object_get(step, "split")))
		return false;
	s->prefix = json_is_string(scheme) ? is_text(scheme, "always")
	                                   : !json_is_false(json_object_get(step, "add_prefix_space"));
	return !json_is_string(scheme) || s->prefix || is_text(scheme, "never");
}

static bool read_steps(struct steps *s, const json_t *tokenizer)
{
	*s = (struct steps){0};
	if (!read_normalizer(s, json_object_get(tokenizer, "normalizer")) ||
	    !read_pretokenizer(s, json_object_get(tokenizer, "pre_tokenizer")))
		return false;
	/* blanks are removed in all places or in none, and where none is put before a text first ones would stay */
	return s->splits || s->joins ? s->prefix && (s->splits || s->strips) : !s->strips;
}

bool moe_gguf_unigram_fits(const json_t *tokenizer)
{
	struct steps s;

	return is_type(json_object_get(tokenizer, "model"), "Unigram") && read_steps(&s, tokenizer);
}

static int digit_of(char c)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* The bytes of base64 as an array of numbers; NULL: it is none, or there is no memory. */
static json_t *bytes_of(const char *text)
{
	json_t *out = json_array();
	uint32_t bits = 0;
	size_t n = strcspn(text, "=");
	bool ok = out;

	for (size_t i = 0; i < n && ok; i++) {
		const int digit = digit_of(text[i]);

		ok = digit >= 0;
		bits = bits << 6 | (uint32_t)(ok ? digit : 0);
		if (ok && i % 4 > 0)
			ok = !json_array_append_new(out, json_integer(bits >> (6 - 2 * (i % 4)) & 255));
	}
	if (!ok)
		json_decref(out);
	return ok ? out : NULL;
}

void moe_gguf_unigram_ends(const json_t *tokenizer, int64_t *bos, int64_t *eos)
{
	const json_t *stage = json_object_get(tokenizer, "post_processor"), *item;
	bool behind = false;
	size_t i;

	*bos = *eos = -1;
	json_array_foreach(json_object_get(stage, "single"), i, item) {
		const char *name = json_string_value(json_object_get(json_object_get(item, "SpecialToken"), "id"));
		const json_t *token = json_object_get(json_object_get(stage, "special_tokens"), name ? name : "");
		const json_t *id = json_array_get(json_object_get(token, "ids"), 0);

		if (json_object_get(item, "Sequence"))
			behind = true;
		else if (json_is_integer(id))
			*(behind ? eos : bos) = json_integer_value(id);
	}
}

static bool is_byte(const char *text)
{
	return strlen(text) == 6 && !strncmp(text, "<0x", 3) && strspn(text + 3, "0123456789ABCDEF") == 2 &&
	       text[5] == '>';
}

/* Scores, and the types that the model's own pieces have. */
static enum moe_status put_scores(json_t *keys, const json_t *model, json_int_t n, uint8_t *type, const char *name,
                                  struct moe_err *err)
{
	const json_t *vocab = json_object_get(model, "vocab"), *unk = json_object_get(model, "unk_id");
	const bool bytes = json_is_true(json_object_get(model, "byte_fallback"));
	json_t *scores = json_array();
	bool ok = scores;

	for (json_int_t i = 0; i < n && ok; i++) {
		const json_t *item = json_array_get(vocab, (size_t)i), *score = json_array_get(item, 1);
		const char *text = json_string_value(json_array_get(item, 0));

		if (item && !json_is_number(score)) {
			json_decref(scores);
			return moe_err_set(err, MOE_EFORMAT, "%s: model.vocab[%lld]: expected a piece and its score",
			                   name, (long long)i);
		}
		if (bytes && text && type[i] == TYPE_NORMAL && is_byte(text))
			type[i] = TYPE_BYTE;
		ok = !json_array_append_new(scores, json_real(score ? json_number_value(score) : 0));
	}
	if (ok && json_is_integer(unk) && json_integer_value(unk) >= 0 && json_integer_value(unk) < n) {
		type[json_integer_value(unk)] = TYPE_UNKNOWN;
		ok = moe_gguf_put(keys, NULL, "tokenizer.ggml.unknown_token_id", "u32", json_incref((json_t *)unk));
	}
	ok = ok && moe_gguf_put_array(keys, "tokenizer.ggml.scores", "f32", json_incref(scores));
	json_decref(scores);
	return ok ? MOE_OK : moe_err_nomem(err, 64, "scores");
}

enum moe_status moe_gguf_unigram_put(json_t *keys, const json_t *tokenizer, json_int_t n, uint8_t *type,
                                     const char *name, struct moe_err *err)
{
	struct steps s;
	int64_t bos, eos;
	enum moe_status st = put_scores(keys, json_object_get(tokenizer, "model"), n, type, name, err);

	if (st)
		return st;
	(void)read_steps(&s, tokenizer);
	moe_gguf_unigram_ends(tokenizer, &bos, &eos);
	if (s.charsmap) {
		json_t *bytes = bytes_of(s.charsmap);

		if (!bytes)
			return moe_err_set(err, MOE_EFORMAT, "%s: normalizer: its precompiled_charsmap is not base64",
			                   name);
		if (!moe_gguf_put_array(keys, "tokenizer.ggml.precompiled_charsmap", "u8", bytes))
			return moe_err_nomem(err, 64, "tokenizer keys");
	}
	if (!moe_gguf_put(keys, NULL, "tokenizer.ggml.add_space_prefix", "bool", json_boolean(s.prefix)) ||
	    !moe_gguf_put(keys, NULL, "tokenizer.ggml.remove_extra_whitespaces", "bool",
	                  json_boolean(s.splits || s.joins)) ||
	    !moe_gguf_put(keys, NULL, "tokenizer.ggml.add_bos_token", "bool", json_boolean(bos >= 0)) ||
	    !moe_gguf_put(keys, NULL, "tokenizer.ggml.add_eos_token", "bool", json_boolean(eos >= 0)))
		return moe_err_nomem(err, 64, "tokenizer keys");
	return MOE_OK;
}
