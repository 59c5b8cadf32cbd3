/* From files to loads: traces and load tables, told apart by their first byte, merged; one load, or one per source. */
#ifndef MOE_STATS_GATHER_H
#define MOE_STATS_GATHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "base/pool.h"
#include "stats/bootstrap.h"
#include "stats/feed.h"
#include "stats/load.h"
#include "stats/stats.h"

struct moe_gather_opts {
	bool by_source;          /* one load per source label */
	const char *source;      /* only tokens of this source; NULL: all. Both refuse load tables without sources */
	bool quarters;           /* fill moe_gather.quarters as well */
	const char *layers;      /* only the layers that "3,5-9" names, by the model's own index; NULL: all */
	bool no_weights;         /* sums of gates are not asked for: they may be 0, and nobody decodes gates */
	/* These metrics will be asked for: what they need is checked, decoded and fed. A view. */
	const struct moe_metric *const *metrics;
	int n_metrics;
	const struct moe_metric_params *params;   /* of the metrics; NULL: the defaults; outlives the gather */
	const char *against;     /* another trace of the same tokens, for metrics that compare; NULL: none */
	int64_t window_tokens;   /* one load per window of so many tokens, in the order of the inputs; 0: no */
	bool resample;           /* fill moe_gather.bootstraps, by this seed; load tables are refused */
	uint64_t seed;
	bool by_position;        /* one load for positions 0, 1, 2-3, 4-7, ... of sequences */
	struct moe_pool *pool;   /* may be NULL */
	struct moe_watch *watch;
	/* Compressed bytes of the file at hand, read and in all (0: a pipe); NULL: nobody asks. */
	void (*progress)(void *arg, const char *path, uint64_t n_read, uint64_t n_total);
	void *arg;
};

/* Without by_source one load, whose source is "". Sources come in order of their first token or row. Windows are
 * sources named 0, 1, 2, ..., positions are sources named by their first and last; load tables have neither. */
struct moe_gather {
	size_t n;
	struct moe_load *loads;   /* [n] */
	char **sources;           /* [n] */
	struct moe_feeder *feeder;
	struct moe_feed **feeds;  /* [n] of the metrics that read tokens; NULL: none does */
	struct moe_bootstrap **bootstraps;   /* [n]; each NULL unless asked for */
	bool no_gates;            /* some trace kept none: the weights are too small */
	bool has_table;           /* some file was a load table */
	/* [parity of the part, counted over all files][parity of the sequence in it]: what the traces hold, so that a
	 * plan can be made on one half and judged on the other. Zero where nobody asked. */
	struct moe_load quarters[2][2];
};

/* "-" is stdin. Memory is one load per source, and what the metrics state, whatever the length of the traces. Files of
 * different models are refused, and the sentence names file and both models. n_paths >= 1. */
MOE_MUST_USE enum moe_status moe_gather_files(struct moe_gather *gather, char *const *paths, int n_paths,
                                              const struct moe_gather_opts *opts, struct moe_err *err);
/* Leaves only these layers in every load; moe_gather_opts.layers does the same, and feeds no others. */
MOE_MUST_USE enum moe_status moe_gather_keep_layers(struct moe_gather *gather, const char *text, struct moe_err *err);
void moe_gather_free(struct moe_gather *gather);   /* leaves it zero */

#endif
