/* Resampled sequences: how far a number would move with other text of the same kind.
 *
 * The block is a sequence, as tokens of one text are not independent. In each of MOE_RESAMPLES resamples a sequence
 * counts as often as a Poisson variable of mean 1 says, which is what drawing as many sequences with replacement comes
 * to when there are many (Hanley and MacGibbon 2006, Creating non-parametric bootstrap samples using Poisson
 * frequencies); it needs no second pass. The variable follows from seed, resample, part and sequence alone.
 *
 * What metrics read beside counts is fed for each sequence by itself, once, and its states are merged into those of the
 * resamples as often as it counts there: merging is exact, so that this is what feeding it again would give. */
#ifndef MOE_STATS_BOOTSTRAP_H
#define MOE_STATS_BOOTSTRAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "stats/feed.h"
#include "stats/gone.h"
#include "stats/load.h"
#include "trace/trace.h"

enum { MOE_RESAMPLES = 200 };

/* A sequence that may go on. */
struct moe_bootstrap_open {
	int64_t seq;
	uint64_t tick;           /* when it was last fed */
	struct moe_feed *feed;   /* of it alone */
};

struct moe_bootstrap {
	uint64_t seed;
	size_t n_pairs;     /* layers x experts */
	int32_t n_layers, n_experts;
	uint64_t *counts;   /* [MOE_RESAMPLES][n_pairs] */
	uint64_t *run;      /* [n_pairs] of the run at hand */
	struct moe_gate_sum *gates, *run_gates;   /* the same of gates; NULL: nobody asks */
	/* Metrics that read tokens; NULL: there is none. */
	struct moe_feeder *feeder;
	struct moe_feed **feeds;            /* [MOE_RESAMPLES] */
	struct moe_bootstrap_open *open;    /* [n_open] of the part at hand */
	size_t n_open, cap_open;
	uint64_t tick;
	int64_t part;
	struct moe_gone gone;
	int64_t first_part, first_seq;      /* part -1: none yet */
	bool several;                       /* sequences: of one alone there is nothing to draw, and no interval */
};

struct moe_bootstrap_opts {
	int32_t n_layers, n_experts;
	uint64_t seed;
	bool gates;                  /* their sums as well */
	struct moe_feeder *feeder;   /* borrowed; NULL: counts are enough */
};

MOE_MUST_USE enum moe_status moe_bootstrap_new(struct moe_bootstrap **out, const struct moe_bootstrap_opts *opts,
                                               struct moe_err *err);
/* Ids and gates were checked before. part: of all files. against: as moe_feed_add has it. */
MOE_MUST_USE enum moe_status moe_bootstrap_add(struct moe_bootstrap *bootstrap, int64_t part,
                                               const struct moe_trace_run *run, const struct moe_routing *against,
                                               struct moe_err *err);
/* After the last run. */
MOE_MUST_USE enum moe_status moe_bootstrap_end(struct moe_bootstrap *bootstrap, struct moe_err *err);
/* Leaves only some rows of the layers: marks [n_layers]. */
void moe_bootstrap_keep(struct moe_bootstrap *bootstrap, const bool *marks);
void moe_bootstrap_free(struct moe_bootstrap *bootstrap);   /* NULL is fine */

/* Sorts n values, NaN left out, and takes those that 2.5 % lie below and above (interpolated); NaN for none. */
void moe_bootstrap_interval(double *values, int n, double *low, double *high);
/* Takes off the bounds of a number of at least 0, `value` as measured, twice what the values exceed it by on average:
 * measures of unevenness are too large where text is short, by about as much as a resample's exceeds that of its own
 * text: once for the value, once more for the resamples (Efron and Tibshirani 1993, An Introduction to the Bootstrap,
 * chapter 10). Not for what was fitted to the same text, which is too small there. */
void moe_bootstrap_correct(const double *values, int n, double value, double *low, double *high);

#endif
