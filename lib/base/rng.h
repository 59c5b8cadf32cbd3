/* Random numbers that are a pure function of a key and a counter: the same draw for (seed, sequence, position)
 * whatever was drawn before. The mixing function is the finaliser of SplitMix64 (Steele, Lea, Flood 2014). */
#ifndef MOE_BASE_RNG_H
#define MOE_BASE_RNG_H

#include <stdint.h>

static inline uint64_t moe_rng_mix(uint64_t x)
{
	x += UINT64_C(0x9E3779B97F4A7C15);
	x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
	return x ^ (x >> 31);
}

static inline uint64_t moe_rng_u64(uint64_t seed, uint64_t stream, uint64_t counter)
{
	return moe_rng_mix(moe_rng_mix(moe_rng_mix(seed) ^ stream) ^ counter);
}

/* Uniform in [0, 1), 53 bits. */
static inline double moe_rng_f64(uint64_t seed, uint64_t stream, uint64_t counter)
{
	return (double)(moe_rng_u64(seed, stream, counter) >> 11) * 0x1p-53;
}

#endif
