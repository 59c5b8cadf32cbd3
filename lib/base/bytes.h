/* Little-endian loads and stores, and sizes that cannot wrap. */
#ifndef MOE_BASE_BYTES_H
#define MOE_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

static inline uint16_t moe_load_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static inline uint32_t moe_load_u32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t moe_load_u64(const uint8_t *p)
{
	return (uint64_t)moe_load_u32(p) | (uint64_t)moe_load_u32(p + 4) << 32;
}

static inline void moe_store_u16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static inline void moe_store_u32(uint8_t *p, uint32_t v)
{
	moe_store_u16(p, (uint16_t)v);
	moe_store_u16(p + 2, (uint16_t)(v >> 16));
}

static inline void moe_store_u64(uint8_t *p, uint64_t v)
{
	moe_store_u32(p, (uint32_t)v);
	moe_store_u32(p + 4, (uint32_t)(v >> 32));
}

static inline float moe_f32_from_bits(uint32_t bits)
{
	float f;
	memcpy(&f, &bits, sizeof f);
	return f;
}

static inline uint32_t moe_f32_bits(float f)
{
	uint32_t bits;
	memcpy(&bits, &f, sizeof bits);
	return bits;
}

/* *out = a * b, or false where that does not fit. */
static inline bool moe_mul_size(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }

/* *out = a + b, or false where that does not fit. */
static inline bool moe_add_size(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }

#ifdef __cplusplus
}
#endif
#endif
