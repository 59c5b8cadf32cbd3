/* How much the token id tells of the experts that it is sent to. */
#include <math.h>
#include <stdlib.h>

#include "stats/fixed.h"
#include "stats/stats.h"
#include "stats/vocab.h"

/* Summed in an order that does not depend on how the table grew: by integers first, as H(x) + H(e) - H(x, e). */
static double bits(const struct moe_counts *counts)
{
	const struct moe_vocab *v = counts->state;
	const double total = (double)v->n_choices;
	moe_wide pairs = 0, tokens = 0;
	double experts = 0;

	if (!(total > 0))
		return (double)NAN;
	for (size_t i = 0; i < v->cap; i++) {
		double n = (double)v->entries[i].count;

		if (n > 0 && v->entries[i].expert == MOE_VOCAB_ALL)
			tokens += (moe_wide)llround(n * log2(n) * 0x1p16);
		else if (n > 0)
			pairs += (moe_wide)llround(n * log2(n) * 0x1p16);
	}
	for (int32_t e = 0; e < counts->n_experts; e++) {
		double n = (double)counts->counts[e];

		experts += n > 0 ? n * log2(n) : 0;
	}
	return ((double)pairs - (double)tokens) * 0x1p-16 / total - experts / total + log2(total);
}

const struct moe_metric moe_metric_vocabulary_bits = {
	.name = "vocabulary_bits", .unit = "bits", .all = MOE_ALL_MEAN, .layer = bits, .stream = &moe_stream_vocab,
	.help = "mutual information of a choice's expert and its token id; keeps a count for each of both",
	.formula = "sum_xe (n_xe / C) log2(C n_xe / (n_x c_e))",
	.source = "Shannon 1948, A Mathematical Theory of Communication",
};
