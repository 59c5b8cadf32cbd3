/* Softmax as it goes: attention over blocks of the cache that start at multiples of CPU_BLOCK, whatever the call, so
 * that a token meets the same blocks in the same order however its sequence was cut. */
#ifndef MOE_DEVICE_CPU_ONLINE_H
#define MOE_DEVICE_CPU_ONLINE_H

#include "device/cpu/dot.h"

enum { CPU_BLOCK = 128 };

/* Running softmax of one token: its sums so far are relative to exp(max). Starts at -infinity, 0. */
struct cpu_online {
	float max, sum;
};

/* Folds scores [n] of one token and the rows they weigh, `stride` apart, into its running sums [width]. */
void cpu_fold(const struct moe_dot *dot, const float *scores, int64_t n, const float *rows, int64_t stride,
              int64_t width, struct cpu_online *online, float *sums);

#endif
