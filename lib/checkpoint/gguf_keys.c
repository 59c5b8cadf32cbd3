/* The front of a GGUF file: a cursor that cannot leave it, metadata as JSON, companions. */
#include "checkpoint/gguf.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "checkpoint/format.h"

/* All values of all keys of a file, elements of arrays included: some 80 bytes of memory each. Those that are kept as
 * objects of their own take some 700. */
#define MAX_VALUES ((size_t)1 << 22)
#define MAX_OBJECTS ((size_t)1 << 17)

enum moe_status moe_gguf_refuse(struct moe_gguf_reader *r, const char *fmt, ...)
{
	char text[900];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	return moe_err_set(r->err, MOE_EFORMAT, "%s: %s", r->file->path, text);
}

static enum moe_status take(struct moe_gguf_reader *r, uint64_t n, const char *what, const uint8_t **p)
{
	if (n > r->file->n_bytes - r->at)
		return moe_gguf_refuse(r, "%s at byte %zu should take %llu bytes, found only %zu", what, r->at,
		              (unsigned long long)n, r->file->n_bytes - r->at);
	*p = r->file->data + r->at;
	r->at += (size_t)n;
	return MOE_OK;
}

enum moe_status moe_gguf_take_u32(struct moe_gguf_reader *r, const char *what, uint32_t *v)
{
	const uint8_t *p = NULL;
	enum moe_status status = take(r, 4, what, &p);

	if (!status)
		*v = moe_load_u32(p);
	return status;
}

enum moe_status moe_gguf_take_u64(struct moe_gguf_reader *r, const char *what, uint64_t *v)
{
	const uint8_t *p = NULL;
	enum moe_status status = take(r, 8, what, &p);

	if (!status)
		*v = moe_load_u64(p);
	return status;
}

static enum moe_status take_string(struct moe_gguf_reader *r, const char *what, struct moe_str *text)
{
	uint64_t n;
	const uint8_t *p = NULL;
	enum moe_status status = moe_gguf_take_u64(r, what, &n);

	if (!status)
		status = take(r, n, what, &p);
	if (!status)
		*text = (struct moe_str){ (const char *)p, (size_t)n };
	return status;
}

/* Names of keys and tensors: text that every later user can print and compare with strcmp. */
enum moe_status moe_gguf_take_name(struct moe_gguf_reader *r, const char *what, struct moe_str *text)
{
	size_t at = r->at;
	enum moe_status status = take_string(r, what, text);

	if (status)
		return status;
	if (text->n == 0 || text->n > MOE_GGUF_MAX_KEY || memchr(text->p, 0, text->n) ||
	    !moe_format_is_utf8((const uint8_t *)text->p, text->n))
		return moe_gguf_refuse(r, "%s at byte %zu: expected 1 to %d bytes of UTF-8", what, at,
		                       MOE_GGUF_MAX_KEY);
	return MOE_OK;
}

static json_t *make_hex(const uint8_t *p, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	char *text = malloc(2 * n + 1);
	json_t *hex;

	if (!text)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		text[2 * i] = digits[p[i] >> 4];
		text[2 * i + 1] = digits[p[i] & 15];
	}
	hex = json_stringn_nocheck(text, 2 * n);
	free(text);
	return hex;
}

/* A number as JSON; NULL where it has none (or memory is out): NaN, infinity, 2^63 and beyond. */
static json_t *make_number(enum moe_gguf_type type, const uint8_t *p)
{
	uint64_t bits;
	double f64;

	switch (type) {
	case MOE_GGUF_U8:
		return json_integer(p[0]);
	case MOE_GGUF_I8:
		return json_integer((int8_t)p[0]);
	case MOE_GGUF_U16:
		return json_integer(moe_load_u16(p));
	case MOE_GGUF_I16:
		return json_integer((int16_t)moe_load_u16(p));
	case MOE_GGUF_U32:
		return json_integer(moe_load_u32(p));
	case MOE_GGUF_I32:
		return json_integer((int32_t)moe_load_u32(p));
	case MOE_GGUF_F32:
		return json_real((double)moe_f32_from_bits(moe_load_u32(p)));
	case MOE_GGUF_BOOL:
		return json_boolean(p[0]);
	case MOE_GGUF_U64:
		return moe_load_u64(p) <= INT64_MAX ? json_integer((json_int_t)moe_load_u64(p)) : NULL;
	case MOE_GGUF_I64:
		return json_integer((json_int_t)moe_load_u64(p));
	case MOE_GGUF_F64:
		bits = moe_load_u64(p);
		memcpy(&f64, &bits, sizeof f64);
		return json_real(f64);
	default:
		return NULL;
	}
}

/* A value that is no array. *is_hex: it is the hex text of bytes that JSON cannot hold. */
static enum moe_status take_scalar(struct moe_gguf_reader *r, enum moe_gguf_type type, const char *key, json_t **value,
                                   bool *is_hex)
{
	struct moe_str text;
	enum moe_status status;

	*is_hex = false;
	if (type == MOE_GGUF_STRING) {
		status = take_string(r, key, &text);
		if (status)
			return status;
		*is_hex = !moe_format_is_utf8((const uint8_t *)text.p, text.n);
		*value = *is_hex ? NULL : json_stringn_nocheck(text.n ? text.p : "", text.n);
	} else {
		const uint8_t *p = NULL;

		status = take(r, moe_gguf_types[type].n_bytes, key, &p);
		if (status)
			return status;
		if (type == MOE_GGUF_BOOL && p[0] > 1)
			return moe_gguf_refuse(r, "key %s: expected 0 or 1 as bool, found %u", key, p[0]);
		text = (struct moe_str){ (const char *)p, moe_gguf_types[type].n_bytes };
		*value = make_number(type, p);
		*is_hex = !*value;
	}
	if (*is_hex)
		*value = make_hex((const uint8_t *)text.p, text.n);
	return *value ? MOE_OK : moe_err_nomem(r->err, text.n, "a metadata value");
}

static enum moe_status count_object(struct moe_gguf_reader *r, const char *key)
{
	if (++r->n_objects > MAX_OBJECTS)
		return moe_gguf_refuse(r, "key %s: expected at most %zu keys, arrays in arrays, and elements that are "
		                       "no UTF-8 or no finite number below 2^63, in all", key, MAX_OBJECTS);
	return MOE_OK;
}

static enum moe_status take_type(struct moe_gguf_reader *r, const char *key, uint32_t *type)
{
	enum moe_status status = moe_gguf_take_u32(r, key, type);

	if (!status && *type >= MOE_GGUF_N_TYPES)
		status = moe_gguf_refuse(r, "key %s: expected a value type of 0 to %d, found %u", key,
		                         MOE_GGUF_N_TYPES - 1, *type);
	return status;
}

static enum moe_status take_value(struct moe_gguf_reader *r, uint32_t type, const char *key, int depth, json_t **out);

/* One element into an array: the plain value, { "hex": ... }, or an array's object. */
static enum moe_status take_element(struct moe_gguf_reader *r, uint32_t type, const char *key, int depth, json_t *array)
{
	json_t *value = NULL;
	enum moe_status status;
	bool is_hex = false;

	if (type == MOE_GGUF_ARRAY)
		status = take_value(r, type, key, depth + 1, &value);
	else
		status = take_scalar(r, type, key, &value, &is_hex);
	if (status)
		return status;
	if (is_hex) {
		value = json_pack("{s:o}", "hex", value);
		status = count_object(r, key);
	}
	if (status) {
		json_decref(value);
		return status;
	}
	if (json_array_append_new(array, value))
		return moe_err_nomem(r->err, 16, "a metadata array");
	return MOE_OK;
}

static enum moe_status take_array(struct moe_gguf_reader *r, const char *key, int depth, json_t *object)
{
	json_t *array = json_array();
	uint32_t of;
	uint64_t n;
	size_t least;
	enum moe_status status;

	if (!array || json_object_set_new(object, "value", array))
		return moe_err_nomem(r->err, 64, "a metadata array");
	if (depth > MOE_GGUF_MAX_DEPTH)
		return moe_gguf_refuse(r, "key %s: arrays are nested deeper than %d", key, MOE_GGUF_MAX_DEPTH);
	status = take_type(r, key, &of);
	if (!status)
		status = moe_gguf_take_u64(r, key, &n);
	if (status)
		return status;
	if (json_object_set_new(object, "of", json_string(moe_gguf_types[of].name)))
		return moe_err_nomem(r->err, 64, "a metadata array");
	least = of == MOE_GGUF_STRING ? 8 : of == MOE_GGUF_ARRAY ? 12 : moe_gguf_types[of].n_bytes;
	if (n > (r->file->n_bytes - r->at) / least)
		return moe_gguf_refuse(r, "key %s: %llu elements do not fit into the %zu bytes behind it", key,
		              (unsigned long long)n, r->file->n_bytes - r->at);
	if (n > MAX_VALUES - r->n_values)
		return moe_gguf_refuse(r, "key %s: expected at most %zu metadata values in all", key, MAX_VALUES);
	r->n_values += (size_t)n;
	for (uint64_t i = 0; i < n && !status; i++)
		status = take_element(r, of, key, depth, array);
	return status;
}

/* *out: { "type", "value" }, { "type", "hex" } or { "type": "array", "of", "value" }. */
static enum moe_status take_value(struct moe_gguf_reader *r, uint32_t type, const char *key, int depth, json_t **out)
{
	json_t *object = json_object(), *value = NULL;
	enum moe_status status = count_object(r, key);
	bool is_hex;

	if (status) {
		*out = NULL;
		json_decref(object);
		return status;
	}
	if (!object || json_object_set_new(object, "type", json_string(moe_gguf_types[type].name))) {
		status = moe_err_nomem(r->err, 64, "a metadata value");
	} else if (type == MOE_GGUF_ARRAY) {
		status = take_array(r, key, depth, object);
	} else {
		status = take_scalar(r, type, key, &value, &is_hex);
		if (!status && json_object_set_new(object, is_hex ? "hex" : "value", value))
			status = moe_err_nomem(r->err, 64, "a metadata value");
	}
	if (status) {
		json_decref(object);
		object = NULL;
	}
	*out = object;
	return status;
}

/* The string value at `at` is a file of the original directory: a view of it becomes a companion. */
static enum moe_status keep_file(struct moe_gguf_reader *r, const char *key, size_t at)
{
	struct moe_ckpt *ckpt = r->ckpt;
	const char *name = key + strlen(MOE_GGUF_FILE_PREFIX);
	size_t n = (size_t)ckpt->n_companions;
	struct moe_companion *companion;

	if (!moe_format_plain_name(name, strlen(name)))
		return moe_gguf_refuse(r, "key %s: expected a plain file name behind " MOE_GGUF_FILE_PREFIX, key);
	if ((n & (n - 1)) == 0) {
		companion = MOE_NEW(&ckpt->arena, struct moe_companion, n ? 2 * n : 1);
		if (!companion)
			return moe_err_nomem(r->err, 2 * n * sizeof *companion, "companion files");
		if (n)
			memcpy(companion, ckpt->companions, n * sizeof *companion);
		ckpt->companions = companion;
	}
	companion = &ckpt->companions[n];
	companion->name = moe_arena_strndup(&ckpt->arena, name, strlen(name));
	if (!companion->name)
		return moe_err_nomem(r->err, strlen(name) + 1, "a companion's name");
	companion->data = r->file->data + at + 8;
	companion->n_bytes = (size_t)moe_load_u64(r->file->data + at);
	ckpt->n_companions++;
	return MOE_OK;
}

static enum moe_status take_key(struct moe_gguf_reader *r)
{
	struct moe_str name;
	json_t *value = NULL;
	uint32_t type;
	size_t at;
	char *key;
	enum moe_status status = moe_gguf_take_name(r, "a key's name", &name);

	if (status)
		return status;
	key = strndup(name.p, name.n);
	if (!key)
		return moe_err_nomem(r->err, name.n, "a key's name");
	status = take_type(r, key, &type);
	at = r->at;
	if (!status && ++r->n_values > MAX_VALUES)
		status = moe_gguf_refuse(r, "key %s: expected at most %zu metadata values in all", key, MAX_VALUES);
	if (!status && json_object_get(r->keys, key))
		status = moe_gguf_refuse(r, "key %s is here twice", key);
	if (!status)
		status = take_value(r, type, key, 1, &value);
	if (!status && json_object_set_new_nocheck(r->keys, key, value))
		status = moe_err_nomem(r->err, name.n, "metadata");
	if (!status && r->keep_files && type == MOE_GGUF_STRING &&
	    !strncmp(key, MOE_GGUF_FILE_PREFIX, strlen(MOE_GGUF_FILE_PREFIX)))
		status = keep_file(r, key, at);
	free(key);
	return status;
}

/* An integer key; false where it is absent or no integer. */
bool moe_gguf_key_integer(const json_t *keys, const char *key, json_int_t *value)
{
	const json_t *number = json_object_get(json_object_get(keys, key), "value");

	if (!json_is_integer(number))
		return false;
	*value = json_integer_value(number);
	return true;
}

/* From the magic to the last key. r->keys is the caller's to free, whatever happens. */
enum moe_status moe_gguf_read_keys(struct moe_gguf_reader *r)
{
	json_int_t alignment = MOE_GGUF_DEFAULT_ALIGNMENT;
	const uint8_t *magic = NULL;
	uint32_t version;
	enum moe_status status = take(r, 4, "the magic", &magic);

	if (!status && memcmp(magic, "GGUF", 4))
		status = moe_gguf_refuse(r, "expected the magic GGUF");
	if (!status)
		status = moe_gguf_take_u32(r, "the version", &version);
	if (status)
		return status;
	if (version && !(version & 0xffff))
		return moe_gguf_refuse(r, "is a big-endian GGUF file; only little-endian ones are read");
	if (version != 2 && version != 3)
		return moe_gguf_refuse(r, "expected GGUF version 2 or 3, found %u", version);
	status = moe_gguf_take_u64(r, "the count of tensors", &r->n_tensors);
	if (!status)
		status = moe_gguf_take_u64(r, "the count of keys", &r->n_keys);
	if (status)
		return status;
	/* The least a key takes: name of one byte, type, one byte of value; a tensor: name, rank, type, offset. */
	if (r->n_keys > (r->file->n_bytes - r->at) / 14 || r->n_tensors > (r->file->n_bytes - r->at) / 25)
		return moe_gguf_refuse(r, "%llu keys and %llu tensors do not fit into %zu bytes",
		                       (unsigned long long)r->n_keys, (unsigned long long)r->n_tensors,
		                       r->file->n_bytes);
	r->keys = json_object();
	if (!r->keys)
		return moe_err_nomem(r->err, 64, "metadata");
	for (uint64_t i = 0; i < r->n_keys && !status; i++)
		status = take_key(r);
	if (status)
		return status;
	if (json_object_get(r->keys, "general.alignment") &&
	    !moe_gguf_key_integer(r->keys, "general.alignment", &alignment))
		return moe_gguf_refuse(r, "expected general.alignment to be an integer, found another type");
	if (alignment < 8 || alignment > MOE_GGUF_MAX_ALIGNMENT || alignment % 8)
		return moe_gguf_refuse(r, "expected general.alignment to be a multiple of 8 up to %u, found %lld",
		                       MOE_GGUF_MAX_ALIGNMENT, (long long)alignment);
	r->alignment = (uint64_t)alignment;
	return MOE_OK;
}
