/* NumPy's .npy format, version 1 to 3 (numpy.lib.format). The header is the text of a Python dictionary with the keys
 * descr, fortran_order and shape; nothing else is understood. */
#include "trace/npy.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"

#define MAGIC "\x93NUMPY"
#define N_MAGIC 6

struct parser {
	const char *p, *end, *where;
	bool has_descr, has_order, has_shape, fortran;
	char descr[16];
	struct moe_array *out;
};

static void skip_blanks(struct parser *ps)
{
	while (ps->p < ps->end && (*ps->p == ' ' || *ps->p == '\n' || *ps->p == '\t'))
		ps->p++;
}

static bool take(struct parser *ps, char c)
{
	skip_blanks(ps);
	if (ps->p == ps->end || *ps->p != c)
		return false;
	ps->p++;
	return true;
}

static bool take_word(struct parser *ps, const char *word)
{
	const size_t n = strlen(word);
	skip_blanks(ps);
	if ((size_t)(ps->end - ps->p) < n || memcmp(ps->p, word, n) != 0)
		return false;
	ps->p += n;
	return true;
}

/* A string in quotes of either kind, without escapes, that fits. */
static bool take_string(struct parser *ps, char *buf, size_t cap)
{
	skip_blanks(ps);
	if (ps->p == ps->end || (*ps->p != '\'' && *ps->p != '"'))
		return false;
	const char quote = *ps->p++;
	size_t n = 0;
	while (ps->p < ps->end && *ps->p != quote && *ps->p != '\\' && *ps->p && n + 1 < cap)
		buf[n++] = *ps->p++;
	buf[n] = '\0';
	return take(ps, quote);
}

/* (3, 2), (3,), () */
static bool take_shape(struct parser *ps)
{
	struct moe_array *a = ps->out;
	if (!take(ps, '('))
		return false;
	while (!take(ps, ')')) {
		int64_t dim = 0;
		int n_digits = 0;
		skip_blanks(ps);
		for (; ps->p < ps->end && *ps->p >= '0' && *ps->p <= '9'; ps->p++, n_digits++)
			if (n_digits >= 18)
				return false;
			else
				dim = 10 * dim + (*ps->p - '0');
		if (n_digits == 0 || a->n_dims == MOE_MAX_DIMS)
			return false;
		take_word(ps, "L");   /* of Python 2 */
		a->dims[a->n_dims++] = dim;
		if (!take(ps, ',') && (ps->p == ps->end || *ps->p != ')'))
			return false;
	}
	return true;
}

static bool take_entry(struct parser *ps)
{
	char key[16];
	if (!take_string(ps, key, sizeof key) || !take(ps, ':'))
		return false;
	if (strcmp(key, "descr") == 0 && !ps->has_descr)
		return ps->has_descr = take_string(ps, ps->descr, sizeof ps->descr);
	if (strcmp(key, "shape") == 0 && !ps->has_shape)
		return ps->has_shape = take_shape(ps);
	if (strcmp(key, "fortran_order") != 0 || ps->has_order)
		return false;
	ps->has_order = true;
	ps->fortran = take_word(ps, "True");
	return ps->fortran || take_word(ps, "False");
}

static bool take_header(struct parser *ps)
{
	if (!take(ps, '{'))
		return false;
	while (!take(ps, '}'))
		if (!take_entry(ps) || (!take(ps, ',') && (ps->p == ps->end || *ps->p != '}')))
			return false;
	skip_blanks(ps);
	return ps->p == ps->end && ps->has_descr && ps->has_order && ps->has_shape;
}

/* "<i4" or, of single bytes, "|u1": a codec, or NULL. */
static const struct moe_codec *codec_of(const char *descr)
{
	static const struct {
		const char *descr, *codec;
	} types[] = {
		{ "i1", "i8" },  { "i2", "i16" }, { "i4", "i32" }, { "i8", "i64" }, { "u1", "u8" },  { "u2", "u16" },
		{ "u4", "u32" }, { "u8", "u64" }, { "f2", "f16" }, { "f4", "f32" }, { "f8", "f64" }, { "b1", "bool" },
	};
	const bool single = descr[0] && descr[1] && strcmp(descr + 2, "1") == 0;
	if (descr[0] != '<' && !(single && (descr[0] == '|' || descr[0] == '>')))
		return NULL;
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (strcmp(descr + 1, types[i].descr) == 0)
			return moe_codec_by_name(types[i].codec);
	return NULL;
}

enum moe_status moe_npy_parse(struct moe_array *out, const uint8_t *data, size_t n, const char *where,
                              struct moe_err *err)
{
	struct parser ps = { .where = where, .out = out };
	char shape[24 * MOE_MAX_DIMS];
	size_t n_start = N_MAGIC + 4, n_header = 0, n_bytes = 0;
	*out = (struct moe_array) { .name = "" };
	if (n < n_start || memcmp(data, MAGIC, N_MAGIC) != 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: expected the start of a .npy array, found something else",
		                   where);
	if (data[N_MAGIC] < 1 || data[N_MAGIC] > 3 || data[N_MAGIC + 1] != 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: version %d.%d of .npy; this program knows 1.0 to 3.0", where,
		                   data[N_MAGIC], data[N_MAGIC + 1]);
	if (data[N_MAGIC] > 1)
		n_start += 2;
	if (n >= n_start)
		n_header = data[N_MAGIC] > 1 ? moe_load_u32(data + N_MAGIC + 2) : moe_load_u16(data + N_MAGIC + 2);
	if (n < n_start || n_header > n - n_start)
		return moe_err_set(err, MOE_EFORMAT, "%s: cut short: expected a header of %zu bytes, found %zu", where,
		                   n_header, n < n_start ? 0 : n - n_start);
	ps.p = (const char *)data + n_start;
	ps.end = ps.p + n_header;
	if (!take_header(&ps))
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: expected a header of descr, fortran_order and shape, found '%.*s'", where,
		                   (int)(n_header < 100 ? n_header : 100), (const char *)data + n_start);
	out->codec = codec_of(ps.descr);
	if (!out->codec)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: expected little-endian integers or floats such as <i4, found %s", where,
		                   ps.descr);
	moe_dims_text(shape, out->dims, out->n_dims);
	if (!moe_dims_bytes(out->codec, out->dims, out->n_dims, &n_bytes) || n_bytes != n - n_start - n_header)
		return moe_err_set(err, MOE_EFORMAT, "%s: expected the bytes of %s %s, found %zu", where, ps.descr,
		                   shape, n - n_start - n_header);
	out->data = data + n_start + n_header;
	moe_array_pack(out, ps.fortran);
	return MOE_OK;
}

void moe_npy_header(uint8_t out[MOE_NPY_HEADER], const char *descr, const int64_t *dims, int32_t n_dims)
{
	char *const text = (char *)out + N_MAGIC + 4;
	const size_t cap = MOE_NPY_HEADER - N_MAGIC - 4;
	memset(out, ' ', MOE_NPY_HEADER);
	memcpy(out, MAGIC "\x01\x00", N_MAGIC + 2);
	moe_store_u16(out + N_MAGIC + 2, (uint16_t)cap);
	int n = snprintf(text, cap, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
	for (int32_t i = 0; i < n_dims; i++)
		n += snprintf(text + n, cap - (size_t)n, "%lld%s", (long long)dims[i],
		              i + 1 < n_dims ? ", " : n_dims == 1 ? "," : "");
	n += snprintf(text + n, cap - (size_t)n, "), }");
	text[n] = ' ';
	out[MOE_NPY_HEADER - 1] = '\n';
}
