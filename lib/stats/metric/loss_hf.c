/* The balance loss of the Transformers library. */
#include "stats/balance.h"

static double loss_hf(const struct moe_counts *counts)
{
	const struct moe_balance b = moe_balance_of(counts);

	return b.n_experts * moe_balance_dot(&b, b.chosen);
}

const struct moe_metric moe_metric_loss_hf = {
	.name = "loss_hf", .unit = "1", .all = MOE_ALL_POOL, .layer = loss_hf,
	.needs = MOE_NEEDS_LOGITS, .stream = &moe_stream_balance_softmax,
	.help = "load_balancing_loss of Transformers (Mixtral, Qwen, OLMoE): K is even",
	.formula = "E sum_i f_i P_i with softmax scores, f_i = the part of the tokens with i among the K largest",
	.source = "Hugging Face Transformers, load_balancing_loss_func of Mixtral",
};
