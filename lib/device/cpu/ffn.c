/* SwiGLU feed-forward networks on the CPU: one for all tokens, or the chosen experts of each.
 *
 *   ffn(x) = down (silu(gate x) * (up x)); experts may have biases on all three, and moe_glu's clamped form
 *   without a gate: down relu(up x) (Raffel et al. 2020)
 *   moe(x) = sum over the chosen experts e, in ascending order, of weight_e ffn_e(x), or of ffn_e(weight_e x)
 *
 * The routed form gathers the tokens of each expert, so that an expert's matrices are read once per call. */
#include "device/cpu/cpu.h"

#include <math.h>
#include <string.h>

/* Rows decoded together, and tokens that meet them at a time. */
enum { TILE_ROWS = 16, TILE_TOKENS = 32 };

/* One network applied to some rows of x; the rows and where the results go are consecutive in `in` and `mid`. */
struct network {
	const struct moe_weight *gate, *up, *down; /* gate without data: none */
	const struct moe_weight *gate_bias, *up_bias, *down_bias; /* [rows, 1], all or none of them NULL */
	struct moe_glu glu;
	const float *in; /* [n][hidden] */
	float *mid; /* [n][ffn] */
	float *out; /* [n][hidden] */
	int64_t n;
};

struct job {
	struct cpu_device *cpu;
	const struct network *networks;
	int64_t tiles_per_network;
};

static int64_t tiles_of(int64_t rows) { return (rows + TILE_ROWS - 1) / TILE_ROWS; }

static float clamped(float x, float limit) { return x > limit ? limit : x < -limit ? -limit : x; }

/* g = the activation of g and u, both [n]. */
static void activate(const struct moe_glu *glu, float *g, const float *u, int64_t n)
{
	if (glu->limit <= 0) {
		for (int64_t i = 0; i < n; i++)
			g[i] = cpu_silu(g[i]) * u[i];
		return;
	}
	for (int64_t i = 0; i < n; i++) {
		const float gate = g[i] > glu->limit ? glu->limit : g[i];
		g[i] = (clamped(u[i], glu->limit) + 1) * (gate / (1.0f + expf(-glu->alpha * gate)));
	}
}

static void relu(float *x, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		x[i] = x[i] > 0 ? x[i] : 0;
}

/* y [m][n] += the biases [row, row + n), y's rows `stride` apart. */
static void add_biases(const struct moe_weight *bias, int64_t row, int64_t n, int64_t m, int64_t stride, float *y)
{
	float values[TILE_ROWS];
	cpu_decode_rows(bias, row, n, values);
	for (int64_t t = 0; t < m; t++)
		for (int64_t i = 0; i < n; i++)
			y[t * stride + i] += values[i];
}

/* mid = glu(gate x, up x), or relu(up x), for one tile of rows. */
static void enter_piece(void *arg, int64_t begin, int64_t end, int thread)
{
	const struct job *job = arg;
	for (int64_t item = begin; item < end; item++) {
		const struct network *net = &job->networks[item / job->tiles_per_network];
		const int64_t row = item % job->tiles_per_network * TILE_ROWS, cols = net->up->cols,
			      ffn = net->up->rows;
		const int64_t n = row + TILE_ROWS <= ffn ? TILE_ROWS : ffn - row;
		float *gate = job->cpu->scratch[thread].p, *up = gate + TILE_ROWS * cols;
		float *g = up + TILE_ROWS * cols, *u = g + TILE_TOKENS * TILE_ROWS;
		const bool gated = net->gate->data != NULL;
		if (gated)
			cpu_decode_rows(net->gate, row, n, gate);
		cpu_decode_rows(net->up, row, n, up);
		for (int64_t t = 0; t < net->n; t += TILE_TOKENS) {
			const int64_t m = t + TILE_TOKENS <= net->n ? TILE_TOKENS : net->n - t;
			if (gated)
				job->cpu->dot->tile(gate, n, cols, net->in + t * cols, m, cols, cols, g, n);
			job->cpu->dot->tile(up, n, cols, net->in + t * cols, m, cols, cols, u, n);
			if (gated && net->gate_bias)
				add_biases(net->gate_bias, row, n, m, n, g);
			if (net->up_bias)
				add_biases(net->up_bias, row, n, m, n, u);
			if (gated)
				activate(&net->glu, g, u, m * n);
			else
				relu(u, m * n);
			const float *result = gated ? g : u;
			for (int64_t i = 0; i < m * n; i++)
				net->mid[(t + i / n) * ffn + row + i % n] = result[i];
		}
	}
}

/* out = down mid, for one tile of rows. */
static void leave_piece(void *arg, int64_t begin, int64_t end, int thread)
{
	const struct job *job = arg;
	for (int64_t item = begin; item < end; item++) {
		const struct network *net = &job->networks[item / job->tiles_per_network];
		const int64_t row = item % job->tiles_per_network * TILE_ROWS, cols = net->down->cols,
			      hidden = net->down->rows;
		const int64_t n = row + TILE_ROWS <= hidden ? TILE_ROWS : hidden - row;
		float *down = job->cpu->scratch[thread].p;
		cpu_decode_rows(net->down, row, n, down);
		job->cpu->dot->tile(down, n, cols, net->mid, net->n, cols, cols, net->out + row, hidden);
		if (net->down_bias)
			add_biases(net->down_bias, row, n, net->n, hidden, net->out + row);
	}
}

/* All networks have the same shape. */
static enum moe_status run_networks(struct cpu_device *cpu, const struct network *networks, int64_t n_networks,
                                    struct moe_err *err)
{
	if (n_networks == 0)
		return MOE_OK;
	const int64_t hidden = networks->up->cols, ffn = networks->up->rows;
	const int64_t widest = hidden > ffn ? hidden : ffn;
	enum moe_status status = cpu_reserve(cpu, (size_t)(2 * TILE_ROWS * (widest + TILE_TOKENS)), err);
	if (status)
		return status;
	struct job job = { cpu, networks, tiles_of(ffn) };
	moe_pool_for(cpu->pool, n_networks * job.tiles_per_network, 1, enter_piece, &job);
	job.tiles_per_network = tiles_of(hidden);
	moe_pool_for(cpu->pool, n_networks * job.tiles_per_network, 1, leave_piece, &job);
	return MOE_OK;
}

enum moe_status cpu_ffn(struct moe_device *device, const float *x, int64_t n_tokens, const struct moe_weight *gate,
                        const struct moe_weight *up, const struct moe_weight *down, float *out, struct moe_err *err)
{
	struct cpu_device *cpu = (struct cpu_device *)device;
	enum moe_status status = cpu_reserve_shared(cpu, (size_t)(n_tokens * up->rows), err);
	if (status)
		return status;
	const struct network net = { .gate = gate, .up = up, .down = down, .in = x, .mid = cpu->shared.p, .out = out,
		                     .n = n_tokens };
	moe_device_tell(device, up, 0, x, up->cols, n_tokens);
	status = run_networks(cpu, &net, 1, err);
	if (!status)
		moe_device_tell(device, down, 0, net.mid, down->cols, n_tokens);
	return status;
}

/* Choices sorted by expert: the rows of expert e are [offset[e], offset[e+1]); row_of[choice] is a choice's row. */
struct groups {
	int64_t *offset; /* [n_experts + 1] */
	int64_t *row_of; /* [n_tokens][top_k], -1: no choice */
};

static void group_choices(const struct moe_experts_args *a, struct groups *g)
{
	const int64_t n_choices = a->n_tokens * a->top_k;
	memset(g->offset, 0, (size_t)(a->n_experts + 1) * sizeof *g->offset);
	for (int64_t c = 0; c < n_choices; c++)
		if (a->ids[c] >= 0)
			g->offset[a->ids[c] + 1]++;
	for (int32_t e = 0; e < a->n_experts; e++)
		g->offset[e + 1] += g->offset[e];
	/* offset[e] serves as the cursor of e and ends as the start of e + 1: shift it back afterwards. */
	for (int64_t c = 0; c < n_choices; c++)
		g->row_of[c] = a->ids[c] >= 0 ? g->offset[a->ids[c]]++ : -1;
	memmove(g->offset + 1, g->offset, (size_t)a->n_experts * sizeof *g->offset);
	g->offset[0] = 0;
}

struct combine {
	const struct moe_experts_args *args;
	const struct groups *groups;
	const float *rows; /* [choices][hidden] */
};

static void combine_piece(void *arg, int64_t begin, int64_t end, int thread)
{
	(void)thread;
	const struct combine *c = arg;
	const struct moe_experts_args *a = c->args;
	for (int64_t t = begin; t < end; t++) {
		float *out = a->out + t * a->hidden;
		memset(out, 0, (size_t)a->hidden * sizeof *out);
		const int32_t *ids = a->ids + t * a->top_k;
		/* Selection of the next larger id: top_k is small and the list is not ours to sort. */
		for (int32_t last = -1;;) {
			int32_t next = -1;
			for (int32_t k = 0; k < a->top_k; k++)
				if (ids[k] > last && (next < 0 || ids[k] < ids[next]))
					next = k;
			if (next < 0)
				break;
			last = ids[next];
			const int64_t choice = t * a->top_k + next;
			const float *row = c->rows + c->groups->row_of[choice] * a->hidden;
			const float weight = a->scales_input ? 1 : a->weights[choice];
			for (int32_t i = 0; i < a->hidden; i++)
				out[i] += weight * row[i];
		}
	}
}

struct gather {
	const struct moe_experts_args *args;
	const struct groups *groups;
	float *rows;
};

static void gather_piece(void *arg, int64_t begin, int64_t end, int thread)
{
	(void)thread;
	const struct gather *g = arg;
	const struct moe_experts_args *a = g->args;
	for (int64_t c = begin; c < end; c++) {
		if (g->groups->row_of[c] < 0)
			continue;
		float *row = g->rows + g->groups->row_of[c] * a->hidden;
		memcpy(row, a->x + c / a->top_k * a->hidden, (size_t)a->hidden * sizeof *row);
		for (int32_t i = 0; a->scales_input && i < a->hidden; i++)
			row[i] *= a->weights[c];
	}
}

/* Floats that hold n 64-bit integers. */
static size_t as_floats(int64_t n) { return (size_t)n * (sizeof(int64_t) / sizeof(float)); }

enum moe_status cpu_experts(struct moe_device *device, const struct moe_experts_args *a, struct moe_err *err)
{
	struct cpu_device *cpu = (struct cpu_device *)device;
	const int64_t n_choices = a->n_tokens * a->top_k;
	const size_t networks_floats = ((size_t)a->n_experts * sizeof(struct network) + 63) / 64 * 16;
	const size_t integers = (as_floats(a->n_experts + 1 + n_choices) + 15) / 16 * 16;
	const size_t rows = (size_t)n_choices * (size_t)(2 * a->hidden + a->ffn);
	enum moe_status status = cpu_reserve_shared(cpu, networks_floats + integers + rows, err);
	if (status)
		return status;

	struct network *networks = (struct network *)(void *)cpu->shared.p;
	struct groups groups = { .offset = (int64_t *)(void *)(cpu->shared.p + networks_floats) };
	groups.row_of = groups.offset + a->n_experts + 1;
	float *in = cpu->shared.p + networks_floats + integers;
	float *out = in + n_choices * a->hidden, *mid = out + n_choices * a->hidden;

	group_choices(a, &groups);
	struct gather gather = { a, &groups, in };
	moe_pool_for(cpu->pool, n_choices, 64, gather_piece, &gather);

	int64_t n_networks = 0;
	for (int32_t e = 0; e < a->n_experts; e++) {
		const int64_t first = groups.offset[e], n = groups.offset[e + 1] - first;
		if (n == 0)
			continue;
		networks[n_networks++] = (struct network){
			.gate = &a->gate[e],
			.up = &a->up[e],
			.down = &a->down[e],
			.gate_bias = a->gate_bias ? &a->gate_bias[e] : NULL,
			.up_bias = a->up_bias ? &a->up_bias[e] : NULL,
			.down_bias = a->down_bias ? &a->down_bias[e] : NULL,
			.glu = a->glu,
			.in = in + first * a->hidden,
			.mid = mid + first * a->ffn,
			.out = out + first * a->hidden,
			.n = n,
		};
	}
	status = run_networks(cpu, networks, n_networks, err);
	if (status)
		return status;
	for (int32_t e = 0; device->listener && e < a->n_experts; e++) {
		const int64_t first = groups.offset[e], n = groups.offset[e + 1] - first;
		moe_device_tell(device, a->up, e, in + first * a->hidden, a->hidden, n);
		moe_device_tell(device, a->down, e, mid + first * a->ffn, a->ffn, n);
	}
	struct combine combine = { a, &groups, out };
	moe_pool_for(cpu->pool, a->n_tokens, 8, combine_piece, &combine);
	return MOE_OK;
}
