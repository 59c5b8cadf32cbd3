/* The expert-level balance loss of DeepSeek-V2. */
#include "stats/balance.h"

const struct moe_metric moe_metric_loss_v2_expert = {
	.name = "loss_v2_expert", .unit = "1", .all = MOE_ALL_MEAN, .layer = moe_sequences_expert,
	.needs = MOE_NEEDS_LOGITS, .stream = &moe_stream_sequences,
	.help = "expert-level balance loss of DeepSeek-V2: that of V1 for each sequence, then the mean",
	.formula = "mean over sequences of sum_i f_i P_i, f_i = E/(K T) c_i, T tokens of the sequence",
	.source = "DeepSeek-AI 2024, DeepSeek-V2, equations 23 to 25, with coefficient 1",
};
