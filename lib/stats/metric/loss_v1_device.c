/* The device-level balance loss of DeepSeekMoE. */
#include "stats/balance.h"

static double loss_v1_device(const struct moe_counts *counts)
{
	const struct moe_balance b = moe_balance_of(counts);

	/* The mean of f_i = E/(K T) c_i over the E/D experts of a device is D/(K T) times the sum of their c_i. */
	return counts->setup->n_groups * moe_balance_group_dot(&b, b.chosen, counts->setup->n_groups) /
	       counts->setup->top_k;
}

const struct moe_metric moe_metric_loss_v1_device = {
	.name = "loss_v1_device", .unit = "1", .all = MOE_ALL_MEAN, .layer = loss_v1_device,
	.needs = MOE_NEEDS_LOGITS | MOE_NEEDS_GROUPS, .stream = &moe_stream_balance,
	.help = "device-level balance loss of DeepSeekMoE (V1) over --groups D devices: 1 is even",
	.formula = "sum_g f_g P_g, f_g = mean of f_i in g, P_g = sum of P_i in g",
	.source = "Dai et al. 2024, DeepSeekMoE, equations 15 to 17, with coefficient 1",
};
