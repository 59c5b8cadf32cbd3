/* The CPU device's inside: plain C, f32 sums in a fixed order. Seen only by device/. */
#ifndef MOE_DEVICE_CPU_CPU_H
#define MOE_DEVICE_CPU_CPU_H

#include "device/cpu/dot.h"
#include "device/device.h"

/* Per thread: decoded rows and whatever an operation needs beside them. */
struct cpu_scratch {
	float *p;
	size_t n;
};

struct cpu_device {
	struct moe_device base;
	struct moe_pool *pool;
	const struct moe_dot *dot;
	int n_threads;
	struct cpu_scratch *scratch;   /* [n_threads] */
	struct cpu_scratch shared;     /* between the phases of one operation */
};

MOE_MUST_USE enum moe_status moe_cpu_open(struct moe_device **out, struct moe_pool *pool, struct moe_err *err);

/* At least n floats per thread / between phases, contents undefined. */
MOE_MUST_USE enum moe_status cpu_reserve(struct cpu_device *cpu, size_t n, struct moe_err *err);
MOE_MUST_USE enum moe_status cpu_reserve_shared(struct cpu_device *cpu, size_t n, struct moe_err *err);

/* Rows [row, row + n) of w as f32 into out [n][cols]. */
void cpu_decode_rows(const struct moe_weight *w, int64_t row, int64_t n, float *out);

MOE_MUST_USE enum moe_status cpu_matmul(struct moe_device *device, const float *x, int64_t n_tokens,
                                        const struct moe_weight *w, float *out, struct moe_err *err);
MOE_MUST_USE enum moe_status cpu_mla(struct moe_device *device, const struct moe_mla_args *args, struct moe_err *err);
MOE_MUST_USE enum moe_status cpu_index(struct moe_device *device, const struct moe_index_args *args,
                                       struct moe_err *err);
MOE_MUST_USE enum moe_status cpu_gqa(struct moe_device *device, const struct moe_gqa_args *args, struct moe_err *err);
MOE_MUST_USE enum moe_status cpu_ffn(struct moe_device *device, const float *x, int64_t n_tokens,
                                     const struct moe_weight *gate, const struct moe_weight *up,
                                     const struct moe_weight *down, float *out, struct moe_err *err);
MOE_MUST_USE enum moe_status cpu_experts(struct moe_device *device, const struct moe_experts_args *args,
                                         struct moe_err *err);

/* x sigmoid(x). */
float cpu_silu(float x);

#endif
