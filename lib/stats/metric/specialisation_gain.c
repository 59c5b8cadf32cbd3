/* How much is known of the source of a token when its expert is. */
#include "stats/sources.h"

const struct moe_metric moe_metric_specialisation_gain = {
	.name = "specialisation_gain", .unit = "bits", .all = MOE_ALL_MEAN, .expert = moe_sources_gain,
	.stream = &moe_stream_sources,
	.help = "how far the sources of an expert's choices are from those of all",
	.formula = "sum_s p(s|e) log2(p(s|e) / p(s)), p(s|e) = c_es / c_e, p(s) = C_s / C",
	.source = "Kullback and Leibler 1951, On Information and Sufficiency",
};
