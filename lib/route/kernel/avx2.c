/* Eight tokens at a time. */
#include <math.h>
#include <string.h>

#include "route/kernel.h"

#ifdef __x86_64__

#include <immintrin.h>

#define K(name) avx2_##name
#define K_TARGET __attribute__((target("avx2")))
#define K_LANES 8
typedef float avx2_floats __attribute__((vector_size(32)));
typedef int32_t avx2_ints __attribute__((vector_size(32)));
typedef __m256 avx2_mask;
#define K_GREATER(a, b) _mm256_cmp_ps((__m256)(a), (__m256)(b), _CMP_GT_OQ)
#define K_NOT_LESS(a, b) _mm256_cmp_ps((__m256)(a), (__m256)(b), _CMP_GE_OQ)
#define K_SELECT(m, a, b) ((avx2_floats)_mm256_blendv_ps((__m256)(b), (__m256)(a), m))
#define K_SELECT_I(m, a, b) ((avx2_ints)_mm256_blendv_ps((__m256)(b), (__m256)(a), m))
#define K_LARGER(a, b) ((avx2_floats)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define K_SMALLER(a, b) ((avx2_floats)_mm256_min_ps((__m256)(a), (__m256)(b)))
#define K_SQRT(x) ((avx2_floats)_mm256_sqrt_ps((__m256)(x)))
#define K_WHOLE(x) ((avx2_floats)_mm256_round_ps((__m256)(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))
#define K_SCALE(x, n) avx2_scale(x, n)
#define K_ROWS(p, n) \
	((avx2_floats)_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps((p) + 4 * (n)), 1))
#define K_MIX(a, b, i, j, k, l) __builtin_shufflevector(a, b, MIX4(0, i, j, k, l), MIX4(4, i, j, k, l))
#define MIX1(at, i) ((i) < 4 ? (at) + (i) : 8 + (at) + (i) - 4)
#define MIX4(at, i, j, k, l) MIX1(at, i), MIX1(at, j), MIX1(at, k), MIX1(at, l)

/* In two steps, of which the second rounds. */
K_TARGET static inline __attribute__((always_inline)) avx2_floats avx2_scale(avx2_floats x, avx2_floats power)
{
	const avx2_ints n = (avx2_ints)_mm256_cvtps_epi32((__m256)power), half = n >> 1;
	return x * (avx2_floats)((half + 127) << 23) * (avx2_floats)((n - half + 127) << 23);
}

#include "route/kernel_template.h"

static bool has_avx2(void) { return __builtin_cpu_supports("avx2"); }

#else

static bool has_avx2(void) { return false; }
#define avx2_choose NULL

#endif

const struct moe_kernel moe_kernel_avx2 = {
	.name = "avx2",
	.rank = 10,
	.usable = has_avx2,
	.lanes = 8,
	.choose = avx2_choose,
};
