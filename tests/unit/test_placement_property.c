/* What holds for every planner on every machine, looked up apart from the code that promises it: every expert has a
 * place, no slot is used twice or left out, moves are counted right, and what a plan is said to cost is what comes of
 * sending choice after choice to its ranks. */
#include "../tap.h"

#include <math.h>

#include "base/rng.h"
#include "placement/cost.h"
#include "placement/planner.h"
#include "stats/pairs.h"

enum { N_MACHINES = 150, N_TOKENS = 300, UNIT = 720720 /* of load: all of 1 to 16 divide it */ };

struct machine {
	int32_t n_experts, n_ranks, n_nodes, n_groups, capacity, top_k;
};

/* A layer's choices, and what follows from them. */
struct traffic {
	int32_t ids[N_TOKENS][4];
	struct moe_load load;
	struct moe_together *together;
};

static uint64_t seed_of(uint64_t t, uint64_t what) { return moe_rng_u64(t, 11, what); }

static struct machine random_machine(uint64_t t)
{
	struct machine m = {.n_nodes = 1 + (int32_t)(seed_of(t, 0) % 3), .top_k = 1 + (int32_t)(seed_of(t, 1) % 4)};

	m.n_ranks = m.n_nodes * (1 + (int32_t)(seed_of(t, 2) % 4));
	m.n_groups = seed_of(t, 3) % 2 ? m.n_nodes * (1 + (int32_t)(seed_of(t, 4) % 2)) : 1;
	m.n_experts = m.n_nodes * 2 * (2 + (int32_t)(seed_of(t, 5) % 8));
	m.capacity = (m.n_experts + m.n_ranks - 1) / m.n_ranks;
	m.capacity += (int32_t)(seed_of(t, 6) % 3);
	if (m.capacity > m.n_experts / m.n_nodes)
		m.capacity = m.n_experts / m.n_nodes;
	if (m.n_experts % m.n_groups)
		m.n_groups = 1;
	return m;
}

static bool random_traffic(struct traffic *traffic, const struct machine *m, uint64_t t, struct moe_err *err)
{
	const size_t n = (size_t)m->n_experts;
	const int32_t layer = 3;

	if (moe_load_init(&traffic->load, &layer, 1, m->n_experts, err))
		return false;
	traffic->together = calloc(1, sizeof *traffic->together + n * (n + 1) / 2 * sizeof(uint64_t));
	if (!traffic->together)
		return false;
	for (uint64_t i = 0; i < N_TOKENS; i++)
		for (int32_t k = 0; k < m->top_k; k++) {
			const double u = moe_rng_f64(t, 100 + i, (uint64_t)k);
			int32_t e = (int32_t)(u * u * u * m->n_experts);

			for (int32_t j = 0; j < k; j++)
				if (traffic->ids[i][j] == e) {
					e = (e + 1) % m->n_experts;
					j = -1;
				}
			traffic->ids[i][k] = e;
			traffic->load.counts[e]++;
			for (int32_t j = 0; j <= k; j++)
				traffic->together->counts[moe_pair_at(e, traffic->ids[i][j], m->n_experts)]++;
		}
	return true;
}

/* Every slot of every rank once, every expert somewhere, never twice on a rank, replicas numbered; copies [256]. */
static bool is_valid(const struct moe_plan *plan, const struct machine *m, int32_t *copies)
{
	bool slots[256] = {0}, held[16][256] = {{0}}, replicas[256][16] = {{0}};

	memset(copies, 0, 256 * sizeof *copies);
	if (plan->n_entries != (int64_t)m->n_ranks * m->capacity)
		return false;
	for (int64_t i = 0; i < plan->n_entries; i++) {
		const struct moe_plan_entry *e = &plan->entries[i];
		const int32_t slot = e->rank * m->capacity + e->slot;

		if (e->layer != 3 || e->rank < 0 || e->rank >= m->n_ranks || e->slot < 0 || e->slot >= m->capacity ||
		    e->expert < 0 || e->expert >= m->n_experts || e->replica < 0 || e->replica >= m->n_ranks ||
		    slots[slot] || held[e->rank][e->expert] || replicas[e->expert][e->replica])
			return false;
		slots[slot] = held[e->rank][e->expert] = replicas[e->expert][e->replica] = true;
		copies[e->expert]++;
	}
	for (int32_t e = 0; e < m->n_experts; e++)
		if (!copies[e] || !replicas[e][copies[e] - 1])
			return false;
	return true;
}

static bool keeps_groups(const struct moe_plan *plan, const struct machine *m)
{
	for (int64_t i = 0; i < plan->n_entries; i++)
		for (int64_t k = 0; k < i; k++) {
			const struct moe_plan_entry *a = &plan->entries[i], *b = &plan->entries[k];
			const int32_t size = m->n_experts / m->n_groups, per_node = m->n_ranks / m->n_nodes;

			if (a->expert / size == b->expert / size && a->rank / per_node != b->rank / per_node)
				return false;
		}
	return true;
}

/* Every choice gives each of the ranks that hold its expert an equal part, in whole units: the peak-to-average. */
static double simulate(const struct moe_plan *plan, const struct machine *m, const struct traffic *traffic,
                       const int32_t *copies)
{
	uint64_t load[16] = {0}, peak = 0, total = 0;

	for (int64_t i = 0; i < N_TOKENS; i++)
		for (int32_t k = 0; k < m->top_k; k++) {
			total += UNIT;
			for (int64_t s = 0; s < plan->n_entries; s++)
				if (plan->entries[s].expert == traffic->ids[i][k])
					load[plan->entries[s].rank] += (uint64_t)(UNIT / copies[traffic->ids[i][k]]);
		}
	for (int32_t r = 0; r < m->n_ranks; r++)
		peak = load[r] > peak ? load[r] : peak;
	return (double)peak * m->n_ranks / (double)total;
}

static int32_t count_moves(const struct moe_plan *old, const struct moe_plan *plan)
{
	int32_t n = 0;

	for (int64_t i = 0; i < plan->n_entries; i++) {
		bool found = false;

		for (int64_t k = 0; k < old->n_entries; k++)
			found |= old->entries[k].rank == plan->entries[i].rank &&
			         old->entries[k].expert == plan->entries[i].expert;
		n += !found;
	}
	return n;
}

/* Sums over all machines. */
struct seen {
	int n_plans, n_invalid, n_groups, n_wrong, n_too_many, n_worse, n_errors;
};

/* One planner on one machine. from: a plan to start from. */
static void check_planner(const struct moe_planner *planner, const struct machine *m, const struct traffic *traffic,
                          const struct moe_plan *from, uint64_t t, struct seen *seen)
{
	const struct moe_together *together[1] = {traffic->together};
	struct moe_topology topology;
	struct moe_planner_opts opts = {.topology = &topology, .n_slots = m->n_ranks * m->capacity,
	                                .n_groups = m->n_groups, .seed = t, .slack = 0.1, .together = together,
	                                .from = from, .max_moves = (int32_t)(seed_of(t, 9) % 6)};
	struct moe_cost cost, before;
	struct moe_plan plan;
	struct moe_err err = {0};
	int32_t copies[256];

	if (moe_topology_even(&topology, m->n_ranks, m->n_nodes, &err)) {
		seen->n_errors++;
		return;
	}
	if (moe_planner_run(&plan, planner, &opts, &traffic->load, NULL, &err)) {
		/* Those that do not look at groups, or are not for so many slots, say so. */
		seen->n_errors += (m->n_groups == 1 || planner->groups) &&
		                  !(planner->max_slots && opts.n_slots > planner->max_slots);
		moe_topology_free(&topology);
		return;
	}
	seen->n_plans++;
	if (!is_valid(&plan, m, copies))
		seen->n_invalid++;
	else if (moe_cost_layer(&plan, &traffic->load, 0, &cost, &err) ||
	         fabs(cost.peak_to_average - simulate(&plan, m, traffic, copies)) > 1e-12 * cost.peak_to_average)
		seen->n_wrong++;
	seen->n_groups += m->n_groups > 1 && !keeps_groups(&plan, m);
	if (planner->from) {
		seen->n_too_many += count_moves(from, &plan) > opts.max_moves;
		seen->n_worse += moe_cost_layer(from, &traffic->load, 0, &before, &err) ||
		                 cost.peak_to_average > before.peak_to_average * (1 + 1e-9);
	}
	moe_plan_free(&plan);
	moe_topology_free(&topology);
}

int main(void)
{
	struct seen seen = {0};
	struct moe_err err = {0};

	for (uint64_t t = 0; t < N_MACHINES; t++) {
		const struct machine m = random_machine(t);
		struct traffic traffic = {0};
		struct moe_topology topology;
		struct moe_planner_opts opts = {.topology = &topology, .n_slots = m.n_ranks * m.capacity,
		                                .n_groups = m.n_groups};
		struct moe_plan old;

		if (!random_traffic(&traffic, &m, t, &err) ||
		    moe_topology_even(&topology, m.n_ranks, m.n_nodes, &err) ||
		    moe_planner_run(&old, moe_planner_by_name("hierarchical"), &opts, &traffic.load, NULL, &err)) {
			seen.n_errors++;
			printf("# %d experts, %d ranks of %d: %s\n", m.n_experts, m.n_ranks, m.capacity, err.text);
			continue;
		}
		/* The plan was made for other traffic. */
		moe_load_free(&traffic.load);
		free(traffic.together);
		if (!random_traffic(&traffic, &m, t + 1000, &err))
			return 1;
		for (size_t i = 0; moe_planner_at(i); i++)
			check_planner(moe_planner_at(i), &m, &traffic, &old, t, &seen);
		moe_plan_free(&old);
		moe_topology_free(&topology);
		moe_load_free(&traffic.load);
		free(traffic.together);
	}
	is_i64(seen.n_errors, 0, "every planner plans every machine it is for");
	ok(seen.n_plans > N_MACHINES * 5, "%d plans", seen.n_plans);
	is_i64(seen.n_invalid, 0, "every expert has a place, every slot one expert, no rank two copies");
	is_i64(seen.n_groups, 0, "groups stay on a node");
	is_i64(seen.n_wrong, 0, "a plan costs what sending every choice shows");
	is_i64(seen.n_too_many, 0, "no more copies move than may");
	is_i64(seen.n_worse, 0, "and what moves makes it no worse");
	return done();
}
