/* The balance loss of Flaxformer for any top_k. */
#include "stats/balance.h"

static double loss_flaxformer_topk(const struct moe_counts *counts)
{
	const struct moe_balance b = moe_balance_of(counts);

	return b.n_experts * moe_balance_dot(&b, b.chosen);
}

const struct moe_metric moe_metric_loss_flaxformer_topk = {
	.name = "loss_flaxformer_topk", .unit = "1", .all = MOE_ALL_MEAN, .layer = loss_flaxformer_topk,
	.needs = MOE_NEEDS_LOGITS, .stream = &moe_stream_balance_own,
	.help = "balance loss of Flaxformer, from the K largest scores: K is even",
	.formula = "E^2 mean_i f_i P_i, f_i = the part of the tokens with i among the K largest scores",
	.source = "Flaxformer, architectures/moe/routing.py (Zoph et al. 2022, ST-MoE)",
};
