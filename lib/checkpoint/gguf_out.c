/* Writing one GGUF file, version 3: keys in the order given, tensors in declared order, everything aligned. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "checkpoint/format.h"
#include "checkpoint/gguf.h"

#define MAX_NAME 63   /* of a tensor, so that engines with room for 64 bytes and a NUL in them load it */

struct layout {
	struct moe_buf header;  /* up to the data area, padding included */
	uint64_t alignment;
};

static void free_layout(void *arg)
{
	struct layout *layout = arg;

	moe_buf_free(&layout->header);
	free(layout);
}

static enum moe_status check(const struct moe_ckpt_out *out, const struct moe_declared *tensor, struct moe_err *err)
{
	if (tensor->codec->gguf_id < 0)
		return moe_err_set(err, MOE_EUSAGE, "%s: tensor %s: GGUF has no type for %s", out->path, tensor->name,
		                   tensor->codec->name);
	if (strlen(tensor->name) > MAX_NAME)
		return moe_err_set(err, MOE_EUSAGE, "%s: tensor %s: GGUF holds names of at most %d bytes", out->path,
		                   tensor->name, MAX_NAME);
	if (tensor->n_dims > MOE_GGUF_MAX_DIMS)
		return moe_err_set(err, MOE_EUSAGE, "%s: tensor %s: GGUF holds at most %d dimensions, found %d",
		                   out->path, tensor->name, MOE_GGUF_MAX_DIMS, (int)tensor->n_dims);
	return MOE_OK;
}

static void add_u32(struct moe_buf *buf, uint32_t v)
{
	uint8_t bytes[4];

	moe_store_u32(bytes, v);
	moe_buf_add(buf, bytes, sizeof bytes);
}

static void add_u64(struct moe_buf *buf, uint64_t v)
{
	uint8_t bytes[8];

	moe_store_u64(bytes, v);
	moe_buf_add(buf, bytes, sizeof bytes);
}

static void add_string(struct moe_buf *buf, const void *text, size_t n)
{
	add_u64(buf, n);
	moe_buf_add(buf, text, n);
}

static bool find_type(const json_t *name, enum moe_gguf_type *type)
{
	for (int i = 0; json_is_string(name) && i < MOE_GGUF_N_TYPES; i++) {
		if (!strcmp(json_string_value(name), moe_gguf_types[i].name)) {
			*type = (enum moe_gguf_type)i;
			return true;
		}
	}
	return false;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The bytes of { "hex": ... }; false where the text is not that, or not of the type's length. */
static bool add_hex(struct moe_buf *buf, enum moe_gguf_type type, const json_t *hex)
{
	const char *text = json_string_value(hex);
	size_t n = json_string_length(hex);

	if (!text || n % 2 || type == MOE_GGUF_ARRAY)
		return false;
	if (type != MOE_GGUF_STRING && n / 2 != moe_gguf_types[type].n_bytes)
		return false;
	if (type == MOE_GGUF_STRING)
		add_u64(buf, n / 2);
	for (size_t i = 0; i < n; i += 2) {
		int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);

		if (high < 0 || low < 0)
			return false;
		moe_buf_addc(buf, (char)(high << 4 | low));
	}
	return true;
}

/* Least and greatest value of the integer types, as far as JSON's 64-bit integers go. */
static void integer_range(enum moe_gguf_type type, json_int_t *min, json_int_t *max)
{
	int n_bits = 8 * (int)moe_gguf_types[type].n_bytes;
	bool is_signed = type == MOE_GGUF_I8 || type == MOE_GGUF_I16 || type == MOE_GGUF_I32 || type == MOE_GGUF_I64;

	*max = n_bits == 64 ? INT64_MAX : ((json_int_t)1 << (is_signed ? n_bits - 1 : n_bits)) - 1;
	*min = is_signed ? -*max - 1 : 0;
}

/* A value that is no array, as its type is stored; false where it is not of that type or does not fit. */
static bool add_scalar(struct moe_buf *buf, enum moe_gguf_type type, const json_t *value)
{
	json_int_t min, max;
	uint64_t bits;
	double f64;

	switch (type) {
	case MOE_GGUF_STRING:
		if (!json_is_string(value))
			return false;
		add_string(buf, json_string_value(value), json_string_length(value));
		return true;
	case MOE_GGUF_BOOL:
		if (!json_is_boolean(value))
			return false;
		moe_buf_addc(buf, json_is_true(value));
		return true;
	case MOE_GGUF_F32:
		f64 = json_number_value(value);
		if (!json_is_number(value) || isinf((float)f64))
			return false;
		add_u32(buf, moe_f32_bits((float)f64));
		return true;
	case MOE_GGUF_F64:
		if (!json_is_number(value))
			return false;
		f64 = json_number_value(value);
		memcpy(&bits, &f64, sizeof bits);
		add_u64(buf, bits);
		return true;
	case MOE_GGUF_ARRAY:
	case MOE_GGUF_N_TYPES:
		return false;
	default:
		integer_range(type, &min, &max);
		if (!json_is_integer(value) || json_integer_value(value) < min || json_integer_value(value) > max)
			return false;
		for (size_t i = 0; i < moe_gguf_types[type].n_bytes; i++)
			moe_buf_addc(buf, (char)((uint64_t)json_integer_value(value) >> 8 * i));
		return true;
	}
}

static bool add_array(struct moe_buf *buf, const json_t *object, int depth)
{
	const json_t *array = json_object_get(object, "value"), *value;
	enum moe_gguf_type of, inner;
	size_t i;

	if (depth > MOE_GGUF_MAX_DEPTH || !json_is_array(array) || !find_type(json_object_get(object, "of"), &of))
		return false;
	add_u32(buf, of);
	add_u64(buf, json_array_size(array));
	json_array_foreach(array, i, value) {
		bool good;

		if (of == MOE_GGUF_ARRAY)
			good = find_type(json_object_get(value, "type"), &inner) && inner == MOE_GGUF_ARRAY &&
			       add_array(buf, value, depth + 1);
		else if (json_is_object(value))
			good = add_hex(buf, of, json_object_get(value, "hex"));
		else
			good = add_scalar(buf, of, value);
		if (!good)
			return false;
	}
	return true;
}

static bool add_value(struct moe_buf *buf, const json_t *object)
{
	const json_t *hex = json_object_get(object, "hex");
	enum moe_gguf_type type;

	if (!find_type(json_object_get(object, "type"), &type))
		return false;
	add_u32(buf, type);
	if (type == MOE_GGUF_ARRAY)
		return add_array(buf, object, 1);
	return hex ? add_hex(buf, type, hex) : add_scalar(buf, type, json_object_get(object, "value"));
}

static enum moe_status add_keys(const struct moe_ckpt_out *out, struct moe_buf *header, struct moe_err *err)
{
	const char *key;
	json_t *value;

	add_u64(header, json_object_size(out->metadata) + (size_t)out->n_companions);
	json_object_foreach(out->metadata, key, value) {
		size_t n = strlen(key);

		if (n == 0 || n > MOE_GGUF_MAX_KEY)
			return moe_err_set(err, MOE_EUSAGE, "%s: expected a key of 1 to %d bytes, found %zu", out->path,
			                   MOE_GGUF_MAX_KEY, n);
		add_string(header, key, n);
		if (!add_value(header, value))
			return moe_err_set(err, MOE_EUSAGE, "%s: key %s: its value is not of a type that GGUF has, or "
			                   "does not fit into it", out->path, key);
	}
	for (int32_t i = 0; i < out->n_companions; i++) {
		const struct moe_companion *companion = &out->companions[i];
		struct moe_buf name = { 0 };
		enum moe_status status;

		moe_buf_adds(&name, MOE_GGUF_FILE_PREFIX);
		moe_buf_adds(&name, companion->name);
		status = moe_buf_check(&name, err);
		if (!status && json_object_get(out->metadata, name.p))
			status = moe_err_set(err, MOE_EUSAGE, "%s: key %s is given twice, as a key and as a file",
			                     out->path, name.p);
		if (!status) {
			add_string(header, name.p, name.n);
			add_u32(header, MOE_GGUF_STRING);
			add_string(header, companion->data, companion->n_bytes);
		}
		moe_buf_free(&name);
		if (status)
			return status;
	}
	return MOE_OK;
}

static uint64_t padding(uint64_t at, uint64_t alignment) { return (alignment - at % alignment) % alignment; }

/* Infos with their offsets; *n_data: bytes of the data area, padding behind the last tensor included. */
static enum moe_status add_infos(const struct moe_ckpt_out *out, struct layout *layout, uint64_t *n_data,
                                 struct moe_err *err)
{
	uint64_t at = 0;

	for (size_t i = 0; i < out->n_tensors; i++) {
		const struct moe_declared *tensor = &out->tensors[i];

		add_string(&layout->header, tensor->name, strlen(tensor->name));
		add_u32(&layout->header, (uint32_t)tensor->n_dims);
		for (int32_t d = tensor->n_dims; d > 0; d--)
			add_u64(&layout->header, (uint64_t)tensor->dims[d - 1]);
		add_u32(&layout->header, (uint32_t)tensor->codec->gguf_id);
		add_u64(&layout->header, at);
		if (__builtin_add_overflow(at, tensor->n_bytes, &at) || at > INT64_MAX)
			return moe_err_set(err, MOE_EUSAGE, "%s: the tensors have more bytes than can be counted",
			                   out->path);
		at += padding(at, layout->alignment);
	}
	*n_data = at;
	return MOE_OK;
}

static enum moe_status plan(const struct moe_ckpt_out *out, void **result, uint64_t *total, struct moe_err *err)
{
	struct layout *layout = calloc(1, sizeof *layout);
	json_int_t alignment = MOE_GGUF_DEFAULT_ALIGNMENT;
	uint64_t n_data = 0;
	enum moe_status status;

	if (!layout)
		return moe_err_nomem(err, sizeof *layout, "a layout");
	*result = layout;
	if (json_object_get(out->metadata, "general.alignment") &&
	    !moe_gguf_key_integer(out->metadata, "general.alignment", &alignment))
		alignment = 0;
	if (alignment < 8 || alignment > MOE_GGUF_MAX_ALIGNMENT || alignment % 8)
		return moe_err_set(err, MOE_EUSAGE, "%s: expected general.alignment to be a multiple of 8 up to %u",
		                   out->path, MOE_GGUF_MAX_ALIGNMENT);
	layout->alignment = (uint64_t)alignment;
	moe_buf_adds(&layout->header, "GGUF");
	add_u32(&layout->header, MOE_GGUF_VERSION);
	add_u64(&layout->header, out->n_tensors);
	status = add_keys(out, &layout->header, err);
	if (!status)
		status = add_infos(out, layout, &n_data, err);
	while (!layout->header.failed && layout->header.n % layout->alignment)
		moe_buf_addc(&layout->header, 0);
	if (!status)
		status = moe_buf_check(&layout->header, err);
	*total = layout->header.n + n_data;
	return status;
}

static void place(const struct moe_ckpt_out *out, const void *arg_layout, size_t i, struct moe_format_place *place)
{
	const struct layout *layout = arg_layout;
	uint64_t at = 0;

	for (size_t k = 0; k < i; k++)
		at += out->tensors[k].n_bytes + padding(out->tensors[k].n_bytes, layout->alignment);
	*place = (struct moe_format_place){ .offset = layout->header.n + at, .header = &layout->header };
}

/* Opens the sink behind the tensors that are there already, *n_kept bytes of the file. */
static enum moe_status open_sink(struct moe_ckpt_out *out, uint64_t *n_kept, struct moe_err *err)
{
	struct moe_format_place last;

	if (!out->resume)
		return moe_out_open(&out->sink, out->path, out->flags | MOE_OUT_BINARY, out->watch, err);
	if (out->current > 0) {
		place(out, out->layout, out->current - 1, &last);
		*n_kept = last.offset + out->tensors[out->current - 1].n_bytes;
	}
	enum moe_status status = moe_out_open_partial(&out->sink, out->path, out->flags | MOE_OUT_RESUME, out->watch,
	                                              err);

	return status ? status : moe_out_cut(out->sink, *n_kept, err);
}

static enum moe_status begin(struct moe_ckpt_out *out, struct moe_err *err)
{
	const struct layout *layout = out->layout;
	uint64_t n_kept = 0;
	enum moe_status status = open_sink(out, &n_kept, err);

	if (!status)
		status = moe_out_room(out->sink, out->total - n_kept, err);
	return status || n_kept ? status : moe_format_put(out, layout->header.p, layout->header.n, err);
}

static enum moe_status pad(struct moe_ckpt_out *out, uint64_t n_bytes, struct moe_err *err)
{
	static const uint8_t zeros[256];
	const struct layout *layout = out->layout;
	uint64_t n = padding(n_bytes, layout->alignment);
	enum moe_status status = MOE_OK;

	while (n && !status) {
		size_t part = n < sizeof zeros ? (size_t)n : sizeof zeros;

		status = moe_format_put(out, zeros, part, err);
		n -= part;
	}
	return status;
}

static enum moe_status tensor(struct moe_ckpt_out *out, size_t i, struct moe_err *err)
{
	return i ? pad(out, out->tensors[i - 1].n_bytes, err) : MOE_OK;
}

static enum moe_status finish(struct moe_ckpt_out *out, struct moe_err *err)
{
	struct moe_out *sink;
	enum moe_status status = MOE_OK;

	if (out->n_tensors)
		status = pad(out, out->tensors[out->n_tensors - 1].n_bytes, err);
	if (!status)
		status = moe_format_flush(out, err);
	if (status)
		return status;
	sink = out->sink;
	out->sink = NULL;
	return moe_out_commit(sink, err);
}

static void files(const struct moe_ckpt_out *out, const void *layout, uint64_t total,
                  void (*fn)(void *arg, const char *name, uint64_t n_bytes), void *arg)
{
	(void)out, (void)layout;
	fn(arg, "", total);
}

const struct moe_format_writer moe_gguf_writer = {
	.check = check,
	.plan = plan,
	.place = place,
	.begin = begin,
	.tensor = tensor,
	.finish = finish,
	.free_layout = free_layout,
	.files = files,
};
