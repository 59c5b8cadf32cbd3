/* Tables from hostile bytes: as loads, plans and machines. */
#include "fuzz.h"

#include "base/table.h"
#include "plan/plan.h"
#include "plan/topology.h"
#include "stats/load.h"

static void fuzz_one(const uint8_t *data, size_t n)
{
	struct moe_err err = {0};
	struct moe_table *table;
	struct moe_load load = {0};
	struct moe_plan plan = {0};
	struct moe_topology topology = {0};
	struct moe_buf out = {0};

	if (!moe_load_parse(&load, (const char *)data, n, "fuzz", &err)) {
		moe_load_print(&load, &out);
		moe_load_free(&load);
	}
	if (moe_table_parse(&table, (const char *)data, n, "fuzz", &err)) {
		moe_buf_free(&out);
		return;
	}
	if (!moe_plan_parse(&plan, table, &err)) {
		moe_plan_print(&plan, &out);
		moe_plan_free(&plan);
	}
	if (!moe_topology_parse(&topology, table, &err))
		moe_topology_free(&topology);
	moe_table_free(table);
	moe_buf_free(&out);
}
