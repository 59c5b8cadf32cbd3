/* Sixteen tokens at a time, with masks. */
#include <math.h>
#include <string.h>

#include "route/kernel.h"

#ifdef __x86_64__

#include <immintrin.h>

#define K(name) avx512_##name
#define K_TARGET __attribute__((target("avx512f")))
#define K_LANES 16
typedef float avx512_floats __attribute__((vector_size(64)));
typedef int32_t avx512_ints __attribute__((vector_size(64)));
typedef __mmask16 avx512_mask;
#define K_GREATER(a, b) _mm512_cmp_ps_mask((__m512)(a), (__m512)(b), _CMP_GT_OQ)
#define K_NOT_LESS(a, b) _mm512_cmp_ps_mask((__m512)(a), (__m512)(b), _CMP_GE_OQ)
#define K_SELECT(m, a, b) ((avx512_floats)_mm512_mask_mov_ps((__m512)(b), m, (__m512)(a)))
#define K_SELECT_I(m, a, b) ((avx512_ints)_mm512_mask_mov_epi32((__m512i)(b), m, (__m512i)(a)))
#define K_LARGER(a, b) ((avx512_floats)_mm512_max_ps((__m512)(a), (__m512)(b)))
#define K_SMALLER(a, b) ((avx512_floats)_mm512_min_ps((__m512)(a), (__m512)(b)))
#define K_SQRT(x) ((avx512_floats)_mm512_sqrt_ps((__m512)(x)))
#define K_WHOLE(x) ((avx512_floats)_mm512_roundscale_ps((__m512)(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))
#define K_SCALE(x, n) ((avx512_floats)_mm512_scalef_ps((__m512)(x), (__m512)(n)))
#define K_ROWS(p, n) avx512_rows(p, n)
#define K_MIX(a, b, i, j, k, l) \
	__builtin_shufflevector(a, b, MIX4(0, i, j, k, l), MIX4(4, i, j, k, l), MIX4(8, i, j, k, l), \
	                        MIX4(12, i, j, k, l))
#define MIX1(at, i) ((i) < 4 ? (at) + (i) : 16 + (at) + (i) - 4)
#define MIX4(at, i, j, k, l) MIX1(at, i), MIX1(at, j), MIX1(at, k), MIX1(at, l)

K_TARGET static inline __attribute__((always_inline)) avx512_floats avx512_rows(const float *p, int64_t n)
{
	__m512 v = _mm512_castps128_ps512(_mm_loadu_ps(p));
	v = _mm512_insertf32x4(v, _mm_loadu_ps(p + 4 * n), 1);
	v = _mm512_insertf32x4(v, _mm_loadu_ps(p + 8 * n), 2);
	return (avx512_floats)_mm512_insertf32x4(v, _mm_loadu_ps(p + 12 * n), 3);
}

#include "route/kernel_template.h"

static bool has_avx512(void) { return __builtin_cpu_supports("avx512f"); }

#else

static bool has_avx512(void) { return false; }
#define avx512_choose NULL

#endif

const struct moe_kernel moe_kernel_avx512 = {
	.name = "avx512",
	.rank = 20,
	.usable = has_avx512,
	.lanes = 16,
	.choose = avx512_choose,
};
