/* The lightning indexer on the CPU (DeepSeek-V3.2-Exp report, section 2.1).
 *
 *   score(t, s) = sum over heads h, ascending, of weights_h(t) relu(scale q_h(t) . k(s)),   s <= t
 *
 * Of each token's scores the top_k largest stay; equal ones in the order of their positions. */
#include "device/cpu/cpu.h"
#include "device/cpu/online.h"

#include <math.h>
#include <string.h>

/* Tokens scored together: bounds the scores held at once to TOKENS times the positions. */
enum { TOKENS = 16 };

struct indexing {
	struct cpu_device *cpu;
	const struct moe_index_args *args;
	/* of the tokens scored together, their scores [TOKENS][stride] in cpu->shared */
	int64_t first, n_blocks, stride;
};

static int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }

/* Items are (token, block of keys). */
static void score_piece(void *arg, int64_t begin, int64_t end, int thread)
{
	const struct indexing *at = arg;
	const struct moe_index_args *a = at->args;
	const int64_t dim = a->head_dim, n_heads = a->n_heads;
	float *products = at->cpu->scratch[thread].p;
	for (int64_t item = begin; item < end; item++) {
		const int64_t t = at->first + item / at->n_blocks, block = item % at->n_blocks * CPU_BLOCK;
		const int64_t n = min_i64(CPU_BLOCK, a->pos0 + t + 1 - block);
		const float *weights = a->weights + t * n_heads;
		float *scores = at->cpu->shared.p + item / at->n_blocks * at->stride + block;
		if (n <= 0)
			continue;
		at->cpu->dot->tile(a->q + t * n_heads * dim, n_heads, dim, a->keys + block * dim, n, dim, dim, products,
		                   n_heads);
		for (int64_t s = 0; s < n; s++) {
			const float *product = products + s * n_heads;
			scores[s] = 0;
			for (int64_t h = 0; h < n_heads; h++)
				scores[s] += weights[h] * fmaxf(a->scale * product[h], 0);
		}
	}
}

/* A number that orders as the scores do; what is no number comes last. */
static uint32_t order_of(float score)
{
	uint32_t bits;
	if (isnan(score))
		return 0;
	if (score == 0)
		score = 0; /* either zero is the same */
	memcpy(&bits, &score, sizeof bits);
	return bits & UINT32_C(0x80000000) ? ~bits : bits | UINT32_C(0x80000000);
}

/* Positions of the k largest of n > k scores, ascending: the k-th largest is found digit by digit. */
static void choose(const float *scores, int64_t n, int64_t k, int32_t *out)
{
	uint32_t last = 0, known = 0;
	int64_t left = k; /* how many of those that begin as `last` does */
	for (int shift = 24; shift >= 0; shift -= 8) {
		int64_t counts[256] = { 0 };
		uint32_t digit = 255;
		for (int64_t s = 0; s < n; s++) {
			const uint32_t order = order_of(scores[s]);
			if ((order & known) == last)
				counts[order >> shift & 255]++;
		}
		while (counts[digit] < left)
			left -= counts[digit--];
		last |= digit << shift;
		known |= UINT32_C(255) << shift;
	}
	for (int64_t s = 0; s < n; s++) {
		const uint32_t order = order_of(scores[s]);
		if (order > last || (order == last && left-- > 0))
			*out++ = (int32_t)s;
	}
}

static void choose_piece(void *arg, int64_t begin, int64_t end, int thread)
{
	const struct indexing *at = arg;
	const struct moe_index_args *a = at->args;
	(void)thread;
	for (int64_t i = begin; i < end; i++) {
		const int64_t t = at->first + i, n = a->pos0 + t + 1;
		int32_t *out = a->visible + t * a->top_k;
		if (n > a->top_k)
			choose(at->cpu->shared.p + i * at->stride, n, a->top_k, out);
		for (int64_t s = 0; s < n && n <= a->top_k; s++)
			out[s] = (int32_t)s;
	}
}

enum moe_status cpu_index(struct moe_device *device, const struct moe_index_args *args, struct moe_err *err)
{
	struct cpu_device *cpu = (struct cpu_device *)device;
	const int64_t n_blocks = (args->pos0 + args->n_tokens + CPU_BLOCK - 1) / CPU_BLOCK;
	struct indexing at = { cpu, args, 0, n_blocks, n_blocks * CPU_BLOCK };
	enum moe_status status = cpu_reserve(cpu, (size_t)CPU_BLOCK * (size_t)args->n_heads, err);
	if (!status)
		status = cpu_reserve_shared(cpu, (size_t)(TOKENS * at.stride), err);
	if (status)
		return status;
	for (; at.first < args->n_tokens; at.first += TOKENS) {
		const int64_t n = min_i64(TOKENS, args->n_tokens - at.first);
		moe_pool_for(cpu->pool, n * n_blocks, 1, score_piece, &at);
		moe_pool_for(cpu->pool, n, 1, choose_piece, &at);
	}
	return MOE_OK;
}
