/* The device-level balance loss of DeepSeek-V2. */
#include "stats/balance.h"

const struct moe_metric moe_metric_loss_v2_device = {
	.name = "loss_v2_device", .unit = "1", .all = MOE_ALL_MEAN, .layer = moe_sequences_device,
	.needs = MOE_NEEDS_LOGITS | MOE_NEEDS_GROUPS, .stream = &moe_stream_sequences,
	.help = "device-level balance loss of DeepSeek-V2 over --groups D devices, of sequences",
	.formula = "mean over sequences of sum_g f_g P_g, f_g = mean of f_i in g, P_g = sum of P_i in g",
	.source = "DeepSeek-AI 2024, DeepSeek-V2, equations 26 to 28, with coefficient 1",
};
