/* Loads: adding routings, merging parts, the load table written; load_table.c reads it. */
#include "stats/load.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/table.h"

__extension__ typedef unsigned __int128 u128;

#define GATE_UNIT 0x1p40 /* one gate of 1 is this many units */

static u128 wide(const struct moe_gate_sum *sum) { return (u128)sum->hi << 64 | sum->lo; }

static void store_wide(struct moe_gate_sum *sum, u128 value)
{
	sum->lo = (uint64_t)value;
	sum->hi = (uint64_t)(value >> 64);
}

/* A gate of at least 2^-17 is a whole number of units in itself (24 bits of mantissa); smaller ones are rounded, each
 * by itself, so the order of adding never shows. */
void moe_gate_sum_add(struct moe_gate_sum *sum, float gate)
{
	double units = (double)gate * GATE_UNIT;
	u128 add = units < 0x1p62 ? (u128)llrint(units) : (u128)units;

	store_wide(sum, wide(sum) + add);
}

void moe_gate_sum_set(struct moe_gate_sum *sum, double value) { store_wide(sum, (u128)nearbyint(value * GATE_UNIT)); }

void moe_gate_sum_merge(struct moe_gate_sum *into, const struct moe_gate_sum *from)
{
	u128 sum;

	if (__builtin_add_overflow(wide(into), wide(from), &sum))
		sum = ~(u128)0;
	store_wide(into, sum);
}

double moe_gate_sum_value(const struct moe_gate_sum *sum) { return (double)wide(sum) / GATE_UNIT; }

static size_t n_pairs(const struct moe_load *load) { return (size_t)load->n_layers * (size_t)load->n_experts; }

enum moe_status moe_load_init(struct moe_load *load, const int32_t *layers, int32_t n_layers, int32_t n_experts,
                              struct moe_err *err)
{
	struct moe_load new = {.n_layers = n_layers, .n_experts = n_experts};
	size_t n;

	*load = (struct moe_load){0};
	if (n_layers < 1 || n_experts < 1)
		return moe_err_set(err, MOE_EFORMAT,
		                   "a load of %d layers and %d experts: expected at least one of each", n_layers,
		                   n_experts);
	for (int32_t i = 1; i < n_layers; i++)
		if (layers[i] <= layers[i - 1])
			return moe_err_set(err, MOE_EFORMAT, "layer %d follows layer %d: expected ascending indices",
			                   layers[i], layers[i - 1]);
	n = n_pairs(&new);
	new.layers = calloc((size_t)n_layers, sizeof *new.layers);
	new.counts = calloc(n, sizeof *new.counts);
	new.weights = calloc(n, sizeof *new.weights);
	new.model = calloc(1, 1);
	if (!new.layers || !new.counts || !new.weights || !new.model) {
		moe_load_free(&new);
		return moe_err_nomem(err, n * (sizeof *new.counts + sizeof *new.weights), "the load of every expert");
	}
	memcpy(new.layers, layers, (size_t)n_layers * sizeof *layers);
	*load = new;
	return MOE_OK;
}

void moe_load_free(struct moe_load *load)
{
	free(load->layers);
	free(load->counts);
	free(load->weights);
	free(load->model);
	*load = (struct moe_load){0};
}

enum moe_status moe_load_set_model(struct moe_load *load, const char *name, struct moe_err *err)
{
	char *copy = strdup(name ? name : "");

	if (!copy)
		return moe_err_nomem(err, strlen(name) + 1, "the model's name");
	for (char *p = copy; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f)
			*p = '_';
	free(load->model);
	load->model = copy;
	return MOE_OK;
}

int32_t moe_load_find(const struct moe_load *load, int32_t layer)
{
	int32_t lo = 0, hi = load->n_layers;

	while (lo < hi) {
		int32_t mid = lo + (hi - lo) / 2;

		if (load->layers[mid] < layer)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < load->n_layers && load->layers[lo] == layer ? lo : -1;
}

enum moe_status moe_load_add(struct moe_load *load, const struct moe_routing *routing, struct moe_err *err)
{
	int32_t row = moe_load_find(load, routing->layer), n_experts = load->n_experts;
	const int32_t *ids = routing->ids;
	const float *gates = routing->weights;
	struct moe_gate_sum *weights;
	uint64_t *counts;
	int64_t n = routing->n_tokens * routing->top_k;

	if (row < 0)
		return moe_err_set(err, MOE_EFORMAT, "layer %d is not one of the %d layers of this load",
		                   routing->layer, load->n_layers);
	counts = load->counts + (size_t)row * (size_t)n_experts;
	weights = load->weights + (size_t)row * (size_t)n_experts;
	for (int64_t i = 0; i < n; i++) {
		int32_t id = ids[i];

		if (id == -1)
			continue;
		if (id < 0 || id >= n_experts)
			return moe_err_set(err, MOE_EFORMAT, "layer %d, token %jd: expert %d, expected 0 to %d",
			                   routing->layer, i / routing->top_k, id, n_experts - 1);
		if (gates) {
			if (!(gates[i] >= 0 && gates[i] <= MOE_GATE_MAX))
				return moe_err_set(
					err, MOE_EFORMAT, "layer %d, token %jd: a gate of %g, expected 0 to %g",
					routing->layer, i / routing->top_k, (double)gates[i], (double)MOE_GATE_MAX);
			moe_gate_sum_add(weights + id, gates[i]);
		}
		counts[id]++;
	}
	return MOE_OK;
}

#define UNLIKE "the loads of different models cannot be added: "

enum moe_status moe_load_alike(const struct moe_load *a, const struct moe_load *b, struct moe_err *err)
{
	if (*a->model && *b->model && strcmp(a->model, b->model) != 0)
		return moe_err_set(err, MOE_EFORMAT, UNLIKE "'%s' and '%s'", a->model, b->model);
	if (a->n_experts != b->n_experts)
		return moe_err_set(err, MOE_EFORMAT, UNLIKE "%d experts and %d experts", a->n_experts, b->n_experts);
	if (a->n_layers != b->n_layers)
		return moe_err_set(err, MOE_EFORMAT, UNLIKE "%d MoE layers and %d MoE layers", a->n_layers,
		                   b->n_layers);
	for (int32_t i = 0; i < a->n_layers; i++)
		if (a->layers[i] != b->layers[i])
			return moe_err_set(err, MOE_EFORMAT, UNLIKE "layer %d where the other has layer %d",
			                   a->layers[i], b->layers[i]);
	return MOE_OK;
}

enum moe_status moe_load_merge(struct moe_load *into, const struct moe_load *from, struct moe_err *err)
{
	enum moe_status status = moe_load_alike(into, from, err);
	size_t n = n_pairs(into);

	if (status)
		return status;
	for (size_t i = 0; i < n; i++)
		if (from->counts[i] > UINT64_MAX - into->counts[i])
			return moe_err_set(err, MOE_EFORMAT,
			                   "layer %d, expert %zu: the sum of the counts passes 2^64",
			                   into->layers[i / (size_t)into->n_experts], i % (size_t)into->n_experts);
	if (!*into->model && *from->model) {
		status = moe_load_set_model(into, from->model, err);
		if (status)
			return status;
	}
	for (size_t i = 0; i < n; i++) {
		into->counts[i] += from->counts[i];
		moe_gate_sum_merge(into->weights + i, from->weights + i);
	}
	/* A sum with an unknown part is unknown. */
	if (!into->n_tokens || !from->n_tokens || from->n_tokens > UINT64_MAX - into->n_tokens)
		into->n_tokens = 0;
	else
		into->n_tokens += from->n_tokens;
	return MOE_OK;
}

enum moe_status moe_load_pick(struct moe_load *out, const struct moe_load *from, const int32_t *layers,
                              int32_t n_layers, struct moe_err *err)
{
	size_t n = (size_t)from->n_experts;
	enum moe_status status = moe_load_init(out, layers, n_layers, from->n_experts, err);

	if (status)
		return status;
	for (int32_t i = 0; i < n_layers; i++) {
		int32_t row = moe_load_find(from, layers[i]);

		if (row < 0) {
			moe_load_free(out);
			return moe_err_set(err, MOE_EUSAGE, "there is no layer %d: the MoE layers are %d to %d",
			                   layers[i], from->layers[0], from->layers[from->n_layers - 1]);
		}
		memcpy(out->counts + (size_t)i * n, from->counts + (size_t)row * n, n * sizeof *out->counts);
		memcpy(out->weights + (size_t)i * n, from->weights + (size_t)row * n, n * sizeof *out->weights);
	}
	out->n_tokens = from->n_tokens;
	status = moe_load_set_model(out, from->model, err);
	if (status)
		moe_load_free(out);
	return status;
}

void moe_load_print(const struct moe_load *load, struct moe_buf *out)
{
	if (*load->model) {
		moe_buf_adds(out, "#model=");
		moe_table_quote(out, load->model, strlen(load->model));
		moe_buf_addc(out, '\n');
	}
	if (load->n_tokens)
		moe_buf_addf(out, "#tokens=%" PRIu64 "\n", load->n_tokens);
	moe_buf_adds(out, "layer\texpert\tcount\tweight\n");
	for (int32_t l = 0; l < load->n_layers; l++)
		for (int32_t e = 0; e < load->n_experts; e++) {
			size_t pair = (size_t)l * (size_t)load->n_experts + (size_t)e;

			moe_buf_addf(out, "%d\t%d\t%" PRIu64 "\t", load->layers[l], e, load->counts[pair]);
			moe_buf_add_f64(out, moe_gate_sum_value(load->weights + pair));
			moe_buf_addc(out, '\n');
		}
}
