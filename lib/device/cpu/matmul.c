/* Matrix products on the CPU: rows of the weight are decoded once per call and meet every token. */
#include "device/cpu/cpu.h"

/* Rows decoded together: enough to reuse each token from the cache, few enough to stay in it. */
enum { TILE_ROWS = 16 };

struct matmul {
	struct cpu_device *cpu;
	const float *x;
	const struct moe_weight *w;
	int64_t n_tokens;
	float *out;
};

static void matmul_piece(void *arg, int64_t begin, int64_t end, int thread)
{
	const struct matmul *m = arg;
	float *rows = m->cpu->scratch[thread].p;
	cpu_decode_rows(m->w, begin, end - begin, rows);
	m->cpu->dot->tile(rows, end - begin, m->w->cols, m->x, m->n_tokens, m->w->cols, m->w->cols, m->out + begin,
	                  m->w->rows);
}

enum moe_status cpu_matmul(struct moe_device *device, const float *x, int64_t n_tokens, const struct moe_weight *w,
                           float *out, struct moe_err *err)
{
	struct cpu_device *cpu = (struct cpu_device *)device;
	enum moe_status status = cpu_reserve(cpu, (size_t)(TILE_ROWS * w->cols), err);
	if (status)
		return status;
	moe_device_tell(device, w, 0, x, w->cols, n_tokens);
	struct matmul m = { cpu, x, w, n_tokens, out };
	moe_pool_for(cpu->pool, w->rows, TILE_ROWS, matmul_piece, &m);
	return MOE_OK;
}
