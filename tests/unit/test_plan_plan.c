/* Plans: read, checked, completed, printed and hashed. */
#include "../tap.h"

#include "base/table.h"
#include "plan/plan.h"

#define HEAD "layer\texpert\treplica\trank\tslot\n"

static const char good[] = "#ranks=3 #nodes=1 #planner=greedy #model=xxh3:0123\n" HEAD
                           "1\t0\t0\t0\t0\n1\t1\t0\t0\t1\n1\t1\t1\t1\t0\n1\t2\t0\t1\t1\n"
                           "4\t2\t0\t0\t0\n4\t1\t0\t1\t0\n4\t0\t0\t1\t1\n";

static enum moe_status parse(struct moe_plan *plan, const char *text, struct moe_err *err)
{
	struct moe_table *table;
	enum moe_status status;

	*err = (struct moe_err){0};
	status = moe_table_parse(&table, text, strlen(text), "p.tsv", err);
	if (status)
		return status;
	status = moe_plan_parse(plan, table, err);
	moe_table_free(table);
	return status;
}

static void refuse(const char *rows, const char *why)
{
	struct moe_buf text = {0};
	struct moe_plan plan;
	struct moe_err err;

	moe_buf_adds(&text, rows);
	ok(parse(&plan, text.p, &err) == MOE_EFORMAT && strstr(err.text, why), "refused: %s (%s)", why, err.text);
	ok(!plan.entries, "nothing is left behind");
	moe_buf_free(&text);
}

static void check_refusals(void)
{
	refuse(HEAD, "has no rows");
	refuse("layer\texpert\trank\tslot\n0\t0\t0\t0\n", "no column 'replica'");
	refuse(HEAD "0\t0\t0\t0\t0\n0\t1\t0\t0\t0\n", "p.tsv: line 3: layer 0, rank 0, slot 0 is given twice");
	refuse(HEAD "0\t0\t0\t0\t0\n0\t1\t0\t0\t2\n",
	       "line 3: layer 0, rank 0: slot 2 follows where slot 1 is expected");
	refuse(HEAD "0\t0\t0\t0\t0\n0\t2\t0\t0\t1\n", "layer 0: expert 1 has no place");
	refuse(HEAD "0\t0\t0\t0\t0\n0\t1\t0\t0\t1\n1\t0\t0\t0\t0\n", "layer 1: expert 1 has no place");
	refuse(HEAD "0\t0\t0\t0\t0\n1\t0\t0\t0\t0\n1\t1\t0\t0\t1\n", "layer 0: expert 1 has no place");
	refuse(HEAD "0\t0\t0\t0\t0\n0\t0\t1\t0\t1\n", "line 3: layer 0: two replicas of expert 0 on rank 0");
	refuse(HEAD "0\t0\t0\t0\t0\n0\t0\t2\t1\t0\n",
	       "line 3: layer 0, expert 0: replica 2 where replica 1 is expected");
	refuse(HEAD "0\t0\t0\t0\t0\n0\t0\t0\t1\t0\n", "replica 0 where replica 1 is expected");
	refuse("#ranks=1\n" HEAD "0\t0\t0\t0\t0\n0\t1\t0\t1\t0\n",
	       "p.tsv: line 4: rank 1, but the plan has ranks 0 to 0");
	refuse("#ranks=x\n" HEAD "0\t0\t0\t0\t0\n", "#ranks=x");
	refuse("#ranks=0\n" HEAD "0\t0\t0\t0\t0\n", "#ranks=0");
	refuse("#ranks=2 #nodes=3\n" HEAD "0\t0\t0\t0\t0\n", "#nodes=3: 2 ranks do not spread evenly");
	refuse(HEAD "0\t-1\t0\t0\t0\n", "p.tsv: line 2");
	refuse(HEAD "0\t0\t0\t99999999\t0\n", "p.tsv: line 2");
	refuse(HEAD "0\t0\t0\tx\t0\n", "p.tsv: line 2");
}

static void check_print(void)
{
	struct moe_plan plan, again;
	struct moe_buf text = {0}, twice = {0};
	struct moe_err err;
	char a[33], b[33];

	ok(!parse(&plan, good, &err), "a good plan is read (%s)", err.text);
	is_i64(plan.n_ranks, 3, "ranks may be empty: #ranks counts them");
	is_i64(plan.n_entries, 7, "rows");
	is_str(plan.planner, "greedy", "the planner's name");
	is_str(plan.model, "xxh3:0123", "the model");
	is_i64(plan.entries[4].expert, 2, "sorted by layer, rank, slot");
	moe_plan_print(&plan, &text);
	ok(!parse(&again, text.p, &err), "what is printed is read");
	moe_plan_print(&again, &twice);
	is_str(twice.p, text.p, "and printed the same");
	ok(!moe_plan_hash(&plan, a, &err) && !moe_plan_hash(&again, b, &err), "hashed");
	is_str(a, b, "the same hash");
	again.entries[0].expert = 1;
	ok(!moe_plan_hash(&again, b, &err) && strcmp(a, b), "another plan, another hash");
	moe_plan_free(&again);
	moe_plan_free(&plan);
	moe_buf_free(&twice);
	moe_buf_free(&text);
}

static void check_layers(void)
{
	const int32_t layers[] = {1, 4, 7}, two[] = {1, 4}, other[] = {1, 5};
	const struct moe_plan_entry *view;
	struct moe_plan plan;
	struct moe_err err;
	int32_t n_added;
	int64_t n;

	ok(!parse(&plan, good, &err), "read");
	ok(!moe_plan_check(&plan, two, 2, 3, "p", &err), "fits its model");
	ok(moe_plan_check(&plan, two, 2, 4, "p", &err) == MOE_EFORMAT && strstr(err.text, "expert 3 has no place"),
	   "a model with more experts: %s", err.text);
	ok(moe_plan_check(&plan, two, 2, 2, "p", &err) == MOE_EFORMAT && strstr(err.text, "expert 2, but there are"),
	   "a model with fewer: %s", err.text);
	ok(moe_plan_check(&plan, other, 2, 3, "p", &err) == MOE_EFORMAT && strstr(err.text, "layer 4 is not"),
	   "a layer that the model lacks: %s", err.text);
	ok(moe_plan_check(&plan, layers, 3, 3, "p", &err) == MOE_EFORMAT && strstr(err.text, "layer 7 is missing"),
	   "a layer that the plan lacks: %s", err.text);
	ok(!moe_plan_layer(&plan, 2, &n) && n == 0, "no layer 2");
	ok(!moe_plan_complete(&plan, layers, 3, 3, &n_added, &err), "completed");
	is_i64(n_added, 1, "by one layer");
	ok(!moe_plan_check(&plan, layers, 3, 3, "p", &err), "and whole then (%s)", err.text);
	view = moe_plan_layer(&plan, 7, &n);
	ok(view && n == 3 && view[0].rank == 0 && view[1].rank == 1 && view[2].rank == 2 && view[2].expert == 2,
	   "contiguous: one expert a rank");
	moe_plan_free(&plan);
}

int main(void)
{
	check_refusals();
	check_print();
	check_layers();
	return done();
}
