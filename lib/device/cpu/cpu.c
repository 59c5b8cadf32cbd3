/* The CPU device: memory, and the operations that are one loop. */
#include "device/cpu/cpu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>


static float *cpu_alloc(struct moe_device *device, size_t n)
{
	(void)device;
	void *p = NULL;
	size_t n_bytes;
	if (__builtin_mul_overflow(n ? n : 1, sizeof(float), &n_bytes) || posix_memalign(&p, 64, n_bytes))
		return NULL;
	memset(p, 0, n_bytes);
	return p;
}

static void cpu_release(struct moe_device *device, float *p)
{
	(void)device;
	free(p);
}

static enum moe_status cpu_copy(struct moe_device *device, float *to, const float *from, size_t n,
                                struct moe_err *err)
{
	(void)device;
	(void)err;
	memcpy(to, from, n * sizeof *to);
	return MOE_OK;
}

static enum moe_status grow(struct cpu_scratch *scratch, size_t n, struct moe_err *err)
{
	if (scratch->n >= n)
		return MOE_OK;
	float *p = cpu_alloc(NULL, n);
	if (!p)
		return moe_err_nomem(err, n * sizeof *p, "scratch of the CPU device");
	free(scratch->p);
	scratch->p = p;
	scratch->n = n;
	return MOE_OK;
}

enum moe_status cpu_reserve(struct cpu_device *cpu, size_t n, struct moe_err *err)
{
	for (int i = 0; i < cpu->n_threads; i++) {
		enum moe_status status = grow(&cpu->scratch[i], n, err);
		if (status)
			return status;
	}
	return MOE_OK;
}

enum moe_status cpu_reserve_shared(struct cpu_device *cpu, size_t n, struct moe_err *err)
{
	return grow(&cpu->shared, n, err);
}

void cpu_decode_rows(const struct moe_weight *w, int64_t row, int64_t n, float *out)
{
	moe_weight_decode(w, (size_t)(row * w->cols), (size_t)(n * w->cols), out);
}

float cpu_silu(float x) { return x / (1.0f + expf(-x)); }

static enum moe_status cpu_embed(struct moe_device *device, const struct moe_weight *table, const int32_t *ids,
                                 int64_t n_tokens, float *out, struct moe_err *err)
{
	(void)device;
	(void)err;
	for (int64_t t = 0; t < n_tokens; t++)
		cpu_decode_rows(table, ids[t], 1, out + t * table->cols);
	return MOE_OK;
}

static enum moe_status cpu_rmsnorm(struct moe_device *device, const float *x, int64_t x_stride,
                                   const struct moe_weight *w, double eps, int64_t n_tokens, float *out,
                                   int64_t out_stride, struct moe_err *err)
{
	struct cpu_device *cpu = (struct cpu_device *)device;
	const int64_t cols = w->rows * w->cols; /* a vector, however it is held */
	enum moe_status status = cpu_reserve(cpu, (size_t)cols, err);
	if (status)
		return status;
	float *weight = cpu->scratch[0].p;
	if (w->data)
		w->codec->decode(w->data, weight, (size_t)cols);
	for (int64_t i = 0; !w->data && i < cols; i++)
		weight[i] = 1;
	for (int64_t t = 0; t < n_tokens; t++) {
		const float *from = x + t * x_stride;
		float *to = out + t * out_stride;
		float square;
		cpu->dot->tile(from, 1, cols, from, 1, cols, cols, &square, 1);
		const float factor = 1.0f / sqrtf(square / (float)cols + (float)eps);
		for (int64_t i = 0; i < cols; i++)
			to[i] = from[i] * factor * weight[i];
	}
	return MOE_OK;
}

static enum moe_status cpu_layernorm(struct moe_device *device, const float *x, const struct moe_weight *w, double eps,
                                     int64_t n_tokens, float *out, struct moe_err *err)
{
	struct cpu_device *cpu = (struct cpu_device *)device;
	const int64_t cols = w->rows * w->cols;
	enum moe_status status = cpu_reserve(cpu, (size_t)cols, err);
	if (status)
		return status;
	float *weight = cpu->scratch[0].p;
	w->codec->decode(w->data, weight, (size_t)cols);
	for (int64_t t = 0; t < n_tokens; t++, x += cols, out += cols) {
		double sum = 0, square = 0;
		for (int64_t i = 0; i < cols; i++)
			sum += x[i];
		const float mean = (float)(sum / (double)cols);
		for (int64_t i = 0; i < cols; i++) {
			out[i] = x[i] - mean;
			square += (double)out[i] * out[i];
		}
		const float factor = (float)(1 / sqrt(square / (double)cols + eps));
		for (int64_t i = 0; i < cols; i++)
			out[i] = out[i] * factor * weight[i];
	}
	return MOE_OK;
}

static enum moe_status cpu_add(struct moe_device *device, float *x, const float *y, int64_t n, struct moe_err *err)
{
	(void)device;
	(void)err;
	for (int64_t i = 0; i < n; i++)
		x[i] += y[i];
	return MOE_OK;
}

static enum moe_status cpu_copy_rows(struct moe_device *device, float *to, int64_t to_stride, const float *from,
                                     int64_t from_stride, int64_t cols, int64_t n_rows, struct moe_err *err)
{
	(void)device;
	(void)err;
	for (int64_t t = 0; t < n_rows; t++)
		memcpy(to + t * to_stride, from + t * from_stride, (size_t)cols * sizeof *to);
	return MOE_OK;
}

static enum moe_status cpu_rope(struct moe_device *device, const struct moe_rope_args *a, struct moe_err *err)
{
	(void)device;
	(void)err;
	const int32_t half = a->n_dims / 2;
	const int32_t step = a->interleaved ? 2 : 1, apart = a->interleaved ? 1 : half;
	for (int64_t t = 0; t < a->n_tokens; t++) {
		const float *cos = a->cos + (a->pos0 + t) * half, *sin = a->sin + (a->pos0 + t) * half;
		for (int32_t h = 0; h < a->n_heads; h++) {
			float *x = a->x + t * a->token_stride + (int64_t)h * a->head_stride;
			for (int32_t i = 0; i < half; i++) {
				float *first = x + i * step, *second = first + apart;
				const float p = *first, q = *second;
				*first = p * cos[i] - q * sin[i];
				*second = q * cos[i] + p * sin[i];
			}
		}
	}
	return MOE_OK;
}

static enum moe_status cpu_add_bias(struct moe_device *device, float *x, int64_t stride, const struct moe_weight *bias,
                                    int64_t n_tokens, struct moe_err *err)
{
	struct cpu_device *cpu = (struct cpu_device *)device;
	const int64_t n = bias->rows * bias->cols;
	enum moe_status status = cpu_reserve(cpu, (size_t)n, err);
	if (status)
		return status;
	float *values = cpu->scratch[0].p;
	bias->codec->decode(bias->data, values, (size_t)n);
	for (int64_t t = 0; t < n_tokens; t++)
		for (int64_t i = 0; i < n; i++)
			x[t * stride + i] += values[i];
	return MOE_OK;
}

static enum moe_status cpu_unpair(struct moe_device *device, float *x, int64_t width, int64_t n_rows,
                                  struct moe_err *err)
{
	struct cpu_device *cpu = (struct cpu_device *)device;
	const int64_t half = width / 2;
	enum moe_status status = cpu_reserve(cpu, (size_t)half, err);
	if (status)
		return status;
	float *odd = cpu->scratch[0].p;
	for (int64_t r = 0; r < n_rows; r++, x += width) {
		for (int64_t i = 0; i < half; i++) {
			odd[i] = x[2 * i + 1];
			x[i] = x[2 * i];
		}
		memcpy(x + half, odd, (size_t)half * sizeof *odd);
	}
	return MOE_OK;
}

static enum moe_status cpu_clamp(struct moe_device *device, float *x, int64_t n, double limit, struct moe_err *err)
{
	(void)device;
	(void)err;
	const float most = (float)limit;
	for (int64_t i = 0; i < n; i++)
		x[i] = x[i] > most ? most : x[i] < -most ? -most : x[i];
	return MOE_OK;
}

static enum moe_status cpu_scale(struct moe_device *device, float *x, int64_t n, double factor, struct moe_err *err)
{
	(void)device;
	(void)err;
	const float by = (float)factor;
	for (int64_t i = 0; i < n; i++)
		x[i] *= by;
	return MOE_OK;
}

static enum moe_status cpu_scale_rows(struct moe_device *device, float *x, const float *factors, int64_t cols,
                                      int64_t n_tokens, struct moe_err *err)
{
	(void)device;
	(void)err;
	for (int64_t t = 0; t < n_tokens; t++)
		for (int64_t i = 0; i < cols; i++)
			x[t * cols + i] *= factors[t];
	return MOE_OK;
}

static enum moe_status cpu_gate_rows(struct moe_device *device, float *x, const float *gate, int64_t cols,
                                     int64_t n_tokens, struct moe_err *err)
{
	(void)device;
	(void)err;
	for (int64_t t = 0; t < n_tokens; t++) {
		const float factor = 1.0f / (1.0f + expf(-gate[t]));
		for (int64_t i = 0; i < cols; i++)
			x[t * cols + i] *= factor;
	}
	return MOE_OK;
}

static void cpu_close(struct moe_device *device)
{
	struct cpu_device *cpu = (struct cpu_device *)device;
	for (int i = 0; i < cpu->n_threads; i++)
		free(cpu->scratch[i].p);
	free(cpu->scratch);
	free(cpu->shared.p);
	free(cpu);
}

static const struct moe_device_ops cpu_ops = {
	.name = "cpu",
	.tells = true,
	.alloc = cpu_alloc,
	.release = cpu_release,
	.upload = cpu_copy,
	.download = cpu_copy,
	.embed = cpu_embed,
	.rmsnorm = cpu_rmsnorm,
	.layernorm = cpu_layernorm,
	.matmul = cpu_matmul,
	.add = cpu_add,
	.copy_rows = cpu_copy_rows,
	.rope = cpu_rope,
	.mla = cpu_mla,
	.index = cpu_index,
	.gqa = cpu_gqa,
	.add_bias = cpu_add_bias,
	.unpair = cpu_unpair,
	.clamp = cpu_clamp,
	.scale = cpu_scale,
	.scale_rows = cpu_scale_rows,
	.gate_rows = cpu_gate_rows,
	.ffn = cpu_ffn,
	.experts = cpu_experts,
};

enum moe_status moe_cpu_open(struct moe_device **out, struct moe_pool *pool, struct moe_err *err)
{
	struct cpu_device *cpu = calloc(1, sizeof *cpu);
	if (!cpu)
		return moe_err_nomem(err, sizeof *cpu, "the CPU device");
	cpu->base = (struct moe_device){ .ops = &cpu_ops, .close = cpu_close };
	cpu->pool = pool;
	cpu->dot = moe_dot_best();
	cpu->n_threads = moe_pool_threads(pool);
	cpu->scratch = calloc((size_t)cpu->n_threads, sizeof *cpu->scratch);
	if (!cpu->scratch) {
		free(cpu);
		return moe_err_nomem(err, sizeof *cpu->scratch, "the CPU device");
	}
	*out = &cpu->base;
	return MOE_OK;
}
