/* Grouped-query attention on the CPU (Ainslie et al. 2023): query head h reads key head h / (n_heads / n_kv_heads).
 *
 *   p = softmax over the visible positions s of (scale q . k_s);   out = sum p v_s
 *
 * Where there is a bias, it is added to the scaled score (Raffel et al. 2020, section 2.1).
 * A sink (Xiao et al. 2023, learned) is one more score in the softmax, of a position without a value. */
#include "device/cpu/cpu.h"
#include "device/cpu/online.h"

#include <math.h>
#include <string.h>

struct attention {
	struct cpu_device *cpu;
	const struct moe_gqa_args *args;
	const float *sinks; /* [n_heads], NULL: none */
};

static int64_t max_i64(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }

/* One token of one head. */
static void attend(const struct attention *at, int32_t head, int64_t t, float *scores)
{
	const struct moe_gqa_args *a = at->args;
	const struct moe_dot *dot = at->cpu->dot;
	const int64_t dim = a->head_dim, row = 2 * (int64_t)a->n_kv_heads * dim;
	const int32_t kv_head = head / (a->n_heads / a->n_kv_heads);
	const float *q = a->q + (t * a->n_heads + head) * dim;
	const float *keys = a->cache + kv_head * dim, *values = keys + (int64_t)a->n_kv_heads * dim;
	float *out = a->out + (t * a->n_heads + head) * dim;
	struct cpu_online online = { -INFINITY, 0 };
	if (at->sinks)
		online = (struct cpu_online){ at->sinks[head], 1 };

	const int64_t pos = a->pos0 + t, end = a->n_keys > 0 ? a->n_keys : pos + 1;
	const float *bias = a->bias ? a->bias + head * (2 * a->bias_span - 1) + a->bias_span - 1 - pos : NULL;
	const int64_t chunk = a->chunk > 0 ? pos / a->chunk * a->chunk : 0;
	const int64_t first = a->window > 0 ? max_i64(chunk, end - a->window) : chunk;
	memset(out, 0, (size_t)dim * sizeof *out);
	for (int64_t block = first / CPU_BLOCK * CPU_BLOCK; block < end; block += CPU_BLOCK) {
		const int64_t from = max_i64(block, first), n = min_i64(block + CPU_BLOCK, end) - from;
		dot->tile(keys + from * row, n, row, q, 1, dim, dim, scores, n);
		for (int64_t s = 0; s < n; s++)
			scores[s] = scores[s] * a->scale + (bias ? bias[from + s] : 0);
		cpu_fold(dot, scores, n, values + from * row, row, dim, &online, out);
	}
	for (int64_t i = 0; i < dim; i++)
		out[i] /= online.sum;
}

static void attend_piece(void *arg, int64_t begin, int64_t end, int thread)
{
	const struct attention *at = arg;
	float *scores = at->cpu->scratch[thread].p;
	for (int64_t item = begin; item < end; item++)
		attend(at, (int32_t)(item / at->args->n_tokens), item % at->args->n_tokens, scores);
}

enum moe_status cpu_gqa(struct moe_device *device, const struct moe_gqa_args *args, struct moe_err *err)
{
	struct cpu_device *cpu = (struct cpu_device *)device;
	struct attention at = { cpu, args, NULL };
	enum moe_status status = cpu_reserve(cpu, CPU_BLOCK, err);
	if (!status && args->sinks.data)
		status = cpu_reserve_shared(cpu, (size_t)args->n_heads, err);
	if (status)
		return status;
	if (args->sinks.data) {
		args->sinks.codec->decode(args->sinks.data, cpu->shared.p, (size_t)args->n_heads);
		at.sinks = cpu->shared.p;
	}
	moe_pool_for(cpu->pool, args->n_heads * args->n_tokens, 16, attend_piece, &at);
	return MOE_OK;
}
