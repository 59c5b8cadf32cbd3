/* Choices by source. The state owns memory that grows with the number of sources. */
#ifndef MOE_STATS_SOURCES_H
#define MOE_STATS_SOURCES_H

#include <stdint.h>

#include "stats/stats.h"
#include "stats/stream.h"

struct moe_sources {
	size_t n, cap, last;
	char **names;       /* [n] ascending */
	uint64_t *counts;   /* [n][n_experts] */
};

/* Its state is a struct moe_sources. */
extern const struct moe_stream moe_stream_sources;

/* Choices of a source, of an expert, of all. */
double moe_sources_of_source(const struct moe_counts *counts, size_t source);
double moe_sources_of_expert(const struct moe_counts *counts, int32_t expert);
double moe_sources_total(const struct moe_counts *counts);
/* sum_s p(s|e) log2(p(s|e) / p(s)), bits; NaN where the expert has no choice. */
double moe_sources_gain(const struct moe_counts *counts, int32_t expert);

#endif
