/* tokenizer.json: stages by their types, added tokens, and a template that says what surrounds a text. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "text/source.h"

enum { MAX_ADDED = 1 << 20 };   /* the most known are a thousand */

static enum moe_status read_added_token(struct moe_tokenizer *tok, const json_t *obj, const char *where,
                                        struct moe_err *err)
{
	struct moe_added_token token = {.id = -1};
	enum moe_status status;

	if (!json_is_object(obj))
		return moe_err_set(err, MOE_EFORMAT, "%s: an object is expected", where);
	status = moe_stage_str(obj, "content", where, &token.content, err);
	if (!status)
		status = moe_json_i32(obj, "id", where, 0, INT32_MAX - 1, &token.id, err);
	if (!status && token.id < 0)
		status = moe_err_set(err, MOE_EFORMAT, "%s.id: a number is expected", where);
	if (!status)
		status = moe_json_bool(obj, "special", where, &token.special, err);
	token.normalized = !token.special;
	if (!status)
		status = moe_json_bool(obj, "normalized", where, &token.normalized, err);
	if (!status)
		status = moe_json_bool(obj, "lstrip", where, &token.lstrip, err);
	if (!status)
		status = moe_json_bool(obj, "rstrip", where, &token.rstrip, err);
	if (!status)
		status = moe_json_bool(obj, "single_word", where, &token.single_word, err);
	return status ? status : moe_tokenizer_add_token(tok, &token, err);
}

static enum moe_status read_added(struct moe_tokenizer *tok, const json_t *list, struct moe_err *err)
{
	char where[512];
	enum moe_status status = MOE_OK;

	if (!list || json_is_null(list))
		return MOE_OK;
	if (!json_is_array(list))
		return moe_err_set(err, MOE_EFORMAT, "%s: added_tokens: an array is expected", tok->name);
	if (json_array_size(list) > MAX_ADDED)
		return moe_err_set(err, MOE_EFORMAT, "%s: added_tokens: %zu of them, at most %d are supported",
		                   tok->name, json_array_size(list), MAX_ADDED);
	for (size_t i = 0; i < json_array_size(list) && !status; i++) {
		snprintf(where, sizeof where, "%.400s: added_tokens[%zu]", tok->name, i);
		status = read_added_token(tok, json_array_get(list, i), where, err);
	}
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
		status = moe_tokenizer_finish(tok, err);
	snprintf(where, sizeof where, "%.400s: post_processor", tok->name);
	if (!status)
		status = read_post_processor(tok, json_object_get(root, "post_processor"), where, 0, err);
	return status;
}

static bool is_there(const struct moe_text_files *files)
{
	return files->json.p;
}

static enum moe_status read_json(struct moe_tokenizer *tok, const struct moe_text_files *files, struct moe_err *err)
{
	json_t *root = NULL;
	enum moe_status status = moe_tokenizer_identify(tok, &files->json, err);

	if (!status)
		status = moe_json_parse(&root, files->json.p, files->json.n, tok->name, err);
	if (!status)
		status = read_all(tok, root, err);
	if (!status)
		status = moe_tokenizer_read_config(tok, &files->config, err);
	json_decref(root);
	return status;
}

const struct moe_text_source moe_text_source_json = {
	.needs = "tokenizer.json",
	.order = 0,
	.is_there = is_there,
	.read = read_json,
};
