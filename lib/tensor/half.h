/* Sixteen-bit floats: IEEE binary16 and bfloat16, to and from f32, exactly.
 *
 * Written without branches on data so that loops over them vectorise. Rounding is to nearest, ties to even. */
#ifndef MOE_TENSOR_HALF_H
#define MOE_TENSOR_HALF_H

#include <stdint.h>

#include "base/bytes.h"

#ifdef __cplusplus
extern "C" {
#endif

/* yes ? a : b, without a branch: floating-point work before a branch would keep loops from being vectorised. */
static inline uint32_t moe_select_u32(uint32_t yes, uint32_t a, uint32_t b) { return b ^ ((a ^ b) & (0u - yes)); }

static inline float moe_f32_from_bf16(uint16_t h) { return moe_f32_from_bits((uint32_t)h << 16); }

/* NaN stays NaN: its payload is cut and made quiet. */
static inline uint16_t moe_bf16_from_f32(float f)
{
	uint32_t bits = moe_f32_bits(f);
	uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
	uint32_t nan = bits >> 16 | 0x40;

	return (uint16_t)moe_select_u32((bits & 0x7fffffffu) > 0x7f800000u, nan, rounded);
}

/* Exponent and mantissa are moved into place and the exponent's bias corrected by a multiplication with 2^112, which
 * makes subnormals right too; NaN keeps its payload and becomes quiet. */
static inline float moe_f32_from_f16(uint16_t h)
{
	uint32_t rest = (uint32_t)(h & 0x7fff) << 13;
	uint32_t sign = (uint32_t)(h & 0x8000) << 16;
	uint32_t finite = moe_f32_bits(moe_f32_from_bits(rest) * 0x1p112f);
	uint32_t special = rest | moe_select_u32(rest > 0x0f800000u, 0x7fc00000u, 0x7f800000u);

	return moe_f32_from_bits(sign | moe_select_u32(rest >= 0x0f800000u, special, finite));
}

static inline uint16_t moe_f16_from_f32(float f)
{
	uint32_t bits = moe_f32_bits(f);
	uint32_t sign = bits >> 16 & 0x8000;
	uint32_t rest = bits & 0x7fffffffu;
	/* Normal: bias 127 becomes 15, then the 13 bits that fall off are rounded; a carry runs into the exponent. */
	uint32_t normal = (rest - (112u << 23) + 0xfff + (rest >> 13 & 1)) >> 13;
	/* Subnormal: adding 0.5 lets the adder round to a multiple of 2^-24, ties to even. */
	uint32_t small = moe_f32_bits(moe_f32_from_bits(rest) + 0.5f) - 0x3f000000u;
	uint32_t nan = 0x7e00 | (rest >> 13 & 0x1ff);
	uint32_t h = moe_select_u32(rest < 0x38800000u, small, normal);

	h = moe_select_u32(rest >= 0x477ff000u, 0x7c00, h);   /* 65520 and beyond */
	h = moe_select_u32(rest > 0x7f800000u, nan, h);
	return (uint16_t)(sign | h);
}

#ifdef __cplusplus
}
#endif
#endif
