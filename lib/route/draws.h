/* Random numbers of policies: pure functions of a token's key and a counter. */
#ifndef MOE_ROUTE_DRAWS_H
#define MOE_ROUTE_DRAWS_H

#include "base/rng.h"

/* What the numbers of one token are for: streams that do not meet. */
enum { MOE_DRAW_NOISE = 1, MOE_DRAW_SECOND, MOE_DRAW_EXPERT, MOE_DRAW_DROP, MOE_DRAW_EXEMPT, MOE_DRAW_TABLE };

/* k different experts of n, uniformly: the i-th is the one at a random place among those not drawn before. */
static inline void moe_draw_experts(uint64_t key, int32_t n, int32_t k, int32_t *ids)
{
	for (int32_t i = 0; i < k; i++) {
		const uint64_t draw = moe_rng_u64(key, MOE_DRAW_EXPERT, (uint64_t)i);
		int32_t id = (int32_t)(((draw >> 32) * (uint64_t)(n - i)) >> 32);
		/* ids drawn before, ascending: each at or below pushes the place by one */
		int32_t at = 0;
		int32_t last = -1;
		for (;;) {
			int32_t next = n;
			for (int32_t j = 0; j < i; j++)
				if (ids[j] > last && ids[j] < next)
					next = ids[j];
			if (next > id || at == i)
				break;
			last = next;
			id++;
			at++;
		}
		ids[i] = id;
	}
}

#endif
