/* Eight floats side by side, each the affair of another sub-block: what is done to them is what is done to one float. A
 * processor with registers of half the width takes two of them, with the same bits. */
#ifndef MOE_TENSOR_LANES8_H
#define MOE_TENSOR_LANES8_H

#include <stdint.h>
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

/* How such vectors are passed depends on the processor: none goes from one file to another. */
#pragma GCC diagnostic ignored "-Wpsabi"

#define MOE_LANES8 static inline __attribute__((always_inline))

typedef float moe_v8 __attribute__((vector_size(32)));
typedef int32_t moe_v8_mask __attribute__((vector_size(32)));

MOE_LANES8 moe_v8 moe_v8_all(float x) { return (moe_v8){x, x, x, x, x, x, x, x}; }

MOE_LANES8 moe_v8 moe_v8_load(const float *p)
{
	moe_v8 v;
	memcpy(&v, p, sizeof v);
	return v;
}

MOE_LANES8 void moe_v8_store(float *p, moe_v8 v) { memcpy(p, &v, sizeof v); }

/* yes ? a : b */
MOE_LANES8 moe_v8 moe_v8_choose(moe_v8_mask yes, moe_v8 a, moe_v8 b)
{
#ifdef __AVX2__
	return (moe_v8)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)yes);
#else
	return (moe_v8)((yes & (moe_v8_mask)a) | (~yes & (moe_v8_mask)b));
#endif
}

/* x > lo ? x : lo */
MOE_LANES8 moe_v8 moe_v8_above(moe_v8 x, moe_v8 lo)
{
#ifdef __AVX2__
	return (moe_v8)_mm256_max_ps((__m256)x, (__m256)lo);
#else
	return moe_v8_choose(x > lo, x, lo);
#endif
}

/* x < hi ? x : hi */
MOE_LANES8 moe_v8 moe_v8_below(moe_v8 x, moe_v8 hi)
{
#ifdef __AVX2__
	return (moe_v8)_mm256_min_ps((__m256)x, (__m256)hi);
#else
	return moe_v8_choose(x < hi, x, hi);
#endif
}

/* moe_lanes_whole of tensor/lanes.h. */
MOE_LANES8 moe_v8 moe_v8_whole(moe_v8 x, moe_v8 lo, moe_v8 hi)
{
	return moe_v8_below(moe_v8_above(x, lo), hi) + moe_v8_all(12582912.0f) - moe_v8_all(12582912.0f);
}

/* Cut to whole numbers, which must be such of 32 bits. */
MOE_LANES8 moe_v8_mask moe_v8_cut(moe_v8 x) { return __builtin_convertvector(x, moe_v8_mask); }

/* Is any lane of the mask set? */
MOE_LANES8 int moe_v8_any(moe_v8_mask mask)
{
#ifdef __AVX2__
	return _mm256_movemask_ps((__m256)mask) != 0;
#else
	int32_t any = 0;

	for (int l = 0; l < 8; l++)
		any |= mask[l];
	return any != 0;
#endif
}

/* Rows become columns. */
MOE_LANES8 void moe_v8_transpose(moe_v8 r[8])
{
	moe_v8 a[8], b[8];

	for (int i = 0; i < 8; i += 2) {
		a[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
		a[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
	}
	for (int i = 0; i < 8; i += 4) {
		b[i] = __builtin_shufflevector(a[i], a[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
		b[i + 1] = __builtin_shufflevector(a[i], a[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
		b[i + 2] = __builtin_shufflevector(a[i + 1], a[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
		b[i + 3] = __builtin_shufflevector(a[i + 1], a[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
	}
	for (int i = 0; i < 4; i++) {
		r[i] = __builtin_shufflevector(b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
		r[i + 4] = __builtin_shufflevector(b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
	}
}

#endif
