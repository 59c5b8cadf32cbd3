/* Sums that do not depend on the order of adding: 128-bit integers in units of 2^-60. Every number is rounded to a unit
 * by itself, so parts merge exactly, and nothing depends on threads, runs, or where a file was cut. */
#ifndef MOE_STATS_FIXED_H
#define MOE_STATS_FIXED_H

#include <math.h>
#include <stdint.h>

/* Zero is {0}. Holds +-2^67. */
struct moe_fixed {
	uint64_t lo;
	int64_t hi;
};

#define MOE_FIXED_ONE 0x1p60
/* What may be added at a time; 2^26 such numbers fit. The caller checks. */
#define MOE_FIXED_MAX 0x1p40

__extension__ typedef __int128 moe_wide;

static inline moe_wide moe_fixed_wide(const struct moe_fixed *sum) { return (moe_wide)sum->hi << 64 | sum->lo; }

static inline void moe_fixed_put(struct moe_fixed *sum, moe_wide wide)
{
	sum->lo = (uint64_t)wide;
	sum->hi = (int64_t)(wide >> 64);
}

/* |x| <= MOE_FIXED_MAX */
static inline void moe_fixed_add(struct moe_fixed *sum, double x)
{
	double units = x * MOE_FIXED_ONE;

	/* From 2^52 on a double is whole. */
	moe_fixed_put(sum, moe_fixed_wide(sum) + (fabs(units) < 0x1p62 ? (moe_wide)llrint(units) : (moe_wide)units));
}

static inline void moe_fixed_merge(struct moe_fixed *into, const struct moe_fixed *from)
{
	moe_fixed_put(into, moe_fixed_wide(into) + moe_fixed_wide(from));
}

static inline double moe_fixed_value(const struct moe_fixed *sum)
{
	return (double)moe_fixed_wide(sum) / MOE_FIXED_ONE;
}

#endif
