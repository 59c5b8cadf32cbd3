/* The balance loss of the Switch Transformer. */
#include "stats/balance.h"

static double loss_switch(const struct moe_counts *counts)
{
	const struct moe_balance b = moe_balance_of(counts);

	return b.n_experts * moe_balance_dot(&b, b.first);
}

const struct moe_metric moe_metric_loss_switch = {
	.name = "loss_switch", .unit = "1", .all = MOE_ALL_MEAN, .layer = loss_switch,
	.needs = MOE_NEEDS_LOGITS, .stream = &moe_stream_balance,
	.help = "balance loss of the Switch Transformer, from largest scores, before dropping: 1 is even",
	.formula = "E sum_i f_i P_i, f_i = the part of the tokens whose largest score is that of i",
	.source = "Fedus et al. 2021, Switch Transformers, equations 4 to 6, with coefficient 1",
};
