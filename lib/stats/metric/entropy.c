/* Entropy of the load over experts. */
#include "stats/entropy.h"

const struct moe_metric moe_metric_entropy = {
	.name = "entropy", .unit = "bits", .all = MOE_ALL_MEAN, .layer = moe_counts_entropy,
	.help = "entropy of the shares: log2 E where all are alike, 0 where one expert takes all",
	.formula = "H = -sum_e p_e log2 p_e",
	.source = "Shannon 1948, A Mathematical Theory of Communication, section 6",
};
