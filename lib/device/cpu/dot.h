/* Inner products of rows: the one place where instruction sets differ. Members: device/cpu/dot/.
 *
 * The sum of k products runs in 8 lanes, lane i taking elements i, i + 8, i + 16, ...; elements behind the last whole
 * group of 8 join lanes 0, 1, 2, ...; the lanes are added as ((0+4)+(2+6))+((1+5)+(3+7)). Products are rounded before
 * they are added (no fused operations), so every member gives the same bits. */
#ifndef MOE_DEVICE_CPU_DOT_H
#define MOE_DEVICE_CPU_DOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct moe_dot {
	const char *name; /* "generic", "avx2": what MOE_CPU names */
	int rank; /* the highest usable one wins */
	bool (*usable)(void);
	/* y[t * ldy + r] = sum_k w[r * ldw + k] x[t * ldx + k], r < n_rows, t < n_tokens. */
	void (*tile)(const float *w, int64_t n_rows, int64_t ldw, const float *x, int64_t n_tokens, int64_t ldx,
	             int64_t k, float *y, int64_t ldy);
	/* y[i] += a x[i]: one product and one sum per element, in place. */
	void (*axpy)(float a, const float *x, int64_t n, float *y);
};

const struct moe_dot *moe_dot_at(size_t i); /* NULL past the end */
/* The best usable one; MOE_CPU=NAME in the environment bars all of higher rank than NAME. */
const struct moe_dot *moe_dot_best(void);

#endif
