/* The balance loss of NLLB-MoE and Tutel. */
#include "stats/balance.h"

static double loss_nllb(const struct moe_counts *counts)
{
	const struct moe_balance b = moe_balance_of(counts);

	return b.n_experts * moe_balance_dot(&b, b.first);
}

const struct moe_metric moe_metric_loss_nllb = {
	.name = "loss_nllb", .unit = "1", .all = MOE_ALL_MEAN, .layer = loss_nllb,
	.needs = MOE_NEEDS_LOGITS, .stream = &moe_stream_balance,
	.help = "balance loss of NLLB-MoE and Tutel: E^2 times that of GShard, 1 is even",
	.formula = "E sum_i (c_i/T) m_i, c_i = first choices, m_i = mean_t s_it",
	.source = "NLLB Team 2022, No Language Left Behind, section 6.2; Tutel",
};
