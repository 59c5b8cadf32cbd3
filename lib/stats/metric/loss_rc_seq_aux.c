/* The balance loss in the training code published with DeepSeek V1 and V2. */
#include "stats/balance.h"

const struct moe_metric moe_metric_loss_rc_seq_aux = {
	.name = "loss_rc_seq_aux", .unit = "1", .all = MOE_ALL_MEAN, .layer = moe_sequences_expert,
	.needs = MOE_NEEDS_LOGITS, .stream = &moe_stream_sequences,
	.help = "loss of the code published with DeepSeek V1 and V2 (seq_aux): the number of loss_v2_expert",
	.formula = "mean over sequences of sum_i E/(K T) c_i mean_t s_it",
	.source = "modeling_deepseek.py of DeepSeek-MoE-16B and DeepSeek-V2, with coefficient 1",
};
