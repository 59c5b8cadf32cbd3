/* The step of online softmax (Milakov and Gimelshein 2018). */
#include "device/cpu/online.h"

#include <math.h>

void cpu_fold(const struct moe_dot *dot, const float *scores, int64_t n, const float *rows, int64_t stride,
              int64_t width, struct cpu_online *online, float *sums)
{
	float max = online->max;
	for (int64_t s = 0; s < n; s++)
		max = scores[s] > max ? scores[s] : max;
	const float keep = expf(online->max - max); /* exp(-inf) = 0 at the first block */
	online->max = max;
	online->sum *= keep;
	for (int64_t i = 0; keep != 1 && i < width; i++)
		sums[i] *= keep;
	for (int64_t s = 0; s < n; s++) {
		const float p = expf(scores[s] - max);
		online->sum += p;
		dot->axpy(p, rows + s * stride, width, sums);
	}
}
