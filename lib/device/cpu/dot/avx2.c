/* The same lanes in one 256-bit register; no fused multiply-add, hence the same bits as generic. */
#include "device/cpu/dot.h"

#ifdef __x86_64__

#define DOT(name) avx2_##name
#define DOT_TARGET __attribute__((target("avx2")))
#include "device/cpu/dot_template.h"

static bool has_avx2(void) { return __builtin_cpu_supports("avx2"); }

#else

static bool has_avx2(void) { return false; }
#define avx2_tile NULL
#define avx2_axpy NULL

#endif

const struct moe_dot moe_dot_avx2 = {
	.name = "avx2",
	.rank = 10,
	.usable = has_avx2,
	.tile = avx2_tile,
	.axpy = avx2_axpy,
};
