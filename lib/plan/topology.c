/* Reading the table of the machine. */
#include "plan/topology.h"

#include <stdlib.h>
#include <string.h>

#include "plan/plan.h"

void moe_topology_free(struct moe_topology *topology)
{
	free(topology->node);
	free(topology->memory_bytes);
	memset(topology, 0, sizeof *topology);
}

static enum moe_status allocate(struct moe_topology *topology, int32_t n_ranks, struct moe_err *err)
{
	memset(topology, 0, sizeof *topology);
	topology->node = calloc((size_t)n_ranks, sizeof *topology->node);
	topology->memory_bytes = calloc((size_t)n_ranks, sizeof *topology->memory_bytes);
	if (!topology->node || !topology->memory_bytes) {
		moe_topology_free(topology);
		return moe_err_nomem(err, (size_t)n_ranks * sizeof *topology->memory_bytes, "a topology");
	}
	topology->n_ranks = n_ranks;
	return MOE_OK;
}

enum moe_status moe_topology_even(struct moe_topology *topology, int32_t n_ranks, int32_t n_nodes, struct moe_err *err)
{
	memset(topology, 0, sizeof *topology);
	if (n_ranks < 1 || n_ranks > MOE_PLAN_MAX_RANKS)
		return moe_err_set(err, MOE_EUSAGE, "%d ranks: expected 1 to %d", n_ranks, MOE_PLAN_MAX_RANKS);
	if (n_nodes < 1 || n_ranks % n_nodes)
		return moe_err_set(err, MOE_EUSAGE, "%d ranks do not spread evenly over %d nodes", n_ranks, n_nodes);
	if (allocate(topology, n_ranks, err))
		return MOE_EIO;
	topology->n_nodes = n_nodes;
	topology->even = true;
	for (int32_t r = 0; r < n_ranks; r++)
		topology->node[r] = r / (n_ranks / n_nodes);
	return MOE_OK;
}

/* Ranks 0..n-1 once each, nodes 0..m-1 all used. */
static enum moe_status fill(struct moe_topology *topology, const struct moe_table *table, struct moe_err *err)
{
	const char *name = moe_table_name(table);
	int32_t n = topology->n_ranks, n_nodes = 0;
	int c_rank, c_node, c_memory = moe_table_find(table, "memory_bytes");
	int64_t rank, node, memory = 0;

	if (moe_table_need(table, "rank", &c_rank, err) || moe_table_need(table, "node", &c_node, err))
		return MOE_EFORMAT;
	for (int32_t r = 0; r < n; r++)
		topology->node[r] = -1;
	for (int32_t i = 0; i < n; i++) {
		if (moe_table_i64(table, i, c_rank, 0, n - 1, &rank, err) ||
		    moe_table_i64(table, i, c_node, 0, n - 1, &node, err) ||
		    (c_memory >= 0 && moe_table_i64(table, i, c_memory, 0, INT64_MAX, &memory, err)))
			return MOE_EFORMAT;
		if (topology->node[rank] >= 0)
			return moe_err_set(err, MOE_EFORMAT, "%s: line %lld: rank %lld is given twice", name,
			                   (long long)moe_table_line(table, i), (long long)rank);
		topology->node[rank] = (int32_t)node;
		topology->memory_bytes[rank] = (uint64_t)memory;
		n_nodes = node >= n_nodes ? (int32_t)node + 1 : n_nodes;
	}
	topology->n_nodes = n_nodes;
	return MOE_OK;
}

static enum moe_status check_nodes(struct moe_topology *topology, const char *name, struct moe_err *err)
{
	int32_t *n_of = calloc((size_t)topology->n_nodes, sizeof *n_of);
	enum moe_status status = MOE_OK;

	if (!n_of)
		return moe_err_nomem(err, (size_t)topology->n_nodes * sizeof *n_of, "a topology");
	for (int32_t r = 0; r < topology->n_ranks; r++)
		n_of[topology->node[r]]++;
	topology->even = true;
	for (int32_t i = 0; i < topology->n_nodes && !status; i++) {
		topology->even = topology->even && n_of[i] == n_of[0];
		if (!n_of[i])
			status = moe_err_set(err, MOE_EFORMAT, "%s: node %d has no rank, though there is a node %d",
			                     name, i, topology->n_nodes - 1);
	}
	free(n_of);
	return status;
}

enum moe_status moe_topology_parse(struct moe_topology *topology, const struct moe_table *table, struct moe_err *err)
{
	int64_t n = moe_table_rows(table);
	enum moe_status status;

	memset(topology, 0, sizeof *topology);
	if (n < 1 || n > MOE_PLAN_MAX_RANKS)
		return moe_err_set(err, MOE_EFORMAT, "%s: %lld ranks: expected 1 to %d", moe_table_name(table),
		                   (long long)n, MOE_PLAN_MAX_RANKS);
	status = allocate(topology, (int32_t)n, err);
	if (!status)
		status = fill(topology, table, err);
	if (!status)
		status = check_nodes(topology, moe_table_name(table), err);
	if (status)
		moe_topology_free(topology);
	return status;
}

enum moe_status moe_topology_read(struct moe_topology *topology, const char *path, struct moe_err *err)
{
	struct moe_table *table;
	enum moe_status status;

	memset(topology, 0, sizeof *topology);
	status = moe_table_read(&table, path, err);
	if (status)
		return status;
	status = moe_topology_parse(topology, table, err);
	moe_table_free(table);
	return status;
}
