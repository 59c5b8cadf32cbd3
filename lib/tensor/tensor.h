/* A named array of stored numbers, and the storage types they come in. */
#ifndef MOE_TENSOR_TENSOR_H
#define MOE_TENSOR_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MOE_MAX_DIMS 8

/* A storage type: numbers come in blocks of block_elems that take block_bytes. Members: tensor/codec/. */
struct moe_codec {
	const char *name;         /* "bf16", "q8_0": what --type and tables say */
	const char *safetensors;  /* "BF16"; NULL: never in safetensors */
	int32_t gguf_id;          /* ggml type number; -1: never in GGUF */
	uint32_t block_elems;     /* along the contiguous dimension */
	uint32_t block_bytes;
	bool is_float;            /* values are real numbers (not ids or masks) */
	bool scaled;              /* values also need a scale tensor beside it (f8_e4m3 with 128x128 blocks) */
	bool block_exponents;     /* which holds the biased exponent of a power of two (E8M0) for each block */
	const char *joined;       /* the type of GGUF that holds the same blocks, exponents inside; NULL: none */
	float largest;            /* the largest number of a scaled type that is written with scales; 0: it is not */
	const char *help;
	const char *fallback;     /* the type of smaller blocks for rows that are not whole ones of this; NULL: bf16 */
	/* n elements, a multiple of block_elems, src packed without gaps. */
	void (*decode)(const uint8_t *src, float *dst, size_t n_elems);
	/* NULL where this type cannot be written. */
	void (*encode)(const float *src, uint8_t *dst, size_t n_elems);
	/* The same where numbers matter by weights [n_elems], above 0 and finite: the sum of weight times squared error
	 * is made small. weights NULL: as encode. NULL where this type has no choice to make. */
	void (*encode_weighted)(const float *src, const float *weights, uint8_t *dst, size_t n_elems);
};

const struct moe_codec *moe_codec_at(size_t i);                       /* by name order; NULL past the end */
const struct moe_codec *moe_codec_by_name(const char *name);          /* or NULL */
const struct moe_codec *moe_codec_by_safetensors(const char *dtype);  /* or NULL */
const struct moe_codec *moe_codec_by_gguf(uint32_t id);               /* or NULL */

/* A view: it owns nothing, and its bytes live as long as the mapping they came from.
 * dims[0] is the outermost dimension, dims[n_dims-1] the contiguous one (a linear layer is [out, in]). */
struct moe_tensor {
	const char *name;
	const struct moe_codec *codec;
	int32_t n_dims;
	int64_t dims[MOE_MAX_DIMS];
	const uint8_t *data;   /* [n_bytes]; NULL where only the header is known */
	size_t n_bytes;
	int32_t file;          /* index of the file it lies in */
	uint64_t offset;       /* of its first byte in that file */
	/* Not NULL: it lies in parts, data is NULL and file and offset are those of the first. Of a matrix they are as
	 * struct moe_parted has them, of a stack there is one for each index of the outermost dimension. */
	const struct moe_parted *parted;
};

/* Width and height of the blocks that share a scale, whatever is left of them at the edges of a matrix. */
#define MOE_SCALE_BLOCK 128

/* A matrix [rows, cols] as stored, or nothing (data NULL). Where there are scales, element (r, c) is the stored number
 * times scales[(scale_row + r) / MOE_SCALE_BLOCK][c / MOE_SCALE_BLOCK]: little-endian f32 of any alignment, or (e8m0)
 * powers of two in a byte each, in rows of ceil(cols / MOE_SCALE_BLOCK). Where the codec has block_exponents, scales
 * holds one byte for each block instead. */
struct moe_weight {
	const struct moe_codec *codec;
	const uint8_t *data;
	int64_t rows, cols;
	const uint8_t *scales;    /* NULL: none */
	int64_t scale_row;        /* where row 0 lies in the matrix that was scaled */
	bool e8m0;                /* scales are not f32 but E8M0 */
	/* 0: row by row. Else stored [cols][in_stride] with the rows along the contiguous dimension, in elements
	 * without blocks or scales: element (r, c) lies c * in_stride + r elements behind data. */
	int64_t in_stride;
	/* From one row to the next in what is stored, in rows: 0 and 1 are the same, 2 where two matrices
	 * alternate. With
	 * it element (r, c) above is (r row_step, c); not together with f32 scales. */
	int64_t row_step;
	/* Not NULL: a window of a matrix that lies in parts; element (r, c) is its element (row0 + r, col0 + c), and
	 * data and scales are NULL. */
	const struct moe_parted *parted;
	int64_t row0, col0;
};

/* A matrix in parts: one below the other, or side by side. They are of one codec, lie row by row and have scales of
 * their own. */
struct moe_parted {
	int32_t n;
	bool by_cols;
	const struct moe_weight *parts;   /* [n] */
};

/* The stored numbers of columns [col, col + n) of a row, of a codec without blocks. */
void moe_weight_copy(const struct moe_weight *w, size_t row, size_t col, size_t n, uint8_t *out);

/* The scale of the block that element (row, col) of w lies in. */
float moe_weight_scale(const struct moe_weight *w, size_t row, size_t col);

/* Elements [at, at + n_elems) of w, row after row, as f32; both are whole blocks of its codec, and whole rows of a
 * weight with an in_stride or a row_step. */
void moe_weight_decode(const struct moe_weight *w, size_t at, size_t n_elems, float *out);

/* Product of the dims (1 for a scalar); false where it does not fit or a dim is negative. */
bool moe_dims_elems(const int64_t *dims, int32_t n_dims, size_t *n_elems);

/* Bytes of a tensor of these dims: the contiguous dimension must be a whole number of blocks. */
bool moe_dims_bytes(const struct moe_codec *codec, const int64_t *dims, int32_t n_dims, size_t *n_bytes);

/* "[4096, 128]" into buf, which holds at least 24 * MOE_MAX_DIMS bytes; returns buf. */
char *moe_dims_text(char *buf, const int64_t *dims, int32_t n_dims);

/* The sub-tensor at index i of the outermost dimension: one expert of a stack. */
struct moe_tensor moe_tensor_slice(const struct moe_tensor *tensor, int64_t i);

#ifdef __cplusplus
}
#endif
#endif
