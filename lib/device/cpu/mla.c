/* Multi-head latent attention on the CPU (DeepSeek-V2 report, section 2.1.2 and appendix C).
 *
 *   expanded:  k_h = [W_UK_h z ; k_pe], v_h = W_UV_h z;   score = scale q_h . k_h;   out_h = sum p v_h
 *   absorbed:  q'_h = W_UK_h^T q_nope_h;  score = scale (q'_h . z + q_pe_h . k_pe);  out_h = W_UV_h sum p z
 *
 * Softmax runs online over blocks of the cache that start at multiples of CPU_BLOCK, whatever the call: a token meets
 * the same blocks in the same order however the prompt was cut. Where a token reads some positions only, the step is a
 * run of them within a block: all positions make the same steps as no choice. */
#include "device/cpu/cpu.h"
#include "device/cpu/online.h"

#include <math.h>
#include <string.h>

struct attention {
	struct cpu_device *cpu;
	const struct moe_mla_args *args;
	int64_t tokens_per_item, items_per_head;
};

/* A thread's scratch, carved. */
struct room {
	float *weight; /* [nope + v][kv_lora] of this head */
	float *query; /* [tokens][kv_lora + rope], absorbed only */
	float *keys; /* [CPU_BLOCK][nope + rope], expanded only */
	float *values; /* [CPU_BLOCK][v], expanded only */
	float *scores; /* [CPU_BLOCK] */
	float *sums; /* [tokens][width]: v expanded, kv_lora absorbed */
	struct cpu_online *online; /* [tokens] */
};

static int64_t max_i64(int64_t a, int64_t b) { return a > b ? a : b; }

static size_t room_floats(const struct moe_mla_args *a, int64_t n_tokens)
{
	const int64_t width = a->absorbed ? a->kv_lora : a->v;
	return (size_t)((int64_t)(a->nope + a->v) * a->kv_lora + n_tokens * (a->kv_lora + a->rope) +
	                (int64_t)CPU_BLOCK * (a->nope + a->rope + 2 * a->v + a->nope + 1) + n_tokens * (width + 2) +
	                64);
}

static struct room carve(const struct moe_mla_args *a, float *p, int64_t n_tokens)
{
	struct room room;
	room.online = (struct cpu_online *)(void *)p;
	p += 2 * n_tokens;
	room.weight = p;
	p += (int64_t)(a->nope + a->v) * a->kv_lora;
	room.query = p;
	p += n_tokens * (a->kv_lora + a->rope);
	room.keys = p;
	p += (int64_t)CPU_BLOCK * (a->nope + a->rope);
	room.values = p;
	p += (int64_t)CPU_BLOCK * a->v;
	room.scores = p;
	p += CPU_BLOCK;
	room.sums = p;
	return room;
}

/* Keys and values of one block of the cache. */
static void expand(const struct attention *at, const struct room *room, int64_t block, int64_t n)
{
	const struct moe_mla_args *a = at->args;
	const struct moe_dot *dot = at->cpu->dot;
	const int64_t row = a->kv_lora + a->rope, key = a->nope + a->rope;
	const float *cache = a->cache + block * row;
	dot->tile(room->weight, a->nope, a->kv_lora, cache, n, row, a->kv_lora, room->keys, key);
	dot->tile(room->weight + (int64_t)a->nope * a->kv_lora, a->v, a->kv_lora, cache, n, row, a->kv_lora,
	          room->values, a->v);
	for (int64_t s = 0; s < n; s++)
		memcpy(room->keys + s * key + a->nope, cache + s * row + a->kv_lora, (size_t)a->rope * sizeof(float));
}

/* The query of each token in the latent space: W_UK^T q_nope, then q_pe. */
static void absorb(const struct attention *at, const struct room *room, const float *q, int64_t q_stride,
                   int64_t n_tokens)
{
	const struct moe_mla_args *a = at->args;
	const int64_t row = a->kv_lora + a->rope;
	for (int64_t t = 0; t < n_tokens; t++) {
		float *to = room->query + t * row;
		memset(to, 0, (size_t)a->kv_lora * sizeof *to);
		for (int32_t i = 0; i < a->nope; i++)
			at->cpu->dot->axpy(q[t * q_stride + i], room->weight + (int64_t)i * a->kv_lora, a->kv_lora,
			                   to);
		memcpy(to + a->kv_lora, q + t * q_stride + a->nope, (size_t)a->rope * sizeof *to);
	}
}

/* Positions block + first .. of one token, n of them: q is its query, sums its running sums. */
static void fold(const struct attention *at, const struct room *room, const float *q, int64_t block, int64_t first,
                 int64_t n, struct cpu_online *online, float *sums)
{
	const struct moe_mla_args *a = at->args;
	const int64_t stride = a->absorbed ? a->kv_lora + a->rope : a->v, width = a->absorbed ? a->kv_lora : a->v;
	const int64_t key = a->absorbed ? stride : a->nope + a->rope;
	const float *rows = a->absorbed ? a->cache + (block + first) * stride : room->values + first * stride;
	const float *keys = a->absorbed ? rows : room->keys + first * key;
	at->cpu->dot->tile(keys, n, key, q, 1, key, key, room->scores, n);
	for (int64_t s = 0; s < n; s++)
		room->scores[s] *= a->scale;
	cpu_fold(at->cpu->dot, room->scores, n, rows, stride, width, online, sums);
}

/* The first of n ascending positions that is not below pos. */
static int64_t lower_bound(const int32_t *positions, int64_t n, int64_t pos)
{
	int64_t low = 0;
	while (low < n) {
		const int64_t middle = low + (n - low) / 2;
		if (positions[middle] < pos)
			low = middle + 1;
		else
			n = middle;
	}
	return low;
}

/* What token t of the call reads of the n positions from block on. */
static void fold_visible(const struct attention *at, const struct room *room, const float *q, int64_t t, int64_t block,
                         int64_t n, struct cpu_online *online, float *sums)
{
	const struct moe_mla_args *a = at->args;
	const int32_t *list = a->visible + t * a->n_visible;
	const int64_t all = a->pos0 + t + 1, n_list = all < a->n_visible ? all : a->n_visible;
	for (int64_t i = lower_bound(list, n_list, block), run; i < n_list && list[i] < block + n; i += run) {
		for (run = 1; i + run < n_list && list[i + run] == list[i] + run && list[i + run] < block + n;)
			run++;
		fold(at, room, q, block, list[i] - block, run, online, sums);
	}
}

/* One head, tokens [first, first + n) of the call. */
static void attend(const struct attention *at, int32_t head, int64_t first, int64_t n, struct room room)
{
	const struct moe_mla_args *a = at->args;
	const int64_t key = a->nope + a->rope, row = a->kv_lora + a->rope;
	const int64_t q_stride = (int64_t)a->n_heads * key, out_stride = (int64_t)a->n_heads * a->v;
	const float *q = a->q + first * q_stride + head * key;
	const int64_t width = a->absorbed ? a->kv_lora : a->v;

	cpu_decode_rows(&a->kv_b, (int64_t)head * (a->nope + a->v), a->nope + a->v, room.weight);
	if (a->absorbed)
		absorb(at, &room, q, q_stride, n);
	memset(room.sums, 0, (size_t)(n * width) * sizeof *room.sums);
	for (int64_t t = 0; t < n; t++)
		room.online[t] = (struct cpu_online){ -INFINITY, 0 };

	const int64_t end = a->pos0 + first + n; /* positions visible to the last of these tokens */
	for (int64_t block = 0; block < end; block += CPU_BLOCK) {
		const int64_t in_block = end - block < CPU_BLOCK ? end - block : CPU_BLOCK;
		if (!a->absorbed)
			expand(at, &room, block, in_block);
		for (int64_t t = max_i64(0, block - a->pos0 - first); t < n; t++) {
			const int64_t visible = a->pos0 + first + t + 1 - block;
			const int64_t m = visible < in_block ? visible : in_block;
			const float *query = a->absorbed ? room.query + t * row : q + t * q_stride;
			float *sums = room.sums + t * width;
			if (a->visible)
				fold_visible(at, &room, query, first + t, block, m, &room.online[t], sums);
			else
				fold(at, &room, query, block, 0, m, &room.online[t], sums);
		}
	}
	for (int64_t t = 0; t < n; t++) {
		float *out = a->out + (first + t) * out_stride + (int64_t)head * a->v;
		for (int64_t i = 0; i < width; i++)
			room.sums[t * width + i] /= room.online[t].sum;
		if (a->absorbed)
			at->cpu->dot->tile(room.weight + (int64_t)a->nope * a->kv_lora, a->v, a->kv_lora,
			                   room.sums + t * width, 1, width, width, out, a->v);
		else
			memcpy(out, room.sums + t * width, (size_t)width * sizeof *out);
	}
}

static void attend_piece(void *arg, int64_t begin, int64_t end, int thread)
{
	const struct attention *at = arg;
	for (int64_t item = begin; item < end; item++) {
		const int32_t head = (int32_t)(item / at->items_per_head);
		const int64_t first = item % at->items_per_head * at->tokens_per_item;
		const int64_t left = at->args->n_tokens - first;
		attend(at, head, first, left < at->tokens_per_item ? left : at->tokens_per_item,
		       carve(at->args, at->cpu->scratch[thread].p, at->tokens_per_item));
	}
}

enum moe_status cpu_mla(struct moe_device *device, const struct moe_mla_args *args, struct moe_err *err)
{
	struct cpu_device *cpu = (struct cpu_device *)device;
	/* Expanding a block serves all tokens of an item, so items are as long as leaves every thread some heads. */
	struct attention at = { cpu, args, args->n_tokens, 1 };
	if (args->n_heads < 2 * cpu->n_threads && args->n_tokens > 2 * CPU_BLOCK) {
		at.tokens_per_item = CPU_BLOCK;
		at.items_per_head = (args->n_tokens + CPU_BLOCK - 1) / CPU_BLOCK;
	}
	enum moe_status status = cpu_reserve(cpu, room_floats(args, at.tokens_per_item), err);
	if (status)
		return status;
	moe_pool_for(cpu->pool, args->n_heads * at.items_per_head, 1, attend_piece, &at);
	return MOE_OK;
}
