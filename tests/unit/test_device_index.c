/* The indexer and the attention over what it chose, across blocks of the cache, against plain loops in double. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../tap.h"
#include "device/device.h"

enum { CTX = 421, HEADS = 5, DIM = 11, TOP_K = 37, NOPE = 6, ROPE = 4, V = 7, LORA = 9, ROW = LORA + ROPE };

static void numbers(float *x, size_t n, uint32_t seed)
{
	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525 + 1013904223;
		x[i] = (float)(seed >> 8) / (1 << 23) - 1;
	}
}

static struct moe_device *device_with(struct moe_pool *pool)
{
	struct moe_err err = { 0 };
	struct moe_device *device = NULL;
	ok(!moe_device_open(&device, "cpu", pool, &err), "the CPU device opens %s", err.text);
	return device;
}

/* Tokens first .. first + n of the sequence in one call. */
static void index_some(struct moe_device *device, const float *q, const float *weights, const float *keys,
                       int64_t first, int64_t n, int32_t *visible)
{
	struct moe_err err = { 0 };
	const struct moe_index_args args = {
		.n_heads = HEADS, .head_dim = DIM, .top_k = TOP_K, .scale = 0.3f, .q = q + first * HEADS * DIM,
		.weights = weights + first * HEADS, .keys = keys, .pos0 = first, .n_tokens = n,
		.visible = visible + first * TOP_K,
	};
	if (device->ops->index(device, &args, &err))
		ok(false, "index: %s", err.text);
}

/* How many positions s' come before s in the order of choice. */
static int64_t rank_of(const double *scores, int64_t n, int64_t s)
{
	int64_t rank = 0;
	for (int64_t i = 0; i < n; i++)
		rank += scores[i] > scores[s] || (scores[i] == scores[s] && i < s);
	return rank;
}

static void check_index(struct moe_pool *pool, int32_t *visible)
{
	static float q[CTX * HEADS * DIM], weights[CTX * HEADS], keys[CTX * DIM];
	static int32_t again[CTX * TOP_K];
	struct moe_device *device = device_with(NULL), *threads = device_with(pool);
	int64_t n_wrong = 0, n_equal = 0;

	numbers(q, sizeof q / sizeof *q, 1);
	numbers(weights, sizeof weights / sizeof *weights, 2);
	numbers(keys, sizeof keys / sizeof *keys, 3);
	/* keys that score the same, in other blocks too: the lower position wins */
	for (int64_t s = 1; s < CTX; s += 2)
		memcpy(keys + s * DIM, keys + (s * 7 % 200 & ~INT64_C(1)) * DIM, DIM * sizeof *keys);
	index_some(device, q, weights, keys, 0, CTX, visible);
	for (int64_t t = 0; t < CTX; t++) {
		double scores[CTX];
		int64_t n = 0;
		for (int64_t s = 0; s <= t; s++) {
			scores[s] = 0;
			for (int64_t h = 0; h < HEADS; h++) {
				double product = 0;
				for (int64_t i = 0; i < DIM; i++)
					product += (double)q[(t * HEADS + h) * DIM + i] * keys[s * DIM + i];
				scores[s] += weights[t * HEADS + h] * fmax(0, 0.3 * product);
			}
		}
		for (int64_t s = 0; s <= t; s++) {
			const bool chosen = n < TOP_K && n <= t && visible[t * TOP_K + n] == s;
			n_wrong += chosen != (rank_of(scores, t + 1, s) < TOP_K);
			n += chosen;
			for (int64_t i = 0; i < s; i++)
				n_equal += scores[i] == scores[s];
		}
		n_wrong += n != (t < TOP_K ? t + 1 : TOP_K);
	}
	is_i64(n_wrong, 0, "the largest scores, in order");
	ok(n_equal > 1000, "%lld pairs of equal ones among them", (long long)n_equal);
	for (int64_t first = 0, n = 1; first < CTX; first += n, n = n % 50 + 9)
		index_some(threads, q, weights, keys, first, first + n < CTX ? n : CTX - first, again);
	n_wrong = 0;
	for (int64_t t = 0; t < CTX; t++)
		n_wrong += memcmp(visible + t * TOP_K, again + t * TOP_K,
		                  sizeof *again * (size_t)(t < TOP_K ? t + 1 : TOP_K)) != 0;
	is_i64(n_wrong, 0, "the same in other calls, with threads");

	weights[(CTX - 1) * HEADS] = NAN;
	index_some(device, q, weights, keys, CTX - 1, 1, visible);
	n_wrong = 0;
	for (int64_t i = 0; i < TOP_K; i++)
		n_wrong += visible[(CTX - 1) * TOP_K + i] != i;
	is_i64(n_wrong, 0, "without any number, the first positions");
	memcpy(visible, again, sizeof again);
	moe_device_close(threads);
	moe_device_close(device);
}

struct attention {
	float q[CTX * HEADS * (NOPE + ROPE)], cache[CTX * ROW], kv_b[HEADS * (NOPE + V) * LORA];
};

static void attend(struct moe_device *device, const struct attention *x, int64_t first, int64_t n, bool absorbed,
                   const int32_t *visible, int64_t n_visible, float *out)
{
	struct moe_err err = { 0 };
	const struct moe_mla_args args = {
		.n_heads = HEADS, .nope = NOPE, .rope = ROPE, .v = V, .kv_lora = LORA, .scale = 0.4f,
		.q = x->q + first * HEADS * (NOPE + ROPE), .cache = x->cache, .pos0 = first, .n_tokens = n,
		.visible = visible ? visible + first * n_visible : NULL, .n_visible = n_visible,
		.kv_b = { .codec = moe_codec_by_name("f32"), .data = (const uint8_t *)x->kv_b,
		          .rows = HEADS * (NOPE + V), .cols = LORA },
		.absorbed = absorbed, .out = out + first * HEADS * V,
	};
	if (device->ops->mla(device, &args, &err))
		ok(false, "mla: %s", err.text);
}

/* One head of one token by the formula: out [V]. */
static void plain(const struct attention *x, int64_t t, int64_t head, const int32_t *visible, double *out)
{
	const float *q = x->q + (t * HEADS + head) * (NOPE + ROPE), *w = x->kv_b + head * (NOPE + V) * LORA;
	const int64_t n = t < TOP_K ? t + 1 : TOP_K;
	double sum = 0;

	memset(out, 0, V * sizeof *out);
	for (int64_t j = 0; j < n; j++) {
		const float *row = x->cache + visible[t * TOP_K + j] * ROW;
		double score = 0;
		for (int64_t i = 0; i < NOPE; i++)
			for (int64_t c = 0; c < LORA; c++)
				score += (double)q[i] * w[i * LORA + c] * row[c];
		for (int64_t i = 0; i < ROPE; i++)
			score += (double)q[NOPE + i] * row[LORA + i];
		const double p = exp(0.4 * score);
		sum += p;
		for (int64_t i = 0; i < V; i++)
			for (int64_t c = 0; c < LORA; c++)
				out[i] += p * w[(NOPE + i) * LORA + c] * row[c];
	}
	for (int64_t i = 0; i < V; i++)
		out[i] /= sum;
}

static void check_attention(struct moe_pool *pool, const int32_t *visible)
{
	static struct attention x;
	static float out[2][CTX * HEADS * V], again[CTX * HEADS * V];
	static int32_t all[CTX * CTX];
	struct moe_device *device = device_with(NULL), *threads = device_with(pool);

	numbers(x.q, sizeof x.q / sizeof *x.q, 4);
	numbers(x.cache, sizeof x.cache / sizeof *x.cache, 5);
	numbers(x.kv_b, sizeof x.kv_b / sizeof *x.kv_b, 6);
	for (int64_t i = 0; i < CTX * CTX; i++)
		all[i] = (int32_t)(i % CTX);
	for (int form = 0; form < 2; form++) {
		const char *name = form ? "absorbed" : "expanded";
		double error = 0;
		attend(device, &x, 0, CTX, form, visible, TOP_K, out[form]);
		for (int64_t t = 0; t < CTX; t++)
			for (int64_t head = 0; head < HEADS; head++) {
				double want[V];
				plain(&x, t, head, visible, want);
				for (int64_t i = 0; i < V; i++)
					error = fmax(error, fabs(out[form][(t * HEADS + head) * V + i] - want[i]));
			}
		ok(error < 2e-6, "%s: what the chosen positions give (%.2g)", name, error);
		for (int64_t first = 0, n = 1; first < CTX; first += n, n = n % 50 + 9)
			attend(threads, &x, first, first + n < CTX ? n : CTX - first, form, visible, TOP_K, again);
		ok(!memcmp(out[form], again, sizeof again), "%s: the same bits in other calls, with threads", name);
		attend(device, &x, 0, CTX, form, NULL, 0, out[form]);
		attend(device, &x, 0, CTX, form, all, CTX, again);
		ok(!memcmp(out[form], again, sizeof again), "%s: choosing all gives the bits of no choice", name);
	}
	moe_device_close(threads);
	moe_device_close(device);
}

int main(void)
{
	static int32_t visible[CTX * TOP_K];
	struct moe_pool *pool = NULL;
	struct moe_err err = { 0 };
	ok(!moe_pool_new(&pool, 3, &err), "threads %s", err.text);
	check_index(pool, visible);
	check_attention(pool, visible);
	moe_pool_free(pool);
	return done();
}
