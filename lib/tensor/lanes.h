/* Loops of encoders in vectors of the language, not of one processor: the same bits everywhere. */
#ifndef MOE_TENSOR_LANES_H
#define MOE_TENSOR_LANES_H

#include <stdint.h>
#include <string.h>

/* Four floats that the compiler keeps in one register where there are such, and their comparisons. */
typedef float moe_lanes __attribute__((vector_size(16)));
typedef int32_t moe_lane_masks __attribute__((vector_size(16)));
enum { MOE_LANES = 4 };

static inline moe_lanes moe_lanes_load(const float *p)
{
	moe_lanes v;
	memcpy(&v, p, sizeof v);
	return v;
}

static inline moe_lanes moe_lanes_all(float x) { return (moe_lanes){x, x, x, x}; }

static inline moe_lanes moe_lanes_choose(moe_lane_masks yes, moe_lanes a, moe_lanes b)
{
	return (moe_lanes)((yes & (moe_lane_masks)a) | (~yes & (moe_lane_masks)b));
}

/* Nearest whole numbers within [lo, hi]. Adding 3 2^22 rounds a float of less than 2^22, ties to even. */
static inline moe_lanes moe_lanes_whole(moe_lanes x, moe_lanes lo, moe_lanes hi)
{
	x = moe_lanes_choose(x > lo, x, lo);
	x = moe_lanes_choose(x < hi, x, hi);
	return x + moe_lanes_all(12582912.0f) - moe_lanes_all(12582912.0f);
}

static inline float moe_whole(float x, float lo, float hi)
{
	return moe_lanes_whole(moe_lanes_all(x), moe_lanes_all(lo), moe_lanes_all(hi))[0];
}

static inline float moe_lane_sum(moe_lanes a, moe_lanes b)
{
	const moe_lanes sum = a + b;
	return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

#endif
