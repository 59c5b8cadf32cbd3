/* tokenizer_config.json: which tokens begin and end a text, and whether they are added; and the chat template, which is
 * there or in a file of its own. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "text/source.h"

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

enum moe_status moe_tokenizer_read_config(struct moe_tokenizer *tok, const struct moe_text_file *file,
                                          struct moe_err *err)
{
	json_t *config = NULL;
	char where[512];
	enum moe_status status;

	if (!file->p)
		return MOE_OK;
	snprintf(where, sizeof where, "tokenizer_config.json beside %.400s", tok->name);
	status = moe_json_parse(&config, file->p, file->n, where, err);
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

/* chat_template: the template, or a list of named ones, of which "default" is meant. */
static enum moe_status config_template(const json_t *config, const char *where, struct moe_str *out,
                                       struct moe_err *err)
{
	const json_t *value = json_object_get(config, "chat_template"), *item;
	size_t i;

	*out = (struct moe_str){NULL, 0};
	if (!value || json_is_null(value))
		return MOE_OK;
	json_array_foreach(value, i, item) {
		const char *name = json_string_value(json_object_get(item, "name"));
		if (name && strcmp(name, "default") == 0)
			value = json_object_get(item, "template");
		if (!json_is_array(value))
			break;
	}
	if (!json_is_string(value))
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: chat_template: expected a template or a list with one named default", where);
	*out = (struct moe_str){json_string_value(value), json_string_length(value)};
	return MOE_OK;
}

enum moe_status moe_tokenizer_read_chat(struct moe_tokenizer *tok, const struct moe_text_files *files,
                                        struct moe_err *err)
{
	const json_t *key = json_object_get(json_object_get(files->gguf, "tokenizer.chat_template"), "value");
	struct moe_str found = {files->chat.p, files->chat.n};
	json_t *config = NULL;
	char where[512];
	enum moe_status status = MOE_OK;

	snprintf(where, sizeof where, "tokenizer_config.json beside %.400s", tok->name);
	if (!found.p && files->config.p)
		status = moe_json_parse(&config, files->config.p, files->config.n, where, err);
	if (!status && config)
		status = config_template(config, where, &found, err);
	if (!found.p && json_is_string(key))
		found = (struct moe_str){json_string_value(key), json_string_length(key)};
	if (!status && found.p) {
		moe_buf_add(&tok->chat_template, found.p, found.n);
		moe_buf_adds(&tok->chat_template, "");
		status = moe_buf_check(&tok->chat_template, err);
	}
	json_decref(config);
	return status;
}
