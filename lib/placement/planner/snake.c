/* Copies for the most loaded experts, then all copies by falling load dealt out to the ranks there and back again. */
#include <stdlib.h>

#include "placement/pack.h"
#include "placement/planner.h"
#include "placement/spread.h"

struct copy {
	double load;
	int32_t expert;
};

static int heavier(const void *pa, const void *pb)
{
	const struct copy *a = pa, *b = pb;

	if (a->load != b->load)
		return a->load > b->load ? -1 : 1;
	return (a->expert > b->expert) - (a->expert < b->expert);
}

static enum moe_status plan_layer(const struct moe_planner_opts *opts, const double *counts, int32_t n_experts,
                                  int32_t layer, struct moe_plan_entry *entries, struct moe_err *err)
{
	const int32_t n_ranks = opts->topology->n_ranks, capacity = opts->n_slots / n_ranks;
	struct copy *copies = calloc((size_t)opts->n_slots, sizeof *copies);
	int32_t *n_copies = calloc((size_t)n_experts, sizeof *n_copies);
	int32_t *ranks = calloc((size_t)n_ranks, sizeof *ranks);
	double *weight = calloc((size_t)n_experts, sizeof *weight);
	int32_t n = 0;
	enum moe_status status;

	if (!copies || !n_copies || !ranks || !weight) {
		status = moe_err_nomem(err, (size_t)opts->n_slots * sizeof *copies, "a plan");
		goto out;
	}
	status = moe_pack_replicate(counts, n_experts, opts->n_slots, n_ranks, n_copies, err);
	if (status)
		goto out;
	for (int32_t e = 0; e < n_experts; e++) {
		weight[e] = counts[e] / n_copies[e];
		for (int32_t c = 0; c < n_copies[e]; c++)
			copies[n++] = (struct copy){ weight[e], e };
	}
	qsort(copies, (size_t)n, sizeof *copies, heavier);
	for (int32_t i = 0; i < n; i++) {
		const int32_t k = i / n_ranks, at = i % n_ranks, r = k % 2 ? n_ranks - 1 - at : at;

		entries[(int64_t)r * capacity + k] =
			(struct moe_plan_entry){ .layer = layer, .expert = copies[i].expert };
	}
	for (int32_t r = 0; r < n_ranks; r++)
		ranks[r] = r;
	status = moe_spread_copies(entries, ranks, n_ranks, capacity, weight, n_experts, err);
	if (!status)
		status = moe_spread_number(entries, n_ranks, capacity, n_experts, err);
out:
	free(weight);
	free(ranks);
	free(n_copies);
	free(copies);
	return status;
}

const struct moe_planner moe_planner_snake = {
	.name = "snake",
	.help = "copies for the most loaded experts, dealt out by falling load there and back again",
	.source = "serpentine dealing, a common hand rule",
	.start = true,
	.layer = plan_layer,
};
