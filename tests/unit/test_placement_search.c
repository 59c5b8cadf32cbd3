/* Searching planners: `optimal` against trying everything, `search` against `optimal` and against the planners it
 * starts from, bounds against both, budgets. */
#include "../tap.h"

#include <math.h>
#include <time.h>

#include "base/pool.h"
#include "base/rng.h"
#include "placement/bound.h"
#include "placement/cost.h"
#include "placement/exact.h"
#include "placement/planner.h"

struct shape {
	int32_t n_experts, n_ranks, capacity, n_groups, n_nodes;
};

/* Peak-to-average of the first layer; negative: an error, in err. */
static double plan_peak(const char *name, const struct moe_load *load, const struct shape *shape, double seconds,
                        char hash[33], struct moe_err *err)
{
	struct moe_topology topology;
	struct moe_planner_opts opts = {.topology = &topology, .n_slots = shape->n_ranks * shape->capacity,
	                                .n_groups = shape->n_groups, .seconds = seconds};
	struct moe_plan plan = {0};
	struct moe_cost cost = {.peak_to_average = -1};

	*err = (struct moe_err){0};
	if (moe_topology_even(&topology, shape->n_ranks, shape->n_nodes, err))
		return -1;
	if (moe_planner_run(&plan, moe_planner_by_name(name), &opts, load, NULL, err) ||
	    moe_cost_layer(&plan, load, 0, &cost, err) || (hash && moe_plan_hash(&plan, hash, err)))
		cost.peak_to_average = -1;
	moe_plan_free(&plan);
	moe_topology_free(&topology);
	return cost.peak_to_average;
}

static enum moe_status random_load(struct moe_load *load, int32_t n_experts, uint64_t seed, struct moe_err *err)
{
	const int32_t layer = 0;
	enum moe_status status = moe_load_init(load, &layer, 1, n_experts, err);

	for (int32_t e = 0; e < n_experts && !status; e++) {
		const double u = moe_rng_f64(seed, 7, (uint64_t)e);

		load->counts[e] = u < 0.1 ? 0 : u < 0.2 ? 50 : (uint64_t)(100 / (1 - u * 0.97));
	}
	return status;
}

/* Every packing of everything: the least peak. */
struct brute {
	const double *load;
	int32_t n, n_bins, capacity;
	int32_t bins[16];
	double best;
};

static void brute_force(struct brute *b, int32_t place)
{
	if (place < b->n_bins * b->capacity) {
		const int32_t in_bin = place % b->capacity;

		/* Within a bin ascending: this is also what keeps an item from being there twice. */
		for (int32_t e = in_bin ? b->bins[place - 1] + 1 : 0; e < b->n; e++) {
			b->bins[place] = e;
			brute_force(b, place + 1);
		}
		return;
	}
	int32_t copies[16] = {0};
	double peak = 0;

	for (int32_t i = 0; i < place; i++)
		copies[b->bins[i]]++;
	for (int32_t e = 0; e < b->n; e++)
		if (!copies[e])
			return;
	for (int32_t r = 0; r < b->n_bins; r++) {
		double sum = 0;

		for (int32_t k = 0; k < b->capacity; k++)
			sum += b->load[b->bins[r * b->capacity + k]] / copies[b->bins[r * b->capacity + k]];
		peak = fmax(peak, sum);
	}
	b->best = fmin(b->best, peak);
}

static void check_exact(void)
{
	static const int32_t shapes[][3] = {{4, 3, 2}, {3, 3, 2}, {5, 2, 3}, {5, 3, 2}, {6, 3, 2}, {4, 2, 4}, {4, 4, 2},
	                                    {7, 4, 2}, {6, 3, 3}, {1, 3, 1}, {5, 6, 1}, {2, 4, 2}};
	struct moe_err err = {0};
	int n_wrong = 0, n_above = 0, n_invalid = 0;

	for (uint64_t t = 0; t < 120; t++) {
		const int32_t *shape = shapes[t % (sizeof shapes / sizeof *shapes)];
		struct brute b = {.n = shape[0], .n_bins = shape[1], .capacity = shape[2], .best = INFINITY};
		double load[16] = {0}, peak, bound, sum = 0;
		int32_t bins[16], copies[16] = {0};

		if (b.n_bins * b.capacity < b.n)
			b.n = b.n_bins * b.capacity;
		for (int32_t e = 0; e < b.n; e++)
			load[e] = floor(100 / (1.05 - moe_rng_f64(t, 1, (uint64_t)e)));
		b.load = load;
		brute_force(&b, 0);
		if (moe_exact_bins(load, b.n, b.n_bins, b.capacity, bins, &peak, &err) ||
		    moe_bound_bins(load, b.n, b.n_bins, b.capacity, &bound, &err)) {
			n_wrong = -1;
			break;
		}
		n_wrong += fabs(peak - b.best) > 1e-9 * b.best;
		n_above += bound > b.best * (1 + 1e-9);
		for (int32_t i = 0; i < b.n_bins * b.capacity; i++)
			copies[bins[i]]++;
		for (int32_t r = 0; r < b.n_bins; r++, sum = 0) {
			for (int32_t k = 0; k < b.capacity; k++)
				sum += load[bins[r * b.capacity + k]] / copies[bins[r * b.capacity + k]];
			n_invalid += sum > peak * (1 + 1e-9);
		}
	}
	is_i64(n_wrong, 0, "exact packings are as good as the best of all packings");
	is_i64(n_above, 0, "no bound is above the best of all packings");
	is_i64(n_invalid, 0, "the packings weigh what is said");
}

static struct shape random_shape(uint64_t t, int32_t max_slots)
{
	for (uint64_t i = 0;; i += 5) {
		struct shape s = {.n_nodes = 1 + (int32_t)(moe_rng_u64(t, 3, i) % 2)};
		const int32_t per_node = 1 + (int32_t)(moe_rng_u64(t, 3, i + 1) % 4);

		s.n_ranks = s.n_nodes * per_node;
		s.n_groups = s.n_nodes * (1 + (int32_t)(moe_rng_u64(t, 3, i + 2) % 2));
		s.n_experts = s.n_groups * (1 + (int32_t)(moe_rng_u64(t, 3, i + 3) % 7));
		s.capacity = (s.n_experts + s.n_ranks - 1) / s.n_ranks + (int32_t)(moe_rng_u64(t, 3, i + 4) % 3);
		if (s.n_nodes == 1)
			s.n_groups = 1;
		if (s.n_ranks * s.capacity <= max_slots && s.capacity <= s.n_experts / s.n_nodes)
			return s;
	}
}

/* 1,000 small machines: how far search is from the best. */
static void check_gap(void)
{
	static const double limits[] = {1e-6, 1e-3, 1e-2, 5e-2, INFINITY};
	struct moe_err err = {0};
	struct timespec a, b;
	int n_at[5] = {0}, n_below = 0, n_worse = 0, n_errors = 0;
	double worst = 0, mean = 0, slowest = 0;

	for (uint64_t t = 0; t < 1000; t++) {
		const struct shape shape = random_shape(t, 16);
		struct moe_load load;
		double best, found, gap;
		int k = 0;

		if (random_load(&load, shape.n_experts, t, &err)) {
			n_errors++;
			continue;
		}
		clock_gettime(CLOCK_MONOTONIC, &a);
		best = plan_peak("optimal", &load, &shape, 0, NULL, &err);
		clock_gettime(CLOCK_MONOTONIC, &b);
		slowest = fmax(slowest, (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9);
		found = best < 0 ? -1 : plan_peak("search", &load, &shape, 0, NULL, &err);
		if (found < 0) {
			n_errors++;
			printf("# %d experts, %d ranks of %d, %d groups: %s\n", shape.n_experts, shape.n_ranks,
			       shape.capacity, shape.n_groups, err.text);
		}
		for (size_t i = 0; moe_planner_at(i); i++)
			if (moe_planner_at(i)->start && (shape.n_groups == 1 || moe_planner_at(i)->groups)) {
				const double other = plan_peak(moe_planner_at(i)->name, &load, &shape, 0, NULL, &err);

				n_worse += other < 0 || found > other * (1 + 1e-9);
			}
		moe_load_free(&load);
		gap = found / best - 1;
		n_below += gap < -1e-9;
		while (gap > limits[k])
			k++;
		n_at[k]++;
		worst = fmax(worst, gap);
		mean += gap / 1000;
	}
	is_i64(n_errors, 0, "small machines are planned");
	is_i64(n_below, 0, "nothing is better than optimal");
	is_i64(n_worse, 0, "search is never worse than what it starts from");
	ok(n_at[0] >= 930 && worst < 0.1, "search is nearly always optimal: %d of 1000, worst gap %.4f", n_at[0],
	   worst);
	printf("# gap 0: %d, to 0.1%%: %d, to 1%%: %d, to 5%%: %d, above: %d; mean %.6f; slowest optimal %.1f ms\n",
	       n_at[0], n_at[1], n_at[2], n_at[3], n_at[4], mean, slowest * 1e3);
}

/* The same seed gives the same plan; a clock ends the work in time and never makes it worse than the start. */
static void check_budget(void)
{
	const struct shape shape = {256, 32, 9, 1, 1}, grouped = {256, 32, 9, 8, 4}, large = {20000, 16, 1300, 1, 1};
	struct moe_load load;
	struct moe_err err = {0};
	struct timespec a, b;
	char one[33], two[33];
	double took, peak;

	if (!ok(!random_load(&load, 256, 5, &err), "a load"))
		return;
	for (int i = 0; i < 2; i++) {
		const struct shape *s = i ? &grouped : &shape;

		ok(plan_peak("search", &load, s, 0, one, &err) > 0 && plan_peak("search", &load, s, 0, two, &err) > 0 &&
		   !strcmp(one, two), "search gives the same plan again (%s)", err.text);
		ok(plan_peak("search", &load, s, 0.02, NULL, &err) <= plan_peak("greedy", &load, s, 0, NULL, &err),
		   "search by the clock is no worse than greedy");
	}
	moe_load_free(&load);
	if (!ok(!random_load(&load, 20000, 5, &err), "a large load"))
		return;
	clock_gettime(CLOCK_MONOTONIC, &a);
	peak = plan_peak("search", &load, &large, 0.05, NULL, &err);
	clock_gettime(CLOCK_MONOTONIC, &b);
	took = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
	ok(peak >= 1 && took < 5, "20000 experts in %.2f s: %.6f (%s)", took, peak, err.text);
	moe_load_free(&load);
}

int main(void)
{
	check_exact();
	check_gap();
	check_budget();
	return done();
}
