/* The expert-level balance loss of DeepSeekMoE. */
#include "stats/balance.h"

static double loss_v1_expert(const struct moe_counts *counts)
{
	const struct moe_balance b = moe_balance_of(counts);

	return b.n_experts * moe_balance_dot(&b, b.chosen) / counts->setup->top_k;
}

const struct moe_metric moe_metric_loss_v1_expert = {
	.name = "loss_v1_expert", .unit = "1", .all = MOE_ALL_MEAN, .layer = loss_v1_expert,
	.needs = MOE_NEEDS_LOGITS, .stream = &moe_stream_balance,
	.help = "expert-level balance loss of DeepSeekMoE (V1): 1 is even",
	.formula = "sum_i f_i P_i, f_i = E/(K T) c_i, P_i = mean_t s_it",
	.source = "Dai et al. 2024, DeepSeekMoE, equations 12 to 14, with coefficient 1",
};
