/* Traces read once more for what a load does not say: which experts are chosen together, which rows cross ranks and
 * nodes under a plan, how far loads would move with other sequences. */
#ifndef MOE_PLACEMENT_TRAFFIC_H
#define MOE_PLACEMENT_TRAFFIC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "base/pool.h"
#include "plan/plan.h"
#include "plan/topology.h"
#include "stats/bootstrap.h"
#include "stats/fan.h"
#include "stats/load.h"
#include "stats/pairs.h"

/* Which tokens of which files. */
struct moe_traffic {
	char *const *paths;     /* traces, not stdin and no tables */
	int n_paths;
	int parity;             /* 0 or 1: sequences, or parts, of even or odd number; -1: all */
	bool by_part;           /* the parity is that of the part, counted over all files */
	struct moe_pool *pool;
	struct moe_watch *watch;
};

/* Experts of a token in every layer of `load`, whose layers and experts the traces must have: *out [n_layers], each of
 * one allocation, freed by moe_traffic_free. */
MOE_MUST_USE enum moe_status moe_traffic_together(const struct moe_traffic *traffic, const struct moe_load *load,
                                                  struct moe_together ***out, struct moe_err *err);
void moe_traffic_free(struct moe_together **together, int32_t n_layers);   /* NULL is fine */

/* What every plan sends, each on its topology: out [n_plans][load->n_layers]. */
MOE_MUST_USE enum moe_status moe_traffic_cross(const struct moe_traffic *traffic, const struct moe_load *load,
                                               const struct moe_plan *plans, const struct moe_topology *topologies,
                                               int n_plans, struct moe_fan *out, struct moe_err *err);

/* Loads of resampled sequences. */
MOE_MUST_USE enum moe_status moe_traffic_resample(const struct moe_traffic *traffic, const struct moe_load *load,
                                                  uint64_t seed, struct moe_bootstrap **out, struct moe_err *err);

#endif
