/* The sequence-wise balance loss of DeepSeek-V3. */
#include "stats/balance.h"

const struct moe_metric moe_metric_loss_v3_seq = {
	.name = "loss_v3_seq", .unit = "1", .all = MOE_ALL_MEAN, .layer = moe_sequences_expert,
	.needs = MOE_NEEDS_LOGITS, .stream = &moe_stream_sequences_own,
	.help = "sequence-wise balance loss of DeepSeek-V3: 1 is even",
	.formula = "mean over sequences of sum_i f_i P_i, f_i = E/(K T) #{t: s_it among the K largest}",
	.source = "DeepSeek-AI 2024, DeepSeek-V3, equations 17 to 20, with coefficient 1",
};
