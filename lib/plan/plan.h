/* Where every expert lives: the plan table of moe-plan(5), and the machine it is for, moe-topology(5). */
#ifndef MOE_PLAN_PLAN_H
#define MOE_PLAN_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "base/table.h"

/* One copy of one expert. */
struct moe_plan_entry {
	int32_t layer, expert, replica, rank, slot;   /* slot counts within its rank */
};

struct moe_plan {
	int32_t n_ranks;
	int32_t n_nodes;              /* ranks are spread over them evenly; 0: in another way */
	int64_t n_entries;
	struct moe_plan_entry *entries;   /* sorted by layer, rank, slot */
	char *planner;                /* "greedy" or "" */
	char *model;                  /* "xxh3:..." or "" */
};

#define MOE_PLAN_MAX_RANKS (1 << 20)

void moe_plan_free(struct moe_plan *plan);
/* Reads, sorts and validates all that can be told without the model: every layer places the same experts 0..E-1.
 * Messages name the line. */
MOE_MUST_USE enum moe_status moe_plan_read(struct moe_plan *plan, const char *path, struct moe_err *err);
/* The same from a table already parsed. */
MOE_MUST_USE enum moe_status moe_plan_parse(struct moe_plan *plan, const struct moe_table *table, struct moe_err *err);
/* Every (layer, expert) of layers x n_experts placed; replicas numbered 0.. without gaps; slots within a rank 0..
 * without gaps; never two replicas of one expert on a rank; ranks within n_ranks. `name` is for messages. */
MOE_MUST_USE enum moe_status moe_plan_check(const struct moe_plan *plan, const int32_t *layers, int32_t n_layers,
                                            int32_t n_experts, const char *name, struct moe_err *err);
/* Adds the layers of the list that the plan does not name, placed contiguously without replicas: rank r of R holds
 * experts [r*E/R, (r+1)*E/R). That is where every program looks for them. *n_added counts those layers. */
MOE_MUST_USE enum moe_status moe_plan_complete(struct moe_plan *plan, const int32_t *layers, int32_t n_layers,
                                               int32_t n_experts, int32_t *n_added, struct moe_err *err);
/* Sorts by layer, rank, slot: for those who fill a plan themselves. */
void moe_plan_sort(struct moe_plan *plan);
/* Ranks, nodes and entries of a plan, without what it is called by; freed with moe_plan_free. */
MOE_MUST_USE enum moe_status moe_plan_copy(struct moe_plan *to, const struct moe_plan *plan, struct moe_err *err);
/* Entries by layer, expert, rank, in which moe_plan_find looks. */
void moe_plan_sort_by_expert(struct moe_plan_entry *entries, int64_t n);
/* The copies of an expert among entries sorted so, by rank: a view [*n_copies]. */
const struct moe_plan_entry *moe_plan_find(const struct moe_plan_entry *entries, int64_t n, int32_t layer,
                                           int32_t expert, int64_t *n_copies);
void moe_plan_print(const struct moe_plan *plan, struct moe_buf *out);
/* Entries of one layer: a view [*n]; NULL and 0 where the plan does not name it. */
const struct moe_plan_entry *moe_plan_layer(const struct moe_plan *plan, int32_t layer, int64_t *n);
/* XXH3-128 of the printed form, 32 hex digits. */
MOE_MUST_USE enum moe_status moe_plan_hash(const struct moe_plan *plan, char out[33], struct moe_err *err);

#endif
