/* Reads a tokenizer, and says what is known of it. */
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "text/parts.h"
#include "text/utf8.h"

enum {
	MAX_FILE = 1 << 30,    /* bytes of tokenizer.json; the largest known has 33 million */
	MAX_CHAIN = 64,        /* decoders */
};

/* -- reading ------------------------------------------------------------------------------------------------------ */

static enum moe_status read_added_token(struct moe_tokenizer *tok, const json_t *obj, const char *where,
                                        struct moe_added_token *out, struct moe_err *err)
{
	int32_t id = -1;
	enum moe_status status;

	if (!json_is_object(obj))
		return moe_err_set(err, MOE_EFORMAT, "%s: an object is expected", where);
	status = moe_stage_str(obj, "content", where, &out->content, err);
	if (!status)
		status = moe_json_i32(obj, "id", where, 0, INT32_MAX - 1, &id, err);
	if (!status && id < 0)
		status = moe_err_set(err, MOE_EFORMAT, "%s.id: a number is expected", where);
	if (!status)
		status = moe_json_bool(obj, "special", where, &out->special, err);
	out->normalized = !out->special;
	if (!status)
		status = moe_json_bool(obj, "normalized", where, &out->normalized, err);
	if (!status)
		status = moe_json_bool(obj, "lstrip", where, &out->lstrip, err);
	if (!status)
		status = moe_json_bool(obj, "rstrip", where, &out->rstrip, err);
	if (!status)
		status = moe_json_bool(obj, "single_word", where, &out->single_word, err);
	out->id = id;
	/* The offset for now; the address once the buffer does not grow any more. */
	moe_buf_add(&tok->content, out->content.p, out->content.n);
	return status ? status : moe_buf_check(&tok->content, err);
}

static enum moe_status read_added(struct moe_tokenizer *tok, const json_t *list, struct moe_err *err)
{
	const char *at;
	char where[512];
	enum moe_status status = MOE_OK;

	if (!list || json_is_null(list))
		return MOE_OK;
	if (!json_is_array(list))
		return moe_err_set(err, MOE_EFORMAT, "%s: added_tokens: an array is expected", tok->name);
	tok->added = calloc(json_array_size(list) + 1, sizeof *tok->added);
	if (!tok->added)
		return moe_err_nomem(err, json_array_size(list) * sizeof *tok->added, "added tokens");
	for (size_t i = 0; i < json_array_size(list) && !status; i++) {
		snprintf(where, sizeof where, "%.400s: added_tokens[%zu]", tok->name, i);
		status = read_added_token(tok, json_array_get(list, i), where, &tok->added[tok->n_added++], err);
	}
	at = tok->content.p ? tok->content.p : "";
	for (size_t i = 0; i < tok->n_added && !status; i++) {
		tok->added[i].content.p = at;
		at += tok->added[i].content.n;
	}
	return status;
}

/* The added tokens into the set for their pass; those of the second are looked for in normalised text, so they are
 * normalised themselves. */
static enum moe_status build_sets(struct moe_tokenizer *tok, struct moe_err *err)
{
	struct moe_codes codes = {0}, spare = {0};
	const char *at;
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < tok->n_added && !status; i++) {
		struct moe_added_token *added = &tok->added[i];
		struct moe_added_set **set = added->normalized ? &tok->normal : &tok->raw;

		codes.n = 0;
		status = moe_codes_add_utf8(&codes, added->content.p, added->content.n, err);
		if (!status && added->normalized)
			status = moe_normalize(&tok->normalizer, &codes, &spare, 64 * codes.n + 256, err);
		if (!status && !*set)
			status = moe_added_set_new(set, tok->added, err);
		if (!status)
			status = moe_added_set_add(*set, codes.p, codes.n, (int32_t)i, err);
		added->shown.n = tok->shown.n;
		for (size_t k = 0; k < codes.n; k++) {
			uint8_t utf8[4];
			moe_buf_add(&tok->shown, utf8, moe_utf8_put(utf8, codes.p[k]));
		}
		added->shown.n = tok->shown.n - added->shown.n;
	}
	status = status ? status : moe_buf_check(&tok->shown, err);
	at = tok->shown.p ? tok->shown.p : "";
	for (size_t i = 0; i < tok->n_added && !status; i++) {
		tok->added[i].shown.p = at;
		at += tok->added[i].shown.n;
	}
	moe_codes_free(&codes);
	moe_codes_free(&spare);
	return status;
}

static int compare_tokens(const void *a, const void *b)
{
	const struct moe_token *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->added - y->added;
}

static int print_width(struct moe_str s)
{
	return (int)(s.n < 100 ? s.n : 100);
}

/* One token per id: those of the vocabulary and the added ones, which may be there too. */
static enum moe_status list_tokens(struct moe_tokenizer *tok, struct moe_err *err)
{
	const struct moe_text_model *model = (const struct moe_text_model *)tok->model.part;
	size_t n_vocab = model->n_pieces(tok->model.self), n = n_vocab + tok->n_added, kept = 0;

	tok->tokens = calloc(n + 1, sizeof *tok->tokens);
	if (!tok->tokens)
		return moe_err_nomem(err, n * sizeof *tok->tokens, "tokens");
	for (size_t i = 0; i < n_vocab; i++)
		model->piece(tok->model.self, i, &tok->tokens[i].id, &tok->tokens[i].text);
	for (size_t i = 0; i < tok->n_added; i++) {
		const struct moe_added_token *a = &tok->added[i];
		int32_t id = model->find(tok->model.self, a->content);

		tok->tokens[n_vocab + i] = (struct moe_token){a->id, true, a->special, a->content, a->shown, {0}};
		if (id >= 0 && id != a->id)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: added_tokens[%zu]: '%.*s' has the id %d there and %d in the "
			                   "vocabulary", tok->name, i, print_width(a->content), a->content.p,
			                   (int)a->id, (int)id);
	}
	qsort(tok->tokens, n, sizeof *tok->tokens, compare_tokens);
	for (size_t i = 1; i < n; i++) {
		struct moe_token *last = &tok->tokens[kept], *next = &tok->tokens[i];

		if (next->id != last->id) {
			tok->tokens[++kept] = *next;
			continue;
		}
		if (!next->added || next->text.n != last->text.n ||
		    memcmp(next->text.p, last->text.p, next->text.n) != 0)
			return moe_err_set(err, MOE_EFORMAT, "%s: the id %d is both '%.*s' and '%.*s'", tok->name,
			                   (int)next->id, print_width(last->text), last->text.p,
			                   print_width(next->text), next->text.p);
		last->added = true;
		last->special |= next->special;
		last->shown = next->shown;
	}
	tok->n_tokens = kept + 1;
	for (size_t i = 0; i < tok->n_tokens; i++) {
		struct moe_token *token = &tok->tokens[i];

		if (token->added)
			token->text = token->shown;
		else if (model->lacks_merges && model->lacks_merges(tok->model.self, token->id, token->text))
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: model.merges: is empty, so that no text gives the token '%.*s': a "
			                   "vocabulary without its merges cannot encode",
			                   tok->name, print_width(token->text), token->text.p);
	}
	return MOE_OK;
}

/* Unrolls sequences into tok->chain. */
static enum moe_status build_chain(struct moe_tokenizer *tok, const struct moe_stage *stage, struct moe_err *err)
{
	const struct moe_decoder *kind = (const struct moe_decoder *)stage->part;
	enum moe_status status = MOE_OK;
	size_t n = 0;

	if (kind->children) {
		const struct moe_stage *v = kind->children(stage->self, &n);
		for (size_t i = 0; i < n && !status; i++)
			status = build_chain(tok, &v[i], err);
		return status;
	}
	if (tok->n_chain == MAX_CHAIN)
		return moe_err_set(err, MOE_EFORMAT, "%s: decoder: more than %d decoders", tok->name, MAX_CHAIN);
	for (size_t i = 0; i < tok->n_chain && kind->needs_whole; i++) {
		const struct moe_decoder *before = (const struct moe_decoder *)tok->chain[i]->part;
		if (before->joins)
			return moe_err_set(err, MOE_EFORMAT, "%s: decoder: %s behind %s is not supported", tok->name,
			                   kind->part.type, before->part.type);
	}
	tok->chain[tok->n_chain++] = stage;
	return MOE_OK;
}

/* What each token stands for by itself, through all decoders. */
static enum moe_status list_bytes(struct moe_tokenizer *tok, struct moe_err *err)
{
	struct moe_buf in = {0}, out = {0};
	const char *at;
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < tok->n_tokens && !status; i++) {
		struct moe_token *token = &tok->tokens[i];

		in.n = 0;
		moe_buf_add(&in, token->text.p, token->text.n);
		for (size_t k = 0; k < tok->n_chain; k++) {
			const struct moe_decoder *kind = (const struct moe_decoder *)tok->chain[k]->part;
			struct moe_buf swap = in;
			if (!kind->bytes)
				continue;
			out.n = 0;
			kind->bytes(tok->chain[k]->self, (struct moe_str){in.p ? in.p : "", in.n}, &out);
			in = out;
			out = swap;
		}
		token->bytes.n = in.n;
		moe_buf_add(&tok->bytes, in.p ? in.p : "", in.n);
		status = in.failed || out.failed ? moe_err_nomem(err, in.cap, "tokens")
		                                : moe_buf_check(&tok->bytes, err);
	}
	at = tok->bytes.p ? tok->bytes.p : "";
	for (size_t i = 0; i < tok->n_tokens; i++) {
		tok->tokens[i].bytes.p = at;
		at += tok->tokens[i].bytes.n;
	}
	moe_buf_free(&in);
	moe_buf_free(&out);
	return status;
}

/* The id of {"SpecialToken": {"id": NAME}} in a template; -1: it is something else. */
static enum moe_status template_id(const struct moe_tokenizer *tok, const json_t *processor, const json_t *item,
                                   const char *where, int32_t *id, struct moe_err *err)
{
	const json_t *special = json_object_get(item, "SpecialToken");
	const char *name = json_string_value(json_object_get(special, "id"));
	const json_t *ids;

	*id = -1;
	if (!special)
		return MOE_OK;
	ids = json_object_get(json_object_get(json_object_get(processor, "special_tokens"), name ? name : ""), "ids");
	if (json_array_size(ids) != 1 || !json_is_integer(json_array_get(ids, 0)))
		return moe_err_set(err, MOE_EFORMAT, "%s.special_tokens: one id for '%.100s' is expected", where,
		                   name ? name : "");
	*id = (int32_t)json_integer_value(json_array_get(ids, 0));
	if (!moe_token_of(tok, *id))
		return moe_err_set(err, MOE_EFORMAT, "%s.special_tokens: no token has the id of '%.100s'", where, name);
	return MOE_OK;
}

/* What a template puts around a single text: BOS before, EOS behind. */
static enum moe_status read_template(struct moe_tokenizer *tok, const json_t *obj, const char *where,
                                     struct moe_err *err)
{
	const json_t *single = json_object_get(obj, "single");
	size_t n_before = 0, n_behind = 0, n_texts = 0;
	int32_t id;

	for (size_t i = 0; i < json_array_size(single); i++) {
		enum moe_status status = template_id(tok, obj, json_array_get(single, i), where, &id, err);
		if (status)
			return status;
		if (id < 0) {
			n_texts++;
		} else if (n_texts == 0) {
			tok->bos_id = id;
			n_before++;
		} else {
			tok->eos_id = id;
			n_behind++;
		}
	}
	tok->add_bos = n_before == 1;
	tok->add_eos = n_behind == 1;
	if (n_texts != 1 || n_before > 1 || n_behind > 1)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s.single: the text with at most one special token before and one behind "
		                   "is expected", where);
	return MOE_OK;
}

static enum moe_status read_post_processor(struct moe_tokenizer *tok, const json_t *obj, const char *where, int depth,
                                           struct moe_err *err)
{
	const char *type = json_string_value(json_object_get(obj, "type"));
	const json_t *list = json_object_get(obj, "processors");
	char path[512];
	enum moe_status status = MOE_OK;

	if (!obj || json_is_null(obj))
		return MOE_OK;
	type = type ? type : "(nothing)";
	/* ByteLevel only trims offsets. */
	if (strcmp(type, "ByteLevel") == 0)
		return MOE_OK;
	if (strcmp(type, "TemplateProcessing") == 0)
		return read_template(tok, obj, where, err);
	if (strcmp(type, "Sequence") != 0 || !json_is_array(list) || depth > 8)
		return moe_err_set(err, MOE_EFORMAT, "%s.type: '%.100s' is not known here, only ByteLevel, Sequence, "
		                   "TemplateProcessing", where, type);
	for (size_t i = 0; i < json_array_size(list) && !status; i++) {
		snprintf(path, sizeof path, "%.400s.processors[%zu]", where, i);
		status = read_post_processor(tok, json_array_get(list, i), path, depth + 1, err);
	}
	return status;
}

/* bos_token or eos_token: a string or an object with content. */
static enum moe_status read_named(const struct moe_tokenizer *tok, const json_t *config, const char *key,
                                  const char *where, int32_t *id, struct moe_err *err)
{
	const json_t *value = json_object_get(config, key);

	if (json_is_object(value))
		value = json_object_get(value, "content");
	if (!value || json_is_null(value))
		return MOE_OK;
	if (!json_is_string(value))
		return moe_err_set(err, MOE_EFORMAT, "%s: %s: a string or an object with content is expected", where,
		                   key);
	*id = moe_tokenizer_find(tok, json_string_value(value), json_string_length(value));
	return MOE_OK;
}

static enum moe_status read_config(struct moe_tokenizer *tok, const void *bytes, size_t n, struct moe_err *err)
{
	json_t *config = NULL;
	char where[512];
	enum moe_status status;

	if (!bytes)
		return MOE_OK;
	snprintf(where, sizeof where, "tokenizer_config.json beside %.400s", tok->name);
	status = moe_json_parse(&config, bytes, n, where, err);
	if (!status && !json_is_object(config))
		status = moe_err_set(err, MOE_EFORMAT, "%s: an object is expected", where);
	if (!status)
		status = moe_json_bool(config, "add_bos_token", where, &tok->add_bos, err);
	if (!status)
		status = moe_json_bool(config, "add_eos_token", where, &tok->add_eos, err);
	if (!status)
		status = read_named(tok, config, "bos_token", where, &tok->bos_id, err);
	if (!status)
		status = read_named(tok, config, "eos_token", where, &tok->eos_id, err);
	if (!status && ((tok->add_bos && tok->bos_id < 0) || (tok->add_eos && tok->eos_id < 0)))
		status = moe_err_set(err, MOE_EFORMAT, "%s: add_%s_token is true, but %s_token names no token", where,
		                     tok->add_bos && tok->bos_id < 0 ? "bos" : "eos",
		                     tok->add_bos && tok->bos_id < 0 ? "bos" : "eos");
	json_decref(config);
	return status;
}

static enum moe_status read_stage(const struct moe_tokenizer *tok, const json_t *root, const char *key,
                                  enum moe_stage_kind kind, struct moe_stage *out, struct moe_err *err)
{
	char where[512];

	if (!moe_json_has(root, key) && kind != MOE_STAGE_MODEL)
		return MOE_OK;
	snprintf(where, sizeof where, "%.400s: %s", tok->name, key);
	return moe_stage_new(out, kind, json_object_get(root, key), where, err);
}

static enum moe_status read_all(struct moe_tokenizer *tok, const json_t *root, struct moe_err *err)
{
	char where[512];
	enum moe_status status;

	if (!json_is_object(root))
		return moe_err_set(err, MOE_EFORMAT, "%s: an object is expected", tok->name);
	status = read_stage(tok, root, "model", MOE_STAGE_MODEL, &tok->model, err);
	if (!status)
		status = read_stage(tok, root, "normalizer", MOE_STAGE_NORMALIZER, &tok->normalizer, err);
	if (!status)
		status = read_stage(tok, root, "pre_tokenizer", MOE_STAGE_PRETOKENIZER, &tok->pretokenizer, err);
	if (!status)
		status = read_stage(tok, root, "decoder", MOE_STAGE_DECODER, &tok->decoder, err);
	if (!status)
		status = read_added(tok, json_object_get(root, "added_tokens"), err);
	if (!status)
		status = build_sets(tok, err);
	if (!status)
		status = list_tokens(tok, err);
	if (!status && tok->decoder.part) {
		tok->chain = calloc(MAX_CHAIN, sizeof *tok->chain);
		status = tok->chain ? build_chain(tok, &tok->decoder, err)
		                    : moe_err_nomem(err, MAX_CHAIN * sizeof *tok->chain, "decoders");
	}
	if (!status)
		status = list_bytes(tok, err);
	snprintf(where, sizeof where, "%.400s: post_processor", tok->name);
	if (!status)
		status = read_post_processor(tok, json_object_get(root, "post_processor"), where, 0, err);
	return status;
}

static enum moe_status hash_bytes(struct moe_tokenizer *tok, const void *bytes, size_t n, struct moe_err *err)
{
	struct moe_hash *hash = moe_hash_new();

	if (!hash)
		return moe_err_nomem(err, 0, "a hash");
	moe_hash_add(hash, bytes, n);
	moe_hash_text(hash, tok->hash);
	moe_hash_free(hash);
	return MOE_OK;
}

enum moe_status moe_tokenizer_parse(struct moe_tokenizer **out, const void *json, size_t n_json, const void *config,
                                    size_t n_config, const char *name, struct moe_err *err)
{
	struct moe_tokenizer *tok = calloc(1, sizeof *tok);
	json_t *root = NULL;
	enum moe_status status;

	*out = NULL;
	if (!tok || !(tok->name = strdup(name))) {
		free(tok);
		return moe_err_nomem(err, sizeof *tok, "a tokenizer");
	}
	tok->bos_id = tok->eos_id = -1;
	status = hash_bytes(tok, json, n_json, err);
	if (!status)
		status = moe_json_parse(&root, json, n_json, name, err);
	if (!status)
		status = read_all(tok, root, err);
	if (!status)
		status = read_config(tok, config, n_config, err);
	json_decref(root);
	if (status)
		moe_tokenizer_free(tok);
	else
		*out = tok;
	return status;
}

enum moe_status moe_tokenizer_load(struct moe_tokenizer **out, const char *dir, struct moe_err *err)
{
	struct moe_buf json = {0}, config = {0};
	char *path = moe_path_join(dir, "tokenizer.json"), *config_path = moe_path_join(dir, "tokenizer_config.json");
	enum moe_status status;

	*out = NULL;
	if (!path || !config_path) {
		status = moe_err_nomem(err, strlen(dir), "a path");
		goto out;
	}
	status = moe_read_all(path, MAX_FILE, &json, err);
	if (!status && moe_is_file(config_path)) {
		status = moe_read_all(config_path, MAX_FILE, &config, err);
		moe_buf_adds(&config, "");
	}
	if (!status)
		status = moe_tokenizer_parse(out, json.p ? json.p : "", json.n, config.p, config.n, path, err);
out:
	moe_buf_free(&json);
	moe_buf_free(&config);
	free(path);
	free(config_path);
	return status;
}

void moe_tokenizer_free(struct moe_tokenizer *tok)
{
	if (!tok)
		return;
	moe_stage_free(&tok->model);
	moe_stage_free(&tok->normalizer);
	moe_stage_free(&tok->pretokenizer);
	moe_stage_free(&tok->decoder);
	moe_added_set_free(tok->raw);
	moe_added_set_free(tok->normal);
	moe_buf_free(&tok->bytes);
	moe_buf_free(&tok->content);
	moe_buf_free(&tok->shown);
	free(tok->chain);
	free(tok->added);
	free(tok->tokens);
	free(tok->name);
	free(tok);
}

/* -- what is known ------------------------------------------------------------------------------------------------ */

const struct moe_token *moe_token_of(const struct moe_tokenizer *tok, int32_t id)
{
	struct moe_token key = {.id = id};
	size_t lo = 0, hi = tok->n_tokens;

	if (id >= 0 && (size_t)id < tok->n_tokens && tok->tokens[id].id == id)
		return &tok->tokens[id];
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (tok->tokens[mid].id < key.id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < tok->n_tokens && tok->tokens[lo].id == id ? &tok->tokens[lo] : NULL;
}

int32_t moe_tokenizer_n_ids(const struct moe_tokenizer *tok)
{
	return tok->tokens[tok->n_tokens - 1].id + 1;
}

bool moe_tokenizer_add_bos(const struct moe_tokenizer *tok)
{
	return tok->add_bos;
}

bool moe_tokenizer_add_eos(const struct moe_tokenizer *tok)
{
	return tok->add_eos;
}

int32_t moe_tokenizer_bos_id(const struct moe_tokenizer *tok)
{
	return tok->bos_id;
}

int32_t moe_tokenizer_eos_id(const struct moe_tokenizer *tok)
{
	return tok->eos_id;
}

int32_t moe_tokenizer_find(const struct moe_tokenizer *tok, const char *content, size_t n)
{
	const struct moe_text_model *model = (const struct moe_text_model *)tok->model.part;

	for (size_t i = 0; i < tok->n_added; i++) {
		if (tok->added[i].content.n == n && memcmp(tok->added[i].content.p, content, n) == 0)
			return tok->added[i].id;
	}
	return model->find(tok->model.self, (struct moe_str){content, n});
}

bool moe_tokenizer_bytes(const struct moe_tokenizer *tok, int32_t id, struct moe_str *bytes)
{
	const struct moe_token *token = moe_token_of(tok, id);

	if (token)
		*bytes = token->bytes;
	return token != NULL;
}

bool moe_tokenizer_is_special(const struct moe_tokenizer *tok, int32_t id)
{
	const struct moe_token *token = moe_token_of(tok, id);

	return token && token->special;
}

const char *moe_tokenizer_hash(const struct moe_tokenizer *tok)
{
	return tok->hash;
}
