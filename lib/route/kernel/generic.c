/* Four tokens at a time in vectors of the language: what every processor has. */
#include <math.h>
#include <string.h>

#include "route/kernel.h"

#define K(name) generic_##name
#define K_TARGET
#define K_LANES 4
typedef float generic_floats __attribute__((vector_size(16)));
typedef int32_t generic_ints __attribute__((vector_size(16)));
typedef generic_ints generic_mask;
#define K_GREATER(a, b) ((a) > (b))
#define K_NOT_LESS(a, b) ((a) >= (b))
#define K_SELECT(m, a, b) ((generic_floats)(((m) & (generic_ints)(a)) | (~(m) & (generic_ints)(b))))
#define K_SELECT_I(m, a, b) (((m) & (a)) | (~(m) & (b)))
#define K_LARGER(a, b) K_SELECT((a) > (b), a, b)
#define K_SMALLER(a, b) K_SELECT((a) < (b), a, b)
#define K_SQRT(x) generic_sqrt(x)
#define K_WHOLE(x) (((x) + 12582912.0f) - 12582912.0f)   /* 3 2^22: the sum has no room for halves */
#define K_SCALE(x, n) generic_scale(x, n)
#define K_ROWS(p, n) generic_rows(p)
#define K_MIX(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)

static inline generic_floats generic_rows(const float *p)
{
	generic_floats v;
	memcpy(&v, p, sizeof v);
	return v;
}

/* In two steps, of which the second rounds. */
static inline generic_floats generic_scale(generic_floats x, generic_floats power)
{
	const generic_ints n = __builtin_convertvector(power, generic_ints), half = n >> 1;
	return x * (generic_floats)((half + 127) << 23) * (generic_floats)((n - half + 127) << 23);
}

static inline generic_floats generic_sqrt(generic_floats x)
{
	for (int lane = 0; lane < K_LANES; lane++)
		x[lane] = sqrtf(x[lane]);
	return x;
}

#include "route/kernel_template.h"

static bool always(void) { return true; }

const struct moe_kernel moe_kernel_generic = {
	.name = "generic",
	.rank = 0,
	.usable = always,
	.lanes = 4,
	.choose = generic_choose,
};
