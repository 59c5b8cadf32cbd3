/* The balance loss of GShard. */
#include "stats/balance.h"

static double loss_gshard(const struct moe_counts *counts)
{
	const struct moe_balance b = moe_balance_of(counts);

	return moe_balance_dot(&b, b.first) / b.n_experts;
}

const struct moe_metric moe_metric_loss_gshard = {
	.name = "loss_gshard", .unit = "1", .all = MOE_ALL_MEAN, .layer = loss_gshard,
	.needs = MOE_NEEDS_LOGITS, .stream = &moe_stream_balance,
	.help = "balance loss of GShard, from first choices: 1/E^2 is even",
	.formula = "1/E sum_i (c_i/T) m_i, c_i = first choices, m_i = mean_t s_it",
	.source = "Lepikhin et al. 2020, GShard, section 2.2 and algorithm 1",
};
