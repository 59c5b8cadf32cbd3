/* What computes: one interface, a handful of operations at the level of the papers.
 *
 * forward/ sees only this. Operations take pointers to memory of the device (on the CPU: ordinary floats). Shapes are
 * [rows, cols] row-major. Every output element is summed in one fixed order, which depends neither on the number of
 * threads nor on how many tokens share a call. */
#ifndef MOE_DEVICE_DEVICE_H
#define MOE_DEVICE_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"
#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

struct moe_device;

/* Rotation of heads x[token][head][0 .. n_dims) by the angles of positions pos0, pos0 + 1, ... */
struct moe_rope_args {
	float *x; /* first rotated number of head 0 of token 0 */
	int64_t n_tokens, token_stride;
	int32_t n_heads, head_stride;
	int32_t n_dims;
	bool interleaved; /* pairs (2i, 2i+1); otherwise (i, i + n_dims/2) */
	const float *cos, *sin; /* [positions][n_dims/2] */
	int64_t pos0;
};

/* Multi-head latent attention over a cache of latents (DeepSeek-V2 report, section 2.1). */
struct moe_mla_args {
	int32_t n_heads, nope, rope, v, kv_lora;
	float scale;
	const float *q; /* [n_tokens][n_heads][nope + rope], rotated */
	const float *cache; /* [pos0 + n_tokens][kv_lora + rope]: normalised latent, rotated key */
	int64_t pos0, n_tokens;
	/* [n_tokens][n_visible]: the positions a token reads, ascending; one that has no more than n_visible up to its
	 * own has that many entries. NULL: each reads all. */
	const int32_t *visible;
	int64_t n_visible;
	struct moe_weight kv_b; /* [n_heads (nope + v), kv_lora]: per head nope rows of keys, then v rows of values */
	bool absorbed; /* keys never expanded: q is taken into the latent space instead */
	float *out; /* [n_tokens][n_heads][v] */
};

/* The lightning indexer: the top_k positions of each token with the largest scores (DeepSeek-V3.2-Exp report, section
 * 2.1), sum over heads of weight * relu(scale q . key). Of equal scores the lower position comes first. */
struct moe_index_args {
	int32_t n_heads, head_dim, top_k;
	float scale;
	const float *q; /* [n_tokens][n_heads][head_dim], rotated */
	const float *weights; /* [n_tokens][n_heads] */
	const float *keys; /* [pos0 + n_tokens][head_dim], rotated */
	int64_t pos0, n_tokens;
	int32_t *visible; /* [n_tokens][top_k], ascending; a token at position p < top_k gets 0 .. p and no more */
};

/* Grouped-query attention over a cache of keys and values. */
struct moe_gqa_args {
	int32_t n_heads, n_kv_heads, head_dim;
	float scale;
	const float *q;        /* [n_tokens][n_heads][head_dim], rotated */
	const float *cache;    /* [pos0 + n_tokens][2][n_kv_heads][head_dim]: rotated keys, values */
	int64_t pos0, n_tokens;
	int64_t chunk;         /* position p sees those of its own chunk of so many positions only; 0: all */
	int64_t window;        /* position p sees the last `window` positions, itself included; 0: all */
	int64_t n_keys;        /* every position sees this many positions of the cache; 0: those up to its own */
	/* [n_heads][2 bias_span - 1]: what the score of key s for position p begins with is at p - s = 0 in the middle,
	 * at bias_span - 1 + s - p in general; NULL: nothing */
	const float *bias;
	int64_t bias_span;     /* more than any distance */
	struct moe_weight
	    sinks; /* [n_heads] a logit that takes its share of the softmax to nowhere; data NULL: none */
	float *out;            /* [n_tokens][n_heads][head_dim] */
};

/* What stands between the two halves of an expert: silu(g) u; where limit > 0,
 * (u' + 1) g' sigmoid(alpha g') with g' = min(g, limit), u' = min(max(u, -limit), limit). */
struct moe_glu {
	float limit, alpha;
};

/* The routed experts' networks (SwiGLU, or where gates have no data down(relu(up x))) and their weighted sum:
 * out[t] = sum over the chosen e, ascending, of weight * expert_e(x[t]), or of expert_e(weight * x[t]). */
struct moe_experts_args {
	const float *x; /* [n_tokens][hidden] */
	int64_t n_tokens;
	int32_t hidden, ffn, n_experts, top_k;
	const int32_t *ids; /* [n_tokens][top_k], -1: none */
	const float *weights; /* [n_tokens][top_k] */
	bool scales_input; /* the weight multiplies the expert's input instead of its output */
	const struct moe_weight *gate, *up, *down; /* [n_experts] */
	const struct moe_weight *gate_bias, *up_bias, *down_bias; /* [n_experts], each [rows, 1]; all NULL: none */
	struct moe_glu glu;
	float *out; /* [n_tokens][hidden] */
};

/* Who hears what weights are multiplied with: matrix `matrix` (an expert, a head; 0 where there is one) of what w
 * points to, a weight or the first of an array, met n_rows rows of x, `stride` numbers apart, in the order of the
 * tokens. w is the very pointer that an operation was given. Pointers live until the function returns. */
struct moe_listener {
	void *arg;
	void (*rows)(void *arg, const struct moe_weight *w, int32_t matrix, const float *x, int64_t stride,
	             int64_t n_rows);
};

struct moe_device_ops {
	const char *name;
	bool tells; /* matmul, ffn and experts tell the listener, and memory is the host's */
	/* n floats, or int32_t, zeroed; NULL when out of memory. */
	float *(*alloc)(struct moe_device *device, size_t n);
	void (*release)(struct moe_device *device, float *p);
	MOE_MUST_USE enum moe_status (*upload)(struct moe_device *device, float *to, const float *from, size_t n,
	                                       struct moe_err *err);
	/* Waits for everything before it. */
	MOE_MUST_USE enum moe_status (*download)(struct moe_device *device, float *to, const float *from, size_t n,
	                                         struct moe_err *err);

	/* out[t] = row ids[t] of table; ids are checked by the caller. */
	MOE_MUST_USE enum moe_status (*embed)(struct moe_device *device, const struct moe_weight *table,
	                                      const int32_t *ids, int64_t n_tokens, float *out, struct moe_err *err);
	/* out = x rsqrt(mean(x^2) + eps) * w, rows of `cols` numbers `stride` apart; out may be x. w without data
	 * stands for ones. */
	MOE_MUST_USE enum moe_status (*rmsnorm)(struct moe_device *device, const float *x, int64_t x_stride,
	                                        const struct moe_weight *w, double eps, int64_t n_tokens, float *out,
	                                        int64_t out_stride, struct moe_err *err);
	/* out = (x - mean) rsqrt(variance + eps) * w, rows as long as w without gaps; out may be x. */
	MOE_MUST_USE enum moe_status (*layernorm)(struct moe_device *device, const float *x, const struct moe_weight *w,
	                                          double eps, int64_t n_tokens, float *out, struct moe_err *err);
	/* out[t][r] = sum_k w[r][k] x[t][k]. */
	MOE_MUST_USE enum moe_status (*matmul)(struct moe_device *device, const float *x, int64_t n_tokens,
	                                       const struct moe_weight *w, float *out, struct moe_err *err);
	/* x += y. */
	MOE_MUST_USE enum moe_status (*add)(struct moe_device *device, float *x, const float *y, int64_t n,
	                                    struct moe_err *err);
	/* to[t][0..cols) = from[t][0..cols), strides in numbers. */
	MOE_MUST_USE enum moe_status (*copy_rows)(struct moe_device *device, float *to, int64_t to_stride,
	                                          const float *from, int64_t from_stride, int64_t cols,
	                                          int64_t n_rows, struct moe_err *err);
	MOE_MUST_USE enum moe_status (*rope)(struct moe_device *device, const struct moe_rope_args *args,
	                                     struct moe_err *err);
	MOE_MUST_USE enum moe_status (*mla)(struct moe_device *device, const struct moe_mla_args *args,
	                                    struct moe_err *err);
	MOE_MUST_USE enum moe_status (*index)(struct moe_device *device, const struct moe_index_args *args,
	                                      struct moe_err *err);
	MOE_MUST_USE enum moe_status (*gqa)(struct moe_device *device, const struct moe_gqa_args *args,
	                                    struct moe_err *err);
	/* x[t][i] += bias[i], rows `stride` apart. */
	MOE_MUST_USE enum moe_status (*add_bias)(struct moe_device *device, float *x, int64_t stride,
	                                         const struct moe_weight *bias, int64_t n_tokens, struct moe_err *err);
	/* Rows of `width` numbers, each (a0, b0, a1, b1, ...), become (a0, a1, ..., b0, b1, ...). */
	MOE_MUST_USE enum moe_status (*unpair)(struct moe_device *device, float *x, int64_t width, int64_t n_rows,
	                                       struct moe_err *err);
	/* x = min(max(x, -limit), limit). */
	MOE_MUST_USE enum moe_status (*clamp)(struct moe_device *device, float *x, int64_t n, double limit,
	                                      struct moe_err *err);
	/* x *= factor. */
	MOE_MUST_USE enum moe_status (*scale)(struct moe_device *device, float *x, int64_t n, double factor,
	                                      struct moe_err *err);
	/* x[t][i] *= factors[t]. */
	MOE_MUST_USE enum moe_status (*scale_rows)(struct moe_device *device, float *x, const float *factors,
	                                           int64_t cols, int64_t n_tokens, struct moe_err *err);
	/* x[t][i] *= sigmoid(gate[t]). */
	MOE_MUST_USE enum moe_status (*gate_rows)(struct moe_device *device, float *x, const float *gate, int64_t cols,
	                                          int64_t n_tokens, struct moe_err *err);
	/* out = down(silu(gate x) * up x); where gate has no data, down(relu(up x)). */
	MOE_MUST_USE enum moe_status (*ffn)(struct moe_device *device, const float *x, int64_t n_tokens,
	                                    const struct moe_weight *gate, const struct moe_weight *up,
	                                    const struct moe_weight *down, float *out, struct moe_err *err);
	MOE_MUST_USE enum moe_status (*experts)(struct moe_device *device, const struct moe_experts_args *args,
	                                        struct moe_err *err);
};

/* The head of every device's own struct. */
struct moe_device {
	const struct moe_device_ops *ops;
	const struct moe_listener *listener; /* NULL: nobody; only of devices that tell. Borrowed. */
	void (*close)(struct moe_device *device);
};

static inline void moe_device_tell(const struct moe_device *device, const struct moe_weight *w, int32_t matrix,
                                   const float *x, int64_t stride, int64_t n_rows)
{
	if (device->listener)
		device->listener->rows(device->listener->arg, w, matrix, x, stride, n_rows);
}

/* Names of the devices that this build can open; NULL past the end. */
const char *moe_device_at(size_t i);

/* Names of the instruction sets that the CPU's operations are written for; NULL past the end. */
const char *moe_device_isa_at(size_t i);

/* One of these names of devices. The pool is borrowed and may be NULL. Anything else is MOE_EUSAGE with a sentence. */
MOE_MUST_USE enum moe_status moe_device_open(struct moe_device **out, const char *name, struct moe_pool *pool,
                                             struct moe_err *err);
void moe_device_close(struct moe_device *device); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
