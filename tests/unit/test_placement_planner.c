/* Planners: every plan is valid, never beats its bound, does not depend on threads; greedy against published figures
 * (tests/golden/eplb). */
#include "../tap.h"

#include <time.h>

#include "base/pool.h"
#include "base/rng.h"
#include "base/table.h"
#include "placement/cost.h"
#include "placement/planner.h"

static const char *golden(char path[512], const char *name)
{
	snprintf(path, 512, "%s/tests/golden/eplb/%s", getenv("MOE_TOP") ? getenv("MOE_TOP") : ".", name);
	return path;
}

struct sums {
	double mean, worst, bound, seconds;
};

/* Plans and judges. Negative mean: an error, in err. */
static struct sums plan_load(const struct moe_planner *planner, const struct moe_load *load, int32_t n_ranks,
                             int32_t n_slots, int32_t n_groups, int32_t n_nodes, struct moe_pool *pool, char hash[33],
                             struct moe_err *err)
{
	struct moe_topology topology;
	struct moe_planner_opts opts = {.topology = &topology, .n_slots = n_slots, .n_groups = n_groups};
	struct sums s = {0};
	struct timespec a, b;
	struct moe_plan plan;

	*err = (struct moe_err){0};
	if (moe_topology_even(&topology, n_ranks, n_nodes, err))
		return (struct sums){.mean = -1};
	clock_gettime(CLOCK_MONOTONIC, &a);
	if (moe_planner_run(&plan, planner, &opts, load, pool, err)) {
		moe_topology_free(&topology);
		return (struct sums){.mean = -1};
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	s.seconds = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
	for (int32_t l = 0; l < load->n_layers && s.mean >= 0; l++) {
		struct moe_cost cost;

		if (moe_cost_layer(&plan, load, l, &cost, err) || cost.peak_to_average < cost.bound * (1 - 1e-12))
			s.mean = -1;
		s.mean += cost.peak_to_average / load->n_layers;
		s.bound += cost.bound / load->n_layers;
		s.worst = cost.peak_to_average > s.worst ? cost.peak_to_average : s.worst;
	}
	if (hash && moe_plan_hash(&plan, hash, err))
		s.mean = -1;
	moe_plan_free(&plan);
	moe_topology_free(&topology);
	return s;
}

/* Skewed loads, with ties and zeros. */
static enum moe_status random_load(struct moe_load *load, int32_t n_layers, int32_t n_experts, uint64_t seed,
                                   struct moe_err *err)
{
	int32_t layers[64];
	enum moe_status status;

	for (int32_t l = 0; l < n_layers; l++)
		layers[l] = 3 + 2 * l;
	status = moe_load_init(load, layers, n_layers, n_experts, err);
	for (int64_t i = 0; !status && i < (int64_t)n_layers * n_experts; i++) {
		double u = moe_rng_f64(seed, 0, (uint64_t)i);

		load->counts[i] = u < 0.1 ? 0 : u < 0.2 ? 50 : (uint64_t)(1000 / (1 - u * 0.999));
	}
	return status;
}

static void check_random(void)
{
	struct moe_pool *pool;
	struct moe_err err = {0};
	double greedy_sum = 0, contiguous_sum = 0;
	int n_bad = 0, n_differ = 0;

	if (!ok(!moe_pool_new(&pool, 3, &err), "a pool"))
		return;
	for (uint64_t t = 0; t < 300; t++) {
		int32_t n_nodes = 1 << (moe_rng_u64(t, 1, 0) % 3),
			n_groups = n_nodes * (int32_t)(1 + moe_rng_u64(t, 1, 1) % 3);
		int32_t n_experts = n_groups * (int32_t)(1 + moe_rng_u64(t, 1, 2) % 12);
		int32_t n_ranks = n_nodes * (int32_t)(1 + moe_rng_u64(t, 1, 3) % 6), per_node = n_ranks / n_nodes;
		int32_t least = (n_experts + n_ranks - 1) / n_ranks, most = n_experts / n_nodes;
		int32_t capacity = least + (int32_t)(moe_rng_u64(t, 1, 4) % (uint64_t)(most - least + 1));
		const struct moe_planner *contiguous = moe_planner_by_name("contiguous"), *p;
		struct moe_load load;
		char one[33], three[33];
		struct sums s;

		if (n_groups == n_nodes && n_nodes == 1)
			n_groups = 1;
		if (random_load(&load, 3, n_experts, t, &err))
			break;
		for (size_t i = 0; (p = moe_planner_at(i)); i++) {
			/* those that deal out by a fixed rule keep groups together only by chance */
			int32_t groups = p->groups ? n_groups : 1;

			/* What needs more than a load is looked at in test_placement_property. */
			if (p->from || p->together || (p->max_slots && capacity * n_ranks > p->max_slots))
				continue;
			s = plan_load(p, &load, n_ranks, capacity * n_ranks, groups, n_nodes, NULL, one, &err);
			if (s.mean < 0) {
				printf("# %s %d experts, %d ranks (%d a node), %d slots a rank, %d groups: %s\n",
				       p->name, n_experts, n_ranks, per_node, capacity, groups, err.text);
				n_bad++;
			}
			plan_load(p, &load, n_ranks, capacity * n_ranks, groups, n_nodes, pool, three, &err);
			n_differ += strcmp(one, three) != 0;
		}
		greedy_sum +=
			plan_load(moe_planner_preferred(), &load, n_ranks, capacity * n_ranks, 1, 1, NULL, NULL, &err)
				.mean;
		contiguous_sum +=
			plan_load(contiguous, &load, n_ranks, capacity * n_ranks, 1, 1, NULL, NULL, &err).mean;
		moe_load_free(&load);
	}
	is_i64(n_bad, 0, "every plan is valid and not below its bound");
	is_i64(n_differ, 0, "one thread and three give the same plan");
	ok(greedy_sum < 0.9 * contiguous_sum, "greedy is better than contiguous on the whole: %.1f, %.1f", greedy_sum,
	   contiguous_sum);
	moe_pool_free(pool);
}

/* Every expert on every rank, and all but a few: where copies collide most. */
static void check_full(void)
{
	struct moe_load load;
	struct moe_err err = {0};
	int n_bad = 0;

	for (int32_t n_experts = 1; n_experts <= 9; n_experts++)
		for (int32_t n_ranks = 1; n_ranks <= 9; n_ranks++)
			for (int32_t capacity = (n_experts + n_ranks - 1) / n_ranks; capacity <= n_experts;
			     capacity++) {
				if (random_load(&load, 4, n_experts, (uint64_t)(n_experts * 100 + n_ranks), &err))
					return;
				n_bad += plan_load(moe_planner_preferred(), &load, n_ranks, capacity * n_ranks, 1, 1,
				                   NULL, NULL, &err)
				                 .mean < 0;
				moe_load_free(&load);
			}
	is_i64(n_bad, 0, "copies find distinct ranks however many there are");
}

static void refuse(const struct moe_load *load, int32_t n_ranks, int32_t n_slots, int32_t n_groups, int32_t n_nodes,
                   const char *name, const char *why)
{
	struct moe_err err;
	struct sums s =
		plan_load(moe_planner_by_name(name), load, n_ranks, n_slots, n_groups, n_nodes, NULL, NULL, &err);

	ok(s.mean < 0 && err.status == MOE_EUSAGE && strstr(err.text, why), "refused: %s (%s)", why, err.text);
}

static void check_refusals(void)
{
	struct moe_load load;
	struct moe_err err = {0};

	if (!ok(!random_load(&load, 2, 12, 1, &err), "a load"))
		return;
	refuse(&load, 4, 8, 1, 1, "greedy", "8 slots are too few for 12 experts");
	refuse(&load, 5, 12, 1, 1, "greedy", "12 slots do not spread evenly over 5 ranks; 15 would");
	refuse(&load, 2, 26, 1, 1, "greedy", "26 slots are more than 12 experts can fill");
	refuse(&load, 4, 12, 5, 1, "greedy", "12 experts do not form 5 equal groups");
	refuse(&load, 4, 12, 3, 2, "greedy", "3 groups do not spread evenly over 2 nodes");
	refuse(&load, 4, 28, 2, 2, "greedy", "14 slots a node are more than 6 experts can fill");
	refuse(&load, 4, 16, 4, 2, "contiguous", "does not keep groups together");
	ok(!moe_planner_by_name("nothing"), "no planner of an unknown name");
	ok(plan_load(moe_planner_by_name("contiguous"), &load, 4, 12, 4, 2, NULL, NULL, &err).mean > 0,
	   "contiguous keeps groups together where order does (%s)", err.text);
	memset(load.counts, 0, 24 * sizeof *load.counts);
	is_close(plan_load(moe_planner_preferred(), &load, 4, 16, 1, 1, NULL, NULL, &err).mean, 1, 0,
	         "no load is an even one");
	moe_load_free(&load);
}

/* The published example: 2 layers x 12 experts, 16 slots, 4 groups, 2 nodes, 8 ranks. */
static void check_example(void)
{
	struct moe_topology topology;
	struct moe_planner_opts opts = {.topology = &topology, .n_slots = 16, .n_groups = 4};
	struct moe_plan published, plan;
	struct moe_load load;
	struct moe_err err = {0};
	char path[512];

	if (!ok(!moe_load_read(&load, golden(path, "example.load.tsv"), &err) &&
	        !moe_plan_read(&published, golden(path, "example.plan.tsv"), &err) &&
	        !moe_topology_even(&topology, 8, 2, &err) &&
	        !moe_planner_run(&plan, moe_planner_by_name("greedy"), &opts, &load, NULL, &err),
	        "the published example is planned (%s)", err.text))
		return;
	for (int32_t l = 0; l < load.n_layers; l++) {
		struct moe_cost theirs = {0}, ours = {0};

		bool judged = !moe_cost_layer(&published, &load, l, &theirs, &err) &&
		              !moe_cost_layer(&plan, &load, l, &ours, &err);

		ok(judged && ours.max_rank_load <= theirs.max_rank_load, "layer %d: largest load %g, published %g", l,
		   ours.max_rank_load, theirs.max_rank_load);
	}
	moe_plan_free(&published);
	moe_plan_free(&plan);
	moe_load_free(&load);
	moe_topology_free(&topology);
}

/* The published balancer gives the published example, entry by entry. */
static void check_published(void)
{
	struct moe_topology topology;
	struct moe_planner_opts opts = {.topology = &topology, .n_slots = 16, .n_groups = 4};
	struct moe_plan published, plan;
	struct moe_load load;
	struct moe_err err = {0};
	char path[512];
	int n_differ = 0;

	if (!ok(!moe_load_read(&load, golden(path, "example.load.tsv"), &err) &&
	        !moe_plan_read(&published, golden(path, "example.plan.tsv"), &err) &&
	        !moe_topology_even(&topology, 8, 2, &err) &&
	        !moe_planner_run(&plan, moe_planner_by_name("eplb"), &opts, &load, NULL, &err),
	        "the published example is planned by eplb (%s)", err.text))
		return;
	is_i64(plan.n_entries, published.n_entries, "eplb: as many entries as published");
	for (int64_t i = 0; i < plan.n_entries && i < published.n_entries; i++)
		n_differ += plan.entries[i].layer != published.entries[i].layer ||
		            plan.entries[i].expert != published.entries[i].expert ||
		            plan.entries[i].rank != published.entries[i].rank ||
		            plan.entries[i].slot != published.entries[i].slot;
	is_i64(n_differ, 0, "eplb: every entry as published");
	moe_plan_free(&published);
	moe_plan_free(&plan);
	moe_load_free(&load);
	moe_topology_free(&topology);
}

/* Rows of reference.tsv about the generated load: the mean over layers is met, or beaten by search. */
static void check_reference(const char *planner, bool beaten)
{
	static const char *const names[] = {"ranks", "slots", "groups", "nodes"};
	struct moe_table *table;
	struct moe_load load;
	struct moe_err err = {0};
	char path[512];
	int c_load, c_peak, c[4], n_rows = 0;

	if (!ok(!moe_load_read(&load, golden(path, "zipf-58x256.load.tsv"), &err) &&
	        !moe_table_read(&table, golden(path, "reference.tsv"), &err), "reference figures (%s)", err.text))
		return;
	c_load = moe_table_find(table, "load");
	c_peak = moe_table_find(table, "peak_to_average");
	for (int k = 0; k < 4; k++)
		c[k] = moe_table_find(table, names[k]);
	for (int64_t row = 0; row < moe_table_rows(table); row++) {
		int64_t v[4];
		struct sums s;
		double peak;

		if (!moe_str_eq(moe_table_str(table, row, c_load), "zipf-58x256"))
			continue;
		n_rows++;
		for (int k = 0; k < 4; k++)
			if (moe_table_i64(table, row, c[k], 1, 10000, &v[k], &err))
				return;
		if (moe_table_f64(table, row, c_peak, &peak, &err))
			return;
		s = plan_load(moe_planner_by_name(planner), &load, (int32_t)v[0], (int32_t)v[1], (int32_t)v[2],
		              (int32_t)v[3], NULL, NULL, &err);
		ok(s.mean > 0 && s.mean <= peak + (beaten ? -1e-4 : 5e-6),
		   "%d ranks, %d slots, %d groups, %d nodes: %s %.5f, reference %.5f", (int)v[0],
		   (int)v[1], (int)v[2], (int)v[3], planner, s.mean, peak);
		printf("# worst %.5f, bound %.5f, %.1f ms\n", s.worst, s.bound, s.seconds * 1e3);
	}
	is_i64(n_rows, 4, "figures compared");
	moe_table_free(table);
	moe_load_free(&load);
}

/* Sizes beyond today's models take no time of note. */
static void check_large(void)
{
	static const int32_t shape[][4] = {{60, 384, 64, 448}, {1, 70000, 8, 70400}, {1, 70000, 1024, 70656}};
	struct moe_err err = {0};

	for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
		struct moe_load load;
		struct sums s;

		if (!ok(!random_load(&load, shape[i][0], shape[i][1], i, &err), "a load"))
			return;
		s = plan_load(moe_planner_preferred(), &load, shape[i][2], shape[i][3], 1, 1, NULL, NULL, &err);
		ok(s.mean > 0 && s.seconds < 20, "%d layers of %d experts on %d ranks", shape[i][0], shape[i][1],
		   shape[i][2]);
		printf("# %.5f, %.1f ms\n", s.mean, s.seconds * 1e3);
		moe_load_free(&load);
	}
}

int main(void)
{
	check_random();
	check_full();
	check_refusals();
	check_example();
	check_published();
	check_reference("eplb", false);
	check_reference("greedy", false);
	check_reference("hierarchical", false);
	check_reference("search", true);
	check_large();
	return done();
}
