/* Keys of tokens, and noise and temperature on their logits. */
#include "route/draws.h"

#include <math.h>

#include "route/route.h"

uint64_t moe_token_key(uint64_t seed, int32_t layer, int64_t seq, int64_t pos)
{
	return moe_rng_u64(moe_rng_u64(seed, (uint64_t)layer, (uint64_t)seq), 0, (uint64_t)pos);
}

bool moe_adjust_is_set(const struct moe_adjust *adjust) { return adjust->temperature > 0 || adjust->noise > 0; }

/* N(0, 1) of two uniform numbers: Box and Muller 1958. */
static double normal(uint64_t key, uint64_t i)
{
	const double u = 1 - moe_rng_f64(key, MOE_DRAW_NOISE, 2 * i), v = moe_rng_f64(key, MOE_DRAW_NOISE, 2 * i + 1);
	return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

void moe_adjust_logits(const struct moe_adjust *adjust, uint64_t key, const float *logits, int32_t n_experts,
                       float *out)
{
	for (int32_t e = 0; e < n_experts; e++) {
		double x = adjust->temperature > 0 ? logits[e] / adjust->temperature : logits[e];
		if (adjust->noise > 0)
			x += adjust->noise * normal(key, (uint64_t)e);
		out[e] = (float)x;
	}
}
