/* Machines: even ones, and those read from tables. */
#include "../tap.h"

#include "base/table.h"
#include "plan/topology.h"

static enum moe_status parse(struct moe_topology *t, const char *text, struct moe_err *err)
{
	struct moe_table *table;
	enum moe_status status;

	*err = (struct moe_err){0};
	status = moe_table_parse(&table, text, strlen(text), "t.tsv", err);
	if (status)
		return status;
	status = moe_topology_parse(t, table, err);
	moe_table_free(table);
	return status;
}

static void refuse(const char *text, const char *why)
{
	struct moe_topology t;
	struct moe_err err;

	ok(parse(&t, text, &err) == MOE_EFORMAT && strstr(err.text, why), "refused: %s (%s)", why, err.text);
	ok(!t.node, "nothing is left behind");
}

int main(void)
{
	struct moe_topology t;
	struct moe_err err = {0};

	ok(!moe_topology_even(&t, 8, 2, &err), "8 ranks on 2 nodes");
	ok(t.even && t.node[3] == 0 && t.node[4] == 1 && t.memory_bytes[7] == 0, "in blocks, memory unknown");
	moe_topology_free(&t);
	is_i64(moe_topology_even(&t, 8, 3, &err), MOE_EUSAGE, "8 ranks on 3 nodes: %s", err.text);
	is_i64(moe_topology_even(&t, 0, 1, &err), MOE_EUSAGE, "no ranks");
	ok(!parse(&t, "rank\tnode\tmemory_bytes\n2\t1\t85899345920\n0\t0\t1\n1\t0\t2\n", &err), "rows in any order");
	ok(!t.even && t.n_ranks == 3 && t.n_nodes == 2 && t.node[2] == 1 && t.memory_bytes[2] == 85899345920u, "read");
	moe_topology_free(&t);
	ok(!parse(&t, "rank\tnode\n0\t0\n", &err) && t.memory_bytes[0] == 0, "memory may be left out");
	moe_topology_free(&t);
	ok(!parse(&t, "rank\tnode\n0\t1\n1\t0\n", &err) && t.even, "one rank a node is even, in any order");
	moe_topology_free(&t);
	ok(!parse(&t, "rank\tnode\n0\t0\n1\t0\n2\t0\n3\t1\n", &err) && !t.even, "three and one are not");
	moe_topology_free(&t);
	refuse("rank\tnode\n", "0 ranks");
	refuse("rank\tmemory_bytes\n0\t0\n", "no column 'node'");
	refuse("rank\tnode\n0\t0\n0\t0\n", "t.tsv: line 3: rank 0 is given twice");
	refuse("rank\tnode\n0\t0\n2\t0\n", "t.tsv: line 3");
	refuse("rank\tnode\n0\t1\n1\t1\n", "node 0 has no rank");
	refuse("rank\tnode\tmemory_bytes\n0\t0\t-5\n", "t.tsv: line 2");
	return done();
}
