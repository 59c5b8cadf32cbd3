/* Shapes and the table of storage types. */
#include "tensor/tensor.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "tensor/blocks.h"
#include "tensor/half.h"

#define X(name) extern const struct moe_codec moe_codec_##name;
#include "gen/tensor_codec.h"
#undef X

static const struct moe_codec *const codecs[] = {
#define X(name) &moe_codec_##name,
#include "gen/tensor_codec.h"
#undef X
};

#define N_CODECS (sizeof codecs / sizeof codecs[0])

/* The same types, compiled for more than the least of processors (ISAS in the Makefile): the same bits. */
#ifdef MOE_ISA_avx2
#define X(name) extern const struct moe_codec moe_codec_##name##_avx2;
#include "gen/tensor_codec.h"
#undef X

static const struct moe_codec *const codecs_avx2[N_CODECS] = {
#define X(name) &moe_codec_##name##_avx2,
#include "gen/tensor_codec.h"
#undef X
};
#endif

/* The table that this processor runs best; MOE_CPU=generic bars all others. One process sees one table, so that types
 * can be compared by address. */
static const struct moe_codec *const *best_codecs(void)
{
#ifdef MOE_ISA_avx2
	const char *limit = getenv("MOE_CPU");

	if (__builtin_cpu_supports("avx2") && !(limit && !strcmp(limit, "generic")))
		return codecs_avx2;
#endif
	return codecs;
}

const struct moe_codec *moe_codec_at(size_t i)
{
	return i < N_CODECS ? best_codecs()[i] : NULL;
}

const struct moe_codec *moe_codec_by_name(const char *name)
{
	for (size_t i = 0; i < N_CODECS; i++) {
		if (!strcmp(codecs[i]->name, name))
			return best_codecs()[i];
	}
	return NULL;
}

const struct moe_codec *moe_codec_by_safetensors(const char *dtype)
{
	for (size_t i = 0; i < N_CODECS; i++) {
		if (codecs[i]->safetensors && !strcmp(codecs[i]->safetensors, dtype))
			return best_codecs()[i];
	}
	return NULL;
}

const struct moe_codec *moe_codec_by_gguf(uint32_t id)
{
	for (size_t i = 0; i < N_CODECS; i++) {
		if (codecs[i]->gguf_id >= 0 && (uint32_t)codecs[i]->gguf_id == id)
			return best_codecs()[i];
	}
	return NULL;
}

bool moe_dims_elems(const int64_t *dims, int32_t n_dims, size_t *n_elems)
{
	size_t n = 1;

	for (int32_t i = 0; i < n_dims; i++) {
		if (dims[i] < 0 || !moe_mul_size(n, (size_t)dims[i], &n))
			return false;
	}
	*n_elems = n;
	return true;
}

bool moe_dims_bytes(const struct moe_codec *codec, const int64_t *dims, int32_t n_dims, size_t *n_bytes)
{
	size_t n, contiguous;

	if (!moe_dims_elems(dims, n_dims, &n))
		return false;
	contiguous = n_dims > 0 ? (size_t)dims[n_dims - 1] : 1;
	if (contiguous % codec->block_elems)
		return false;
	return moe_mul_size(n / codec->block_elems, codec->block_bytes, n_bytes);
}

char *moe_dims_text(char *buf, const int64_t *dims, int32_t n_dims)
{
	char *p = buf;

	*p++ = '[';
	for (int32_t i = 0; i < n_dims && i < MOE_MAX_DIMS; i++)
		p += sprintf(p, "%s%lld", i ? ", " : "", (long long)dims[i]);
	*p++ = ']';
	*p = 0;
	return buf;
}

struct moe_tensor moe_tensor_slice(const struct moe_tensor *tensor, int64_t i)
{
	struct moe_tensor slice = *tensor;

	assert(!tensor->parted);

	slice.n_dims = tensor->n_dims - 1;
	memmove(slice.dims, tensor->dims + 1, (size_t)slice.n_dims * sizeof slice.dims[0]);
	slice.dims[slice.n_dims] = 0;
	slice.n_bytes = tensor->n_bytes / (size_t)tensor->dims[0];
	slice.offset += (uint64_t)i * slice.n_bytes;
	if (slice.data)
		slice.data += (size_t)i * slice.n_bytes;
	return slice;
}

/* The part that holds element (*row, *col) of the window, which become its own; *n at most to the end of its row. */
static const struct moe_weight *part_at(const struct moe_weight *w, size_t *row, size_t *col, size_t *n)
{
	const struct moe_weight *part = w->parted->parts;
	size_t *at = w->parted->by_cols ? col : row;

	*row += (size_t)w->row0;
	*col += (size_t)w->col0;
	for (;; part++) {
		const size_t size = (size_t)(w->parted->by_cols ? part->cols : part->rows);

		if (*at < size)
			break;
		*at -= size;
	}
	if (*n > (size_t)part->cols - *col)
		*n = (size_t)part->cols - *col;
	return part;
}

static void decode_parted(const struct moe_weight *w, size_t at, size_t n_elems, float *out)
{
	enum { MOST = 256 };
	const size_t cols = (size_t)w->cols, block = w->codec->block_elems;
	float whole[MOST];

	assert(block <= MOST);
	for (size_t done = 0; done < n_elems;) {
		size_t row = (at + done) / cols, col = (at + done) % cols;
		size_t n = n_elems - done < cols - col ? n_elems - done : cols - col;
		const struct moe_weight *part = part_at(w, &row, &col, &n);
		const size_t from = row * (size_t)part->cols + col, over = from % block;

		if (over == 0 && n >= block) {
			n = n / block * block;
			moe_weight_decode(part, from, n, out + done);
		} else {
			/* the window begins or ends inside a block */
			n = n < block - over ? n : block - over;
			moe_weight_decode(part, from - over, block, whole);
			memcpy(out + done, whole + over, n * sizeof *out);
		}
		done += n;
	}
}

void moe_weight_copy(const struct moe_weight *w, size_t row, size_t col, size_t n, uint8_t *out)
{
	const size_t size = w->codec->block_bytes;

	assert(w->codec->block_elems == 1 && !w->in_stride && w->row_step <= 1);
	if (!w->parted) {
		memcpy(out, w->data + (row * (size_t)w->cols + col) * size, n * size);
		return;
	}
	for (size_t done = 0; done < n;) {
		size_t r = row, c = col + done, m = n - done;
		const struct moe_weight *part = part_at(w, &r, &c, &m);

		moe_weight_copy(part, r, c, m, out + done * size);
		done += m;
	}
}

float moe_weight_scale(const struct moe_weight *w, size_t row, size_t col)
{
	if (w->parted) {
		size_t n = 1;
		const struct moe_weight *part = part_at(w, &row, &col, &n);

		return moe_weight_scale(part, row, col);
	}

	const size_t per_row = ((size_t)w->cols + MOE_SCALE_BLOCK - 1) / MOE_SCALE_BLOCK;
	const size_t r = ((size_t)w->scale_row + row) / MOE_SCALE_BLOCK, c = col / MOE_SCALE_BLOCK;

	return w->e8m0 ? moe_e8m0_value(w->scales[r * per_row + c])
	               : moe_f32_from_bits(moe_load_u32(w->scales + (r * per_row + c) * sizeof(float)));
}

/* Rows [row, row + n) of a weight with an in_stride: they lie side by side in the place of each column. */
static void decode_turned(const struct moe_weight *w, size_t row, size_t n, float *out)
{
	enum { SIDE = 64 };
	const size_t cols = (size_t)w->cols, size = w->codec->block_bytes;
	const size_t step = w->row_step > 1 ? (size_t)w->row_step : 1, fit = SIDE / step;
	float side[SIDE];

	assert(fit > 0);
	for (size_t first = 0; first < n; first += fit) {
		const size_t m = n - first < fit ? n - first : fit;
		const uint8_t *from = w->data + (row + first) * step * size;

		for (size_t c = 0; c < cols; c++, from += (size_t)w->in_stride * size) {
			w->codec->decode(from, side, (m - 1) * step + 1);
			for (size_t r = 0; r < m; r++)
				out[(first + r) * cols + c] = side[r * step];
		}
	}
}

/* The numbers out [n_elems] of whole blocks times their powers of two; 2^128 and beyond overflow as products do. */
static void apply_exponents(const struct moe_weight *w, size_t at, size_t n_elems, float *out)
{
	const size_t block = w->codec->block_elems;

	for (size_t i = 0; i < n_elems; i += block) {
		const double scale = ldexp(1, w->scales[(at + i) / block] - 127);

		for (size_t j = i; j < i + block; j++)
			out[j] = (float)(out[j] * scale);
	}
}

static void apply_scales(const struct moe_weight *w, size_t at, size_t n_elems, float *out)
{
	const size_t cols = (size_t)w->cols;

	for (size_t done = 0; done < n_elems;) {
		const size_t row = (at + done) / cols, col = (at + done) % cols;
		const size_t in_block = MOE_SCALE_BLOCK - col % MOE_SCALE_BLOCK;
		const size_t in_row = cols - col < in_block ? cols - col : in_block;
		const size_t n = n_elems - done < in_row ? n_elems - done : in_row;
		const float scale = moe_weight_scale(w, row, col);

		for (size_t i = 0; i < n; i++)
			out[done + i] *= scale;
		done += n;
	}
}

/* Rows [row, row + n) of a weight with a row_step, one by one. */
static void decode_apart(const struct moe_weight *w, size_t row, size_t n, float *out)
{
	const size_t cols = (size_t)w->cols, blocks = cols / w->codec->block_elems, step = (size_t)w->row_step;
	struct moe_weight one = *w;

	one.rows = 1;
	one.row_step = 0;
	for (size_t r = 0; r < n; r++) {
		one.data = w->data + (row + r) * step * blocks * w->codec->block_bytes;
		one.scales = w->scales ? w->scales + (row + r) * step * blocks : NULL;
		moe_weight_decode(&one, 0, cols, out + r * cols);
	}
}

void moe_weight_decode(const struct moe_weight *w, size_t at, size_t n_elems, float *out)
{
	const size_t cols = (size_t)w->cols;

	if (w->parted) {
		decode_parted(w, at, n_elems, out);
		return;
	}
	assert(at % w->codec->block_elems == 0 && n_elems % w->codec->block_elems == 0);
	assert(!w->scales || w->codec->block_exponents || w->row_step <= 1);
	if (w->in_stride || w->row_step > 1) {
		assert(at % cols == 0 && n_elems % cols == 0);
		(w->in_stride ? decode_turned : decode_apart)(w, at / cols, n_elems / cols, out);
		return;
	}
	w->codec->decode(w->data + at / w->codec->block_elems * w->codec->block_bytes, out, n_elems);
	if (w->scales)
		(w->codec->block_exponents ? apply_exponents : apply_scales)(w, at, n_elems, out);
}
