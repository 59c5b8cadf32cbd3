/* Pinned experts. */
#include "placement/pin.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/table.h"
#include "placement/spread.h"

#define LESS (1 - 1e-9)   /* an exchange must gain more than rounding does */

void moe_pins_free(struct moe_pins *pins)
{
	free(pins->pins);
	free(pins->path);
	*pins = (struct moe_pins){0};
}

static int by_place(const void *pa, const void *pb)
{
	const struct moe_pin *a = pa, *b = pb;

	if (a->layer != b->layer)
		return a->layer < b->layer ? -1 : 1;
	if (a->expert != b->expert)
		return a->expert < b->expert ? -1 : 1;
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return (a->line > b->line) - (a->line < b->line);
}

static enum moe_status read_rows(struct moe_pins *pins, const struct moe_table *table, const struct moe_load *load,
                                 int32_t n_ranks, struct moe_err *err)
{
	int c_layer, c_expert, c_rank;

	if (moe_table_need(table, "layer", &c_layer, err) || moe_table_need(table, "expert", &c_expert, err) ||
	    moe_table_need(table, "rank", &c_rank, err))
		return MOE_EFORMAT;
	for (int64_t i = 0; i < pins->n; i++) {
		const bool every = moe_str_eq(moe_table_str(table, i, c_layer), "*");
		int64_t layer = -1, expert, rank;

		if ((!every && moe_table_i64(table, i, c_layer, 0, INT32_MAX - 1, &layer, err)) ||
		    moe_table_i64(table, i, c_expert, 0, load->n_experts - 1, &expert, err) ||
		    moe_table_i64(table, i, c_rank, 0, n_ranks - 1, &rank, err))
			return MOE_EFORMAT;
		pins->pins[i] = (struct moe_pin){ (int32_t)layer, (int32_t)expert, (int32_t)rank,
			                          moe_table_line(table, i) };
		if (!every && moe_load_find(load, (int32_t)layer) < 0)
			return moe_err_set(err, MOE_EFORMAT, "%s: line %lld: there is no load of layer %lld",
			                   moe_table_name(table), (long long)pins->pins[i].line, (long long)layer);
	}
	if (pins->n)
		qsort(pins->pins, (size_t)pins->n, sizeof *pins->pins, by_place);
	for (int64_t i = 1; i < pins->n; i++) {
		const struct moe_pin *a = &pins->pins[i - 1], *b = &pins->pins[i];

		if (a->layer == b->layer && a->expert == b->expert && a->rank == b->rank)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: line %lld: expert %d is pinned to rank %d in line %lld already",
			                   moe_table_name(table), (long long)b->line, b->expert, b->rank,
			                   (long long)a->line);
	}
	return MOE_OK;
}

enum moe_status moe_pins_read(struct moe_pins *pins, const char *path, const struct moe_load *load, int32_t n_ranks,
                              struct moe_err *err)
{
	struct moe_table *table;
	enum moe_status status = moe_table_read(&table, path, err);

	*pins = (struct moe_pins){0};
	if (status)
		return status;
	pins->n = moe_table_rows(table);
	pins->pins = calloc((size_t)pins->n + 1, sizeof *pins->pins);
	pins->path = strdup(path);
	if (!pins->pins || !pins->path)
		status = moe_err_nomem(err, (size_t)pins->n * sizeof *pins->pins, "pins");
	else
		status = read_rows(pins, table, load, n_ranks, err);
	moe_table_free(table);
	if (status)
		moe_pins_free(pins);
	return status;
}

/* One layer being changed. */
struct layer {
	const double *counts;      /* [n_experts] */
	const int32_t *node;       /* [n_ranks] */
	bool nodes_apart;
	int32_t n_ranks, capacity, n_slots;
	struct moe_plan_entry *entries;   /* [n_slots] */
	bool *fixed;               /* [n_slots] */
	int32_t *copies;           /* [n_experts] */
	double *load;              /* [n_ranks] */
};

static int32_t slot_of(const struct layer *y, int32_t rank, int32_t expert)
{
	for (int32_t s = rank * y->capacity; s < (rank + 1) * y->capacity; s++)
		if (y->entries[s].expert == expert)
			return s;
	return -1;
}

static double weight(const struct layer *y, int32_t expert) { return y->counts[expert] / y->copies[expert]; }

static void sum_up(const struct layer *y)
{
	memset(y->load, 0, (size_t)y->n_ranks * sizeof *y->load);
	for (int32_t s = 0; s < y->n_slots; s++)
		y->load[s / y->capacity] += weight(y, y->entries[s].expert);
}

/* The fuller of both ranks after slots a and b change places; INFINITY where they must not. */
static double peak_of(const struct layer *y, int32_t a, int32_t b)
{
	const int32_t p = a / y->capacity, q = b / y->capacity, x = y->entries[a].expert, z = y->entries[b].expert;
	const double d = weight(y, x) - weight(y, z);

	if (p == q || y->fixed[a] || y->fixed[b] || slot_of(y, q, x) >= 0 || slot_of(y, p, z) >= 0 ||
	    (y->nodes_apart && y->node[p] != y->node[q]))
		return INFINITY;
	return fmax(y->load[p] - d, y->load[q] + d);
}

static void exchange(const struct layer *y, int32_t a, int32_t b)
{
	const int32_t x = y->entries[a].expert;

	y->entries[a].expert = y->entries[b].expert;
	y->entries[b].expert = x;
	sum_up(y);
}

/* The place on the rank that a copy at slot a changes with best, or -1. */
static int32_t best_place(const struct layer *y, int32_t a, int32_t rank, double *peak)
{
	int32_t best = -1;

	*peak = INFINITY;
	for (int32_t b = rank * y->capacity; b < (rank + 1) * y->capacity; b++)
		if (peak_of(y, a, b) < *peak) {
			*peak = peak_of(y, a, b);
			best = b;
		}
	return best;
}

/* Makes a copy of x a copy of z. */
static void replace(const struct layer *y, int32_t slot, int32_t z)
{
	y->copies[y->entries[slot].expert]--;
	y->copies[z]++;
	y->entries[slot].expert = z;
	sum_up(y);
}

/* The lightest copy that has others and can become one of the pinned expert, on its rank or on one from which that gets
 * there; -1: there is none. */
static int32_t find_spare(const struct layer *y, const struct moe_pin *pin)
{
	int32_t best = -1;

	for (int32_t s = 0; s < y->n_slots; s++) {
		const int32_t x = y->entries[s].expert, rank = s / y->capacity;
		double peak = 0;

		if (y->fixed[s] || y->copies[x] < 2 || slot_of(y, rank, pin->expert) >= 0 ||
		    (best >= 0 && weight(y, x) >= weight(y, y->entries[best].expert)))
			continue;
		y->entries[s].expert = pin->expert;   /* for as long as it takes to look */
		if (rank == pin->rank || best_place(y, s, pin->rank, &peak) >= 0)
			best = s;
		y->entries[s].expert = x;
	}
	return best;
}

/* Brings a copy of the expert to the rank; false where there is no way. */
static bool bring(const struct layer *y, const struct moe_pin *pin)
{
	double best = INFINITY, peak;
	int32_t from = -1, to = -1;

	for (int32_t a = 0; a < y->n_slots; a++) {
		/* Its group stays where it is. */
		if (y->nodes_apart && y->entries[a].expert == pin->expert &&
		    y->node[a / y->capacity] != y->node[pin->rank])
			return false;
		const int32_t b = y->entries[a].expert == pin->expert ? best_place(y, a, pin->rank, &peak) : -1;

		if (b >= 0 && peak < best) {
			best = peak;
			from = a;
			to = b;
		}
	}
	if (from < 0) {
		from = find_spare(y, pin);
		if (from < 0)
			return false;
		replace(y, from, pin->expert);
		to = from / y->capacity == pin->rank ? from : best_place(y, from, pin->rank, &peak);
	}
	if (to != from)
		exchange(y, from, to);
	y->fixed[to] = true;
	return true;
}

/* Exchanges of what is not pinned, as long as one lowers the busiest rank. */
static void level(const struct layer *y)
{
	for (int32_t round = 0; round < 4 * y->n_slots; round++) {
		int32_t h = 0, a = -1, b = -1;
		double best;

		for (int32_t r = 1; r < y->n_ranks; r++)
			h = y->load[r] > y->load[h] ? r : h;
		best = y->load[h] * LESS;
		for (int32_t i = h * y->capacity; i < (h + 1) * y->capacity; i++)
			for (int32_t k = 0; k < y->n_slots; k++) {
				const double d = weight(y, y->entries[i].expert) - weight(y, y->entries[k].expert);
				double peak;

				if (d <= 0 || y->load[k / y->capacity] + d >= best)
					continue;
				peak = peak_of(y, i, k);
				if (peak < best) {
					best = peak;
					a = i;
					b = k;
				}
			}
		if (a < 0)
			return;
		exchange(y, a, b);
	}
}

static enum moe_status apply(const struct layer *y, const struct moe_pins *pins, int32_t layer, struct moe_err *err)
{
	bool changed = false;

	for (int64_t i = 0; i < pins->n; i++) {
		const struct moe_pin *pin = &pins->pins[i];
		const int32_t slot = slot_of(y, pin->rank, pin->expert);

		if ((pin->layer < 0 || pin->layer == layer) && slot >= 0)
			y->fixed[slot] = true;
	}
	for (int64_t i = 0; i < pins->n; i++) {
		const struct moe_pin *pin = &pins->pins[i];

		if ((pin->layer >= 0 && pin->layer != layer) || slot_of(y, pin->rank, pin->expert) >= 0)
			continue;
		if (!bring(y, pin))
			return moe_err_set(err, MOE_EUSAGE,
			                   "%s: line %lld: expert %d of layer %d cannot come to rank %d: %s",
			                   pins->path, (long long)pin->line, pin->expert, layer, pin->rank,
			                   y->nodes_apart ? "its places are pinned, or the group is on another node"
			                                  : "its places are pinned");
		changed = true;
	}
	if (changed)
		level(y);
	return MOE_OK;
}

enum moe_status moe_pins_apply(const struct moe_pins *pins, const struct moe_topology *topology, bool nodes_apart,
                               const double *counts, int32_t n_experts, int32_t layer, int32_t capacity,
                               struct moe_plan_entry *entries, struct moe_err *err)
{
	struct layer y = { .counts = counts, .node = topology->node, .nodes_apart = nodes_apart,
		           .n_ranks = topology->n_ranks, .capacity = capacity,
		           .n_slots = topology->n_ranks * capacity, .entries = entries };
	enum moe_status status;

	y.fixed = calloc((size_t)y.n_slots, sizeof *y.fixed);
	y.copies = calloc((size_t)n_experts, sizeof *y.copies);
	y.load = calloc((size_t)y.n_ranks, sizeof *y.load);
	if (!y.fixed || !y.copies || !y.load) {
		status = moe_err_nomem(err, (size_t)y.n_slots * sizeof *y.load, "pins");
		goto out;
	}
	for (int32_t s = 0; s < y.n_slots; s++)
		y.copies[entries[s].expert]++;
	sum_up(&y);
	status = apply(&y, pins, layer, err);
	if (!status)
		status = moe_spread_number(entries, y.n_ranks, capacity, n_experts, err);
out:
	free(y.load);
	free(y.copies);
	free(y.fixed);
	return status;
}
