/* Loads of ranks under a plan. */
#include "placement/cost.h"

#include <stdlib.h>

static void sum_up(struct moe_cost *out, const double *rank_load, int32_t n_ranks, double total, double max_copy)
{
	out->max_rank_load = 0;
	for (int32_t r = 0; r < n_ranks; r++)
		if (rank_load[r] > out->max_rank_load)
			out->max_rank_load = rank_load[r];
	out->mean_rank_load = total / n_ranks;
	out->peak_to_average = total > 0 ? out->max_rank_load / out->mean_rank_load : 1;
	out->bound = total > 0 ? max_copy / out->mean_rank_load : 1;
	if (out->bound < 1)
		out->bound = 1;
}

enum moe_status moe_cost_layer(const struct moe_plan *plan, const struct moe_load *load, int32_t layer_index,
                               struct moe_cost *out, struct moe_err *err)
{
	const uint64_t *counts = load->counts + (size_t)layer_index * (size_t)load->n_experts;
	int32_t layer = load->layers[layer_index], n_experts = load->n_experts;
	double *rank_load = calloc((size_t)plan->n_ranks, sizeof *rank_load), total = 0, max_copy = 0;
	int32_t *copies = calloc((size_t)n_experts, sizeof *copies);
	const struct moe_plan_entry *entries;
	enum moe_status status = MOE_OK;
	int64_t n;

	if (!rank_load || !copies) {
		status = moe_err_nomem(err, (size_t)plan->n_ranks * sizeof *rank_load, "loads of ranks");
		goto out;
	}
	entries = moe_plan_layer(plan, layer, &n);
	if (!entries) {
		status = moe_err_set(err, MOE_EFORMAT, "the plan has no layer %d, which the load has", layer);
		goto out;
	}
	for (int64_t i = 0; i < n; i++) {
		if (entries[i].expert >= n_experts) {
			status = moe_err_set(err, MOE_EFORMAT,
			                     "the plan places expert %d of layer %d, the load has experts 0 to %d",
			                     entries[i].expert, layer, n_experts - 1);
			goto out;
		}
		copies[entries[i].expert]++;
	}
	for (int32_t e = 0; e < n_experts; e++) {
		if (!copies[e]) {
			status = moe_err_set(err, MOE_EFORMAT,
			                     "the plan does not place expert %d of layer %d, which the load has", e,
			                     layer);
			goto out;
		}
		total += (double)counts[e];
		if ((double)counts[e] / copies[e] > max_copy)
			max_copy = (double)counts[e] / copies[e];
	}
	for (int64_t i = 0; i < n; i++)
		rank_load[entries[i].rank] += (double)counts[entries[i].expert] / copies[entries[i].expert];
	sum_up(out, rank_load, plan->n_ranks, total, max_copy);
out:
	free(copies);
	free(rank_load);
	return status;
}

enum moe_status moe_cost_plan(const struct moe_plan *plan, const struct moe_load *load, struct moe_cost_sum *out,
                              double *peaks, struct moe_err *err)
{
	*out = (struct moe_cost_sum){0};
	for (int32_t l = 0; l < load->n_layers; l++) {
		struct moe_cost cost;
		enum moe_status status = moe_cost_layer(plan, load, l, &cost, err);

		if (status)
			return status;
		if (peaks)
			peaks[l] = cost.peak_to_average;
		out->mean += cost.peak_to_average / load->n_layers;
		out->bound += cost.bound / load->n_layers;
		if (cost.peak_to_average > out->worst) {
			out->worst = cost.peak_to_average;
			out->worst_layer = load->layers[l];
		}
	}
	return MOE_OK;
}
