/* GGUF keys of a model: what its config says, in GGUF's words. */
#include <string.h>

#include "convert/gguf_meta.h"
#include "model/gguf_keys.h"

/* One config value as a typed GGUF value; NULL where it is absent or of another type. */
static json_t *typed(const json_t *value, const char *type)
{
	if (!strcmp(type, "f32"))
		return json_is_number(value) ? json_real(json_number_value(value)) : NULL;
	if (!strcmp(type, "bool"))
		return json_is_boolean(value) ? json_boolean(json_is_true(value)) : NULL;
	if (!strcmp(type, "string"))
		return json_is_string(value) ? json_incref((json_t *)value) : NULL;
	return json_is_integer(value) ? json_integer(json_integer_value(value)) : NULL;
}

/* The directory's or file's own name, without ending. */
static json_t *name_of(const char *path)
{
	size_t n = strlen(path), begin;

	while (n > 1 && path[n - 1] == '/')
		n--;
	for (begin = n; begin > 0 && path[begin - 1] != '/'; begin--)
		;
	if (n - begin > 5 && !strncmp(path + n - 5, ".gguf", 5))
		n -= 5;
	json_t *name = json_stringn(path + begin, n - begin);
	return name ? name : json_string("model");   /* not UTF-8 */
}

/* Keys of a GGUF source that are still true; what the family says of the model was made anew. */
static enum moe_status keep_others(json_t *keys, const json_t *source, const struct moe_config *config,
                                   const char *arch, struct moe_err *err)
{
	const json_t *before = moe_gguf_key(source, NULL, "general.architecture");
	const char *key, *was = json_is_string(before) ? json_string_value(before) : arch;
	const size_t n_was = strlen(was);
	json_t *value;

	json_object_foreach((json_t *)source, key, value) {
		const char *dot = strrchr(key, '.');
		/* companions come back as such */
		const bool others = strcmp(was, arch) && !strncmp(key, was, n_was) && key[n_was] == '.';
		const bool gone = others || !strncmp(key, "split.", 6) || !strncmp(key, "moe.file.", 9) ||
		                  !strcmp(key, "general.alignment") ||
		                  (dot && !strcmp(dot, ".nextn_predict_layers") && !config->n_mtp_layers);
		if (!gone && !json_object_get(keys, key) && json_object_set(keys, key, value))
			return moe_err_nomem(err, 64, "GGUF keys");
	}
	return MOE_OK;
}

enum moe_status moe_gguf_meta(json_t **out, const struct moe_ckpt *src, const struct moe_config *config,
                              const json_t *json, int64_t file_type, struct moe_buf *notes, struct moe_err *err)
{
	const struct moe_family *family = config->family;
	const bool from_gguf = src->format->naming == MOE_NAMING_GGUF;
	char own[64];
	const char *arch = moe_gguf_arch(config, own);
	json_t *keys = json_object();
	enum moe_status st = MOE_OK;
	bool ok = keys;

	ok = ok && moe_gguf_put(keys, NULL, "general.architecture", "string", json_string(arch));
	if (ok && !(from_gguf && json_object_get(src->metadata, "general.name")))
		ok = moe_gguf_put(keys, NULL, "general.name", "string", name_of(src->path));
	ok = ok && moe_gguf_put(keys, NULL, "general.file_type", "u32", json_integer(file_type));
	ok = ok && moe_gguf_put(keys, NULL, "general.quantization_version", "u32", json_integer(2));
	for (const struct moe_key *key = family->keys; ok && key && key->hf; key++) {
		json_t *value = typed(json_object_get(json, key->hf), key->type);
		if (value)
			ok = moe_gguf_put(keys, arch, key->gguf, key->type, value);
	}
	if (!ok)
		st = moe_err_nomem(err, 64, "GGUF keys");
	if (!st && family->gguf_extra)
		st = family->gguf_extra(config, keys, err);
	if (!st && from_gguf)
		st = keep_others(keys, src->metadata, config, arch, err);
	if (!st && !from_gguf)
		st = moe_gguf_tokens(keys, src, config, notes, err);
	if (st)
		json_decref(keys);
	else
		*out = keys;
	return st;
}
