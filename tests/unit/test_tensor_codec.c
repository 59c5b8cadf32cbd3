/* Storage types against numbers made by other programs (tests/golden/codec), against each other, and shapes. */
#include "../tap.h"
#include "base/bytes.h"
#include "checkpoint/checkpoint.h"
#include "tensor/blocks.h"
#include "tensor/tensor.h"

static struct moe_ckpt *open_golden(const char *name)
{
	struct moe_err err = { 0 };
	struct moe_ckpt *ckpt = NULL;
	char path[128];

	snprintf(path, sizeof path, "tests/golden/codec/%s.safetensors", name);
	if (!ok(moe_ckpt_open(&ckpt, path, NULL, &err) == MOE_OK, "%s opens", path)) {
		printf("# %s\n", err.text);
		exit(done());
	}
	return ckpt;
}

static const struct moe_tensor *need(const struct moe_ckpt *ckpt, const char *name)
{
	const struct moe_tensor *tensor = moe_ckpt_find(ckpt, name);

	if (!tensor) {
		ok(false, "tensor %s is there", name);
		exit(done());
	}
	return tensor;
}

static size_t elems(const struct moe_tensor *tensor)
{
	size_t n = 0;

	moe_dims_elems(tensor->dims, tensor->n_dims, &n);
	return n;
}

/* Positions where bits differ; two NaNs are the same. */
static int64_t count_different(const float *got, const uint8_t *wanted, size_t n)
{
	int64_t n_different = 0;

	for (size_t i = 0; i < n; i++) {
		uint32_t want = moe_load_u32(wanted + 4 * i);
		bool both_nan = isnan(got[i]) && isnan(moe_f32_from_bits(want));

		n_different += !both_nan && moe_f32_bits(got[i]) != want;
	}
	return n_different;
}

/* Codes of the tensor `from` decode to the numbers in `to`. */
static void check_decode(const struct moe_ckpt *ckpt, const char *codec_name, const char *from, const char *to)
{
	const struct moe_codec *codec = moe_codec_by_name(codec_name);
	const struct moe_tensor *codes = need(ckpt, from), *values = need(ckpt, to);
	size_t n = elems(values);
	float *got = malloc(n * sizeof *got);

	is_i64((int64_t)codes->n_bytes, (int64_t)(n / codec->block_elems * codec->block_bytes),
	       "%s: as many codes as values", codec_name);
	codec->decode(codes->data, got, n);
	is_i64(count_different(got, values->data, n), 0, "%s: %zu numbers decode exactly", codec_name, n);
	free(got);
}

/* Numbers of `from` encode to the codes of `to`; where the input is NaN, so must be the code's value. */
static void check_encode(const struct moe_ckpt *ckpt, const char *codec_name, const char *from, const char *to)
{
	const struct moe_codec *codec = moe_codec_by_name(codec_name);
	const struct moe_tensor *values = need(ckpt, from), *codes = need(ckpt, to);
	size_t n = elems(values), n_bytes = n / codec->block_elems * codec->block_bytes;
	float *in = malloc(n * sizeof *in), *back = malloc(n * sizeof *back);
	uint8_t *got = malloc(n_bytes);
	int64_t n_different = 0;

	is_i64((int64_t)codes->n_bytes, (int64_t)n_bytes, "%s: as many values as codes", codec_name);
	moe_codec_by_name("f32")->decode(values->data, in, n);
	codec->encode(in, got, n);
	codec->decode(got, back, n);
	for (size_t b = 0; b < n_bytes; b += codec->block_bytes) {
		size_t i = b / codec->block_bytes * codec->block_elems;
		bool both_nan = codec->block_elems == 1 && isnan(in[i]) && isnan(back[i]);

		n_different += !both_nan && memcmp(got + b, codes->data + b, codec->block_bytes) != 0;
	}
	is_i64(n_different, 0, "%s: %zu numbers encode exactly", codec_name, n);
	free(in);
	free(back);
	free(got);
}

static void test_golden(void)
{
	struct moe_ckpt *ckpt = open_golden("bf16");

	check_decode(ckpt, "bf16", "bf16_bits", "back_bits");
	check_encode(ckpt, "bf16", "f32_bits", "bf16_bits");
	moe_ckpt_close(ckpt);
	ckpt = open_golden("f16_decode");
	check_decode(ckpt, "f16", "f16_bits", "f32_bits");
	moe_ckpt_close(ckpt);
	ckpt = open_golden("f16");
	check_encode(ckpt, "f16", "f32_bits", "f16_bits");
	moe_ckpt_close(ckpt);
	ckpt = open_golden("e4m3");
	check_encode(ckpt, "f8_e4m3", "encode_in", "encode_saturating");
	moe_ckpt_close(ckpt);
	static const char *const both[] = {"q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "mxfp4"};
	static const char *const decoded[] = {"q2_k", "q3_k", "q4_k", "q5_k", "q6_k"};
	char name[32];

	for (size_t i = 0; i < sizeof both / sizeof *both; i++) {
		snprintf(name, sizeof name, "ggml_%s", both[i]);
		ckpt = open_golden(name);
		check_decode(ckpt, both[i], "blocks", "dequantised");
		check_decode(ckpt, both[i], "quantised", "round_trip");
		check_encode(ckpt, both[i], "input", "quantised");
		moe_ckpt_close(ckpt);
	}
	for (size_t i = 0; i < sizeof decoded / sizeof *decoded; i++) {
		snprintf(name, sizeof name, "ggml_%s", decoded[i]);
		ckpt = open_golden(name);
		check_decode(ckpt, decoded[i], "blocks", "dequantised");
		moe_ckpt_close(ckpt);
	}
}

static void test_e4m3_values(void)
{
	struct moe_ckpt *ckpt = open_golden("e4m3");
	const struct moe_tensor *values = need(ckpt, "values");
	uint8_t codes[256];
	float got[256];

	for (int i = 0; i < 256; i++)
		codes[i] = (uint8_t)i;
	moe_codec_by_name("f8_e4m3")->decode(codes, got, 256);
	is_i64(count_different(got, values->data, 256), 0, "f8_e4m3: all codes decode exactly");
	moe_ckpt_close(ckpt);
}

/* Every code of a type comes back from its own value. */
static void test_round_trip(const char *name, uint32_t n_codes)
{
	const struct moe_codec *codec = moe_codec_by_name(name);
	uint8_t *codes = malloc((size_t)n_codes * codec->block_bytes);
	uint8_t *back = malloc((size_t)n_codes * codec->block_bytes);
	float *values = malloc(n_codes * sizeof *values);
	int64_t n_different = 0;

	for (uint32_t i = 0; i < n_codes; i++) {
		for (uint32_t k = 0; k < codec->block_bytes; k++)
			codes[i * codec->block_bytes + k] = (uint8_t)(i >> 8 * k);
	}
	codec->decode(codes, values, n_codes);
	codec->encode(values, back, n_codes);
	for (uint32_t i = 0; i < n_codes; i++) {
		if (memcmp(codes + i * codec->block_bytes, back + i * codec->block_bytes, codec->block_bytes)) {
			float again;

			codec->decode(back + i * codec->block_bytes, &again, 1);
			n_different += !(isnan(values[i]) && isnan(again));
		}
	}
	is_i64(n_different, 0, "%s: all %u codes come back", name, n_codes);
	free(codes);
	free(back);
	free(values);
}

static void check_one(const char *name, const uint8_t *bytes, float wanted)
{
	float got = -1;

	moe_codec_by_name(name)->decode(bytes, &got, 1);
	is_close((double)got, (double)wanted, 0, "%s decodes %g", name, (double)wanted);
}

static void test_copied_types(void)
{
	uint8_t ff[8], b[8];

	memset(ff, 0xff, sizeof ff);
	check_one("i8", ff, -1);
	check_one("i16", ff, -1);
	check_one("i32", ff, -1);
	check_one("i64", ff, -1);
	check_one("u8", ff, 255);
	check_one("u16", ff, 65535);
	check_one("u32", ff, 4294967296.0f);
	check_one("u64", ff, 18446744073709551616.0f);
	check_one("bool", ff, 1);
	moe_store_u64(b, 0x3ff0000010000000);   /* 1 + 2^-24: a tie, to even */
	check_one("f64", b, 1.0f);
	moe_store_u64(b, 0x3ff0000030000000);   /* 1 + 3 * 2^-24 */
	check_one("f64", b, 1.0f + 0x1p-22f);
	b[0] = 0x3c;
	check_one("f8_e5m2", b, 1);
	b[0] = 0x01;
	check_one("f8_e5m2", b, 0x1p-16f);
	b[0] = 0xfc;
	check_one("f8_e5m2", b, -INFINITY);
}

static void test_q8_0_edges(void)
{
	const struct moe_codec *codec = moe_codec_by_name("q8_0");
	float in[32] = { 0 }, out[32];
	uint8_t block[34];

	in[3] = NAN;
	in[4] = 1;
	codec->encode(in, block, 32);
	codec->decode(block, out, 32);
	ok(isnan(out[0]) && isnan(out[4]), "q8_0: a NaN makes its block NaN");
	in[3] = 1e-42f;
	in[4] = -1e-42f;
	codec->encode(in, block, 32);
	codec->decode(block, out, 32);
	ok(out[3] == 0 && out[4] == 0 && out[0] == 0, "q8_0: what is below the scales becomes 0");
	ok(block[2 + 3] == 127 && block[2 + 4] == 0x81, "q8_0: codes stay within -127..127");
}

/* Codes and exponents apart, as one weight; and its odd rows alone, as where two matrices alternate. */
static void test_mxfp4_split(void)
{
	struct moe_ckpt *ckpt = open_golden("mxfp4_hf");
	const struct moe_tensor *blocks = need(ckpt, "blocks"), *values = need(ckpt, "dequantised");
	const struct moe_codec *codec = moe_codec_by_name("mxfp4_split");
	struct moe_weight w = { .codec = codec, .data = blocks->data, .rows = 64, .cols = 32,
	                        .scales = need(ckpt, "scales")->data };
	float got[64 * 32];

	is_i64((int64_t)elems(values), 64 * 32, "mxfp4_split: as many codes as values");
	moe_weight_decode(&w, 0, 64 * 32, got);
	is_i64(count_different(got, values->data, 64 * 32), 0, "mxfp4_split: numbers decode exactly");
	w.data += codec->block_bytes;
	w.scales++;
	w.rows = 32;
	w.row_step = 2;
	moe_weight_decode(&w, 4 * 32, 28 * 32, got);
	int64_t n_different = 0;
	for (size_t r = 0; r < 28; r++)
		n_different += count_different(got + r * 32, values->data + 4 * 32 * (2 * (4 + r) + 1), 32);
	is_i64(n_different, 0, "mxfp4_split: so do alternate rows");
	moe_ckpt_close(ckpt);
}

/* FP8 in blocks, ragged on both sides: codes and scales as the published quantisation gives them. */
static void test_blocks(const char *golden, bool powers)
{
	enum { ROWS = 150, COLS = 131, N = ROWS * COLS };
	struct moe_ckpt *ckpt = open_golden(golden);
	const struct moe_codec *f8 = moe_codec_by_name("f8_e4m3"), *f32 = moe_codec_by_name("f32");
	const struct moe_tensor *codes = need(ckpt, "codes"), *scales = need(ckpt, "scale_inv");
	static float values[N], back[N];
	static uint8_t got[N];
	float got_scales[4];
	struct moe_weight w = { .codec = f8, .data = got, .rows = ROWS, .cols = COLS, .scales = scales->data };

	is_i64((int64_t)moe_blocks_of(ROWS) * (int64_t)moe_blocks_of(COLS), 4, "blocks: two by two");
	f32->decode(need(ckpt, "weight")->data, values, N);
	moe_blocks_encode(f8, values, ROWS, COLS, powers, got, got_scales);
	ok(codes->n_bytes == N && !memcmp(got, codes->data, N), "blocks: every code");
	is_i64(count_different(got_scales, scales->data, 4), 0, "blocks: every scale");
	moe_weight_decode(&w, 0, N, back);
	is_i64(count_different(back, need(ckpt, "dequantised")->data, N), 0, "blocks: and the values they stand for");
	for (int i = 0; i < N; i++)
		values[i] = i / COLS < 128 ? 0 : i == N - 1 ? NAN : 1;
	moe_blocks_encode(f8, values, ROWS, COLS, false, got, got_scales);
	ok(got_scales[0] == 1 && got[0] == 0, "blocks: zeros have scale 1");
	ok(isnan(got_scales[3]) && (got[N - 2] & 0x7f) == 0x7f, "blocks: a NaN makes its block NaN");
	is_close(got_scales[2], 1 / 448.0f, 0, "blocks: and no other");
	moe_blocks_encode(f8, values, ROWS, COLS, true, got, got_scales);
	ok(got_scales[0] == 1 && isnan(got_scales[3]), "blocks: also with powers of two");
	moe_ckpt_close(ckpt);
}

/* Powers of two in a byte: every value, the rounding up, and weights scaled by them. */
static void test_e8m0(void)
{
	struct moe_ckpt *ckpt = open_golden("e8m0");
	const struct moe_codec *e8m0 = moe_codec_by_name("f8_e8m0"), *f32 = moe_codec_by_name("f32");
	const struct moe_tensor *amax = need(ckpt, "amax"), *codes = need(ckpt, "ceil_code");
	const size_t n = codes->n_bytes;
	float got[512], scale[4];
	uint8_t all[256], wrong = 0;

	for (int i = 0; i < 256; i++)
		all[i] = (uint8_t)i;
	e8m0->decode(all, got, 256);
	is_i64(count_different(got, need(ckpt, "values")->data, 256), 0, "e8m0: every value");
	for (int i = 0; i < 255; i++)
		wrong |= moe_e8m0_ceil(got[i]) != i || !moe_e8m0_holds(got[i]);
	ok(!wrong && isnan(moe_e8m0_value(moe_e8m0_ceil(NAN))), "e8m0: every value is its own code");
	f32->decode(amax->data, got, n);
	for (size_t i = 0; i < n; i++)
		wrong |= moe_e8m0_ceil(got[i] / 448) != codes->data[i];
	ok(!wrong && n == 307, "e8m0: the power of two at or above");
	ok(!moe_e8m0_holds(0) && !moe_e8m0_holds(3) && !moe_e8m0_holds(-2) && !moe_e8m0_holds(INFINITY) &&
	   !moe_e8m0_holds(0x1p-128f), "e8m0: what is no such power");

	const uint8_t ones[2 * 129] = {[0] = 0x38, [127] = 0x38, [128] = 0x38, [129 + 128] = 0x38}, exps[] = {126, 130};
	const struct moe_weight w = { .codec = moe_codec_by_name("f8_e4m3"), .data = ones, .rows = 2, .cols = 129,
	                              .scales = exps, .e8m0 = true };
	moe_weight_decode(&w, 0, 2 * 129, got);
	scale[0] = got[0], scale[1] = got[127], scale[2] = got[128], scale[3] = got[257];
	ok(scale[0] == 0.5f && scale[1] == 0.5f && scale[2] == 8 && scale[3] == 8, "e8m0: scales of blocks");
	moe_ckpt_close(ckpt);
}

/* The two containers hold the same numbers, but for the sign of zeros, which GGUF's reader does not keep. */
static void test_mxfp4_repacked(void)
{
	struct moe_ckpt *ckpt = open_golden("mxfp4_hf");
	const struct moe_tensor *blocks = need(ckpt, "gguf_blocks"), *values = need(ckpt, "dequantised");
	float got[64 * 32], want[64 * 32];
	int64_t n_different = 0;

	is_i64((int64_t)blocks->n_bytes, 64 * 17, "mxfp4: as many blocks as exponents");
	moe_codec_by_name("mxfp4")->decode(blocks->data, got, 64 * 32);
	moe_codec_by_name("f32")->decode(values->data, want, 64 * 32);
	for (size_t i = 0; i < 64 * 32; i++)
		n_different += got[i] != want[i];
	is_i64(n_different, 0, "mxfp4: the repacked blocks hold the same numbers");
	moe_ckpt_close(ckpt);
}

/* Numbers like weights: a sum of uniform ones, with a scale that changes from row to row. */
static void fill_weights(float *x, size_t n, uint64_t seed)
{
	uint64_t state = seed;

	for (size_t i = 0; i < n; i++) {
		float sum = 0;

		for (int t = 0; t < 6; t++) {
			state = state * 6364136223846793005u + 1442695040888963407u;
			sum += (float)(int32_t)(state >> 32) * 0x1p-31f;
		}
		x[i] = sum * (0.01f + 0.03f * (float)(i / 256 % 5));
	}
}

/* Relative rms error of a type on numbers like weights, as the search reaches it. ggml's quantisers without an
 * importance matrix reach 0.2886 (q2_k), 0.1476, 0.0695, 0.0354, 0.0172 (q6_k) and 0.0776 (iq4_nl) on the same
 * numbers. */
static void check_quality(const char *name, double limit)
{
	enum { N = 256 * 64 };
	const struct moe_codec *codec = moe_codec_by_name(name);
	float *x = malloc(N * sizeof *x), *back = malloc(N * sizeof *back);
	uint8_t *stored = malloc(N / codec->block_elems * codec->block_bytes);
	double error = 0, size = 0;

	fill_weights(x, N, 5);
	codec->encode(x, stored, N);
	codec->decode(stored, back, N);
	for (size_t i = 0; i < N; i++) {
		error += (double)(back[i] - x[i]) * (double)(back[i] - x[i]);
		size += (double)x[i] * (double)x[i];
	}
	ok(sqrt(error / size) <= limit, "%s: rms error %.5f of the numbers, at most %.5f", name, sqrt(error / size),
	   limit);
	free(x);
	free(back);
	free(stored);
}

/* Blocks that have no error to make, and blocks that cannot be encoded. */
static void test_block_edges(void)
{
	static const char *const names[] = {"q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "q4_0",
	                                    "q4_1", "q5_0", "q5_1", "mxfp4"};

	for (size_t c = 0; c < sizeof names / sizeof *names; c++) {
		const struct moe_codec *codec = moe_codec_by_name(names[c]);
		const size_t n = codec->block_elems;
		float x[256] = {0}, out[256];
		uint8_t block[256];
		bool zero = true, nan = true, close = true;

		codec->encode(x, block, n);
		codec->decode(block, out, n);
		for (size_t i = 0; i < n; i++)
			zero &= out[i] == 0;
		ok(zero, "%s: zeros stay zeros", names[c]);
		x[n - 1] = NAN;
		codec->encode(x, block, n);
		codec->decode(block, out, n);
		for (size_t i = 0; i < n; i++)
			nan &= isnan(out[i]);
		ok(nan, "%s: a NaN makes its block NaN", names[c]);
		for (size_t i = 0; i < n; i++)
			x[i] = 0.5f;
		codec->encode(x, block, n);
		codec->decode(block, out, n);
		for (size_t i = 0; i < n; i++)
			close &= fabsf(out[i] - 0.5f) < 0.02f;
		ok(close, "%s: equal numbers stay nearly equal", names[c]);
		for (size_t i = 0; i < n; i++)
			x[i] = i % 3 ? -1e-6f * (float)(i % 7) : -2e-6f;
		codec->encode(x, block, n);
		codec->decode(block, out, n);
		close = true;
		for (size_t i = 0; i < n; i++)
			close &= isfinite(out[i]) && fabsf(out[i] - x[i]) < 8e-6f;
		ok(close, "%s: tiny negative numbers stay near", names[c]);
	}
}

static void test_table(void)
{
	const struct moe_codec *codec;
	size_t n = 0;

	for (; (codec = moe_codec_at(n)); n++) {
		if (n > 0)
			ok(strcmp(moe_codec_at(n - 1)->name, codec->name) < 0, "%s stands in order", codec->name);
		ok(codec->decode && codec->help && codec->block_elems && codec->block_bytes, "%s is complete",
		   codec->name);
		ok(moe_codec_by_name(codec->name) == codec, "%s is found by name", codec->name);
		if (codec->safetensors)
			ok(moe_codec_by_safetensors(codec->safetensors) == codec, "%s is found by dtype", codec->name);
		if (codec->gguf_id >= 0)
			ok(moe_codec_by_gguf((uint32_t)codec->gguf_id) == codec, "%s is found by id", codec->name);
	}
	ok(n >= 16, "there are types");
	ok(!moe_codec_by_name("bf17") && !moe_codec_by_safetensors("bf16") && !moe_codec_by_gguf(UINT32_MAX),
	   "unknown types are not found");
}

static void test_shapes(void)
{
	const struct moe_codec *bf16 = moe_codec_by_name("bf16"), *q8_0 = moe_codec_by_name("q8_0");
	int64_t dims[] = { 4, 3, 64 }, huge[] = { INT64_MAX, 3 }, negative[] = { 4, -1 }, odd[] = { 32, 33 };
	int64_t wide[MOE_MAX_DIMS];
	char text[24 * MOE_MAX_DIMS];
	uint8_t bytes[4 * 3 * 128];
	struct moe_tensor tensor = { .codec = bf16, .n_dims = 3, .dims = { 4, 3, 64 }, .data = bytes,
	                             .n_bytes = sizeof bytes, .offset = 100 }, slice;
	size_t n;

	ok(moe_dims_elems(dims, 3, &n) && n == 768, "elements are the product");
	ok(moe_dims_elems(dims, 0, &n) && n == 1, "a scalar has one");
	ok(moe_dims_bytes(bf16, dims, 3, &n) && n == 1536, "bytes of bf16");
	ok(moe_dims_bytes(q8_0, dims, 3, &n) && n == 816, "bytes of q8_0");
	ok(!moe_dims_bytes(q8_0, odd, 2, &n), "33 numbers in a row are no whole blocks");
	ok(!moe_dims_bytes(q8_0, dims, 0, &n), "a scalar is no whole block");
	ok(!moe_dims_elems(huge, 2, &n), "too many elements");
	ok(!moe_dims_bytes(moe_codec_by_name("f64"), huge, 1, &n), "too many bytes");
	ok(!moe_dims_elems(negative, 2, &n), "a negative dimension");
	is_str(moe_dims_text(text, dims, 3), "[4, 3, 64]", "shape as text");
	is_str(moe_dims_text(text, dims, 0), "[]", "shape of a scalar as text");
	for (int i = 0; i < MOE_MAX_DIMS; i++)
		wide[i] = INT64_MIN;
	ok(strlen(moe_dims_text(text, wide, MOE_MAX_DIMS)) < sizeof text, "the longest shape fits");
	slice = moe_tensor_slice(&tensor, 2);
	ok(slice.n_dims == 2 && slice.dims[0] == 3 && slice.dims[1] == 64, "a slice loses the outer dimension");
	ok(slice.data == bytes + 2 * 384 && slice.n_bytes == 384 && slice.offset == 868, "and lies at its index");
}

/* A matrix stored by its inputs, [cols][in_stride], gives the rows that it would give row by row. */
static void test_turned(void)
{
	enum { ROWS = 75, COLS = 5, STRIDE = 90, FIRST = 9 };
	const struct moe_codec *bf16 = moe_codec_by_name("bf16");
	static uint8_t stored[COLS * STRIDE * 2];
	static float values[COLS * STRIDE], out[ROWS * COLS];
	const struct moe_weight w = { .codec = bf16, .data = stored + FIRST * 2, .rows = ROWS, .cols = COLS,
	                              .in_stride = STRIDE };
	int64_t n_different = 0;

	for (int i = 0; i < COLS * STRIDE; i++)
		values[i] = (float)(i % 251);
	bf16->encode(values, stored, COLS * STRIDE);
	moe_weight_decode(&w, 0, ROWS * COLS, out);
	for (int r = 0; r < ROWS; r++)
		for (int c = 0; c < COLS; c++)
			n_different += out[r * COLS + c] != values[c * STRIDE + FIRST + r];
	is_i64(n_different, 0, "a matrix stored by its inputs is read by rows");
	moe_weight_decode(&w, 70 * COLS, 2 * COLS, out);
	ok(out[COLS + 3] == values[3 * STRIDE + FIRST + 71], "from any row on");
}

int main(void)
{
	test_golden();
	test_e4m3_values();
	test_round_trip("bf16", 65536);
	test_round_trip("f16", 65536);
	test_round_trip("f8_e4m3", 256);
	test_copied_types();
	test_q8_0_edges();
	test_mxfp4_split();
	test_mxfp4_repacked();
	test_blocks("fp8_block", false);
	test_blocks("fp8_block_ue8m0", true);
	test_e8m0();
	test_block_edges();
	check_quality("q2_k", 0.2575);
	check_quality("q3_k", 0.1410);
	check_quality("q4_k", 0.0690);
	check_quality("q5_k", 0.0341);
	check_quality("q6_k", 0.0165);
	check_quality("iq4_nl", 0.0725);
	check_quality("q4_0", 0.0835);
	check_quality("q4_1", 0.0763);
	check_quality("q5_0", 0.0415);
	test_turned();
	test_table();
	test_shapes();
	return done();
}
