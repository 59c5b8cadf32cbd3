/* The balance loss of Megatron-Core. */
#include "stats/balance.h"

static double loss_megatron(const struct moe_counts *counts)
{
	const struct moe_balance b = moe_balance_of(counts);

	return b.n_experts * moe_balance_dot(&b, b.chosen) / counts->setup->top_k;
}

const struct moe_metric moe_metric_loss_megatron = {
	.name = "loss_megatron", .unit = "1", .all = MOE_ALL_MEAN, .layer = loss_megatron,
	.needs = MOE_NEEDS_LOGITS, .stream = &moe_stream_balance,
	.help = "auxiliary loss of Megatron-Core, from the choices made: 1 is even",
	.formula = "E sum_i f_i P_i, f_i = c_i / (K T)",
	.source = "Megatron-Core, switch_load_balancing_loss_func",
};
