/* The machine: which node each rank sits on and how much memory it has. */
#ifndef MOE_PLAN_TOPOLOGY_H
#define MOE_PLAN_TOPOLOGY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/table.h"

struct moe_topology {
	int32_t n_ranks, n_nodes;
	int32_t *node;             /* [n_ranks] */
	uint64_t *memory_bytes;    /* [n_ranks]; 0: unknown */
	bool even;                 /* every node has as many ranks */
};

/* n_ranks over n_nodes in consecutive equal blocks; n_ranks must divide. */
MOE_MUST_USE enum moe_status moe_topology_even(struct moe_topology *topology, int32_t n_ranks, int32_t n_nodes,
                                               struct moe_err *err);
/* Columns rank node [memory_bytes], every rank 0..n-1 once, nodes 0..m-1 all used. */
MOE_MUST_USE enum moe_status moe_topology_read(struct moe_topology *topology, const char *path, struct moe_err *err);
/* The same from a table already parsed. */
MOE_MUST_USE enum moe_status moe_topology_parse(struct moe_topology *topology, const struct moe_table *table,
                                                struct moe_err *err);
void moe_topology_free(struct moe_topology *topology);

#endif
