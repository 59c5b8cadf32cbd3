/* e^x and what is made of it in f32 by operations that are rounded alike on one number and on many: the same bits on
 * every processor, whatever its library. */
#ifndef MOE_ROUTE_EXP_H
#define MOE_ROUTE_EXP_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* x = n ln 2 + r with whole n and |r| <= ln 2 / 2; e^r by its series up to r^7 / 7!, whose rest is below 6e-9; times
 * 2^n in two steps, of which only the second rounds, so that results below 2^-126 are right as well. Arguments beyond
 * these two give 0 and infinity anyway. ln 2 is taken off in two parts, the first of 12 bits: n times that is exact. */
#define MOE_EXP_LEAST (-104.0f)
#define MOE_EXP_MOST 89.0f
#define MOE_EXP_LOG2E 1.44269504f
#define MOE_EXP_LN2_HIGH 0.693359375f
#define MOE_EXP_LN2_LOW (-2.12194440e-4f)
#define MOE_EXP_WHOLE 12582912.0f   /* 3 2^22: adding it rounds a float of less than 2^22 */

/* NaN gives NaN. */
static inline float moe_exp(float x)
{
	float power[2];
	x = x < MOE_EXP_LEAST ? MOE_EXP_LEAST : x;
	x = x > MOE_EXP_MOST ? MOE_EXP_MOST : x;
	const float shifted = x * MOE_EXP_LOG2E + MOE_EXP_WHOLE, whole = shifted - MOE_EXP_WHOLE;
	const float r = (x - whole * MOE_EXP_LN2_HIGH) - whole * MOE_EXP_LN2_LOW;
	int32_t n, half[2];
	memcpy(&n, &shifted, sizeof n);
	n = (int32_t)((uint32_t)n - UINT32_C(0x4b400000));
	half[0] = (int32_t)((uint32_t)((n >> 1) + 127) << 23);
	half[1] = (int32_t)((uint32_t)(n - (n >> 1) + 127) << 23);
	memcpy(power, half, sizeof power);
	float sum = 1.0f / 5040;
	sum = sum * r + 1.0f / 720;
	sum = sum * r + 1.0f / 120;
	sum = sum * r + 1.0f / 24;
	sum = sum * r + 1.0f / 6;
	sum = sum * r + 0.5f;
	sum = sum * r + 1.0f;
	sum = sum * r + 1.0f;
	return sum * power[0] * power[1];
}

/* sqrt(ln(1 + e^x)), as a sum that neither overflows nor loses small results: max(x, 0) + ln(1 + y) with y = e^-|x|,
 * and ln(1 + y) = 2 (z + z^3 / 3 + z^5 / 5 + ...) with z = y / (2 + y) <= 1/3: up to z^15 / 15, the rest is below 2e-9
 * of it. NaN gives NaN. */
static inline float moe_sqrtsoftplus(float x)
{
	const float y = moe_exp(x > 0 ? -x : x), z = y / (2.0f + y), square = z * z;
	float sum = 1.0f / 15;
	sum = sum * square + 1.0f / 13;
	sum = sum * square + 1.0f / 11;
	sum = sum * square + 1.0f / 9;
	sum = sum * square + 1.0f / 7;
	sum = sum * square + 1.0f / 5;
	sum = sum * square + 1.0f / 3;
	sum = sum * square + 1.0f;
	return sqrtf((x > 0 ? x : 0) + 2.0f * z * sum);
}

/* Sums of many are sums of sums of so many, whose error does not grow with the number of experts. */
enum { MOE_SUM_RUN = 32 };

#endif
