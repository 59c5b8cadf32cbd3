/* The communication balance loss of DeepSeek-V2. */
#include "stats/balance.h"

const struct moe_metric moe_metric_loss_v2_comm = {
	.name = "loss_v2_comm", .unit = "1", .all = MOE_ALL_MEAN, .layer = moe_sequences_communication,
	.needs = MOE_NEEDS_LOGITS | MOE_NEEDS_GROUPS, .stream = &moe_stream_sequences,
	.help = "communication balance loss of DeepSeek-V2: D devices (--groups), M a token (--top-groups)",
	.formula = "mean over sequences of sum_g D/(M T) n_g P_g, n_g tokens with a choice in g",
	.source = "DeepSeek-AI 2024, DeepSeek-V2, equations 29 to 31, with coefficient 1",
};
