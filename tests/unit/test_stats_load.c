/* Loads: sums of gates, adding, merging, the load table. */
#include "stats/load.h"

#include "../tap.h"

#define HEAD "layer\texpert\tcount\tweight\n"

static void check_gate_sums(void)
{
	struct moe_gate_sum a = {0}, b = {0}, parts[3] = {{0}};

	for (int i = 0; i < 3; i++) {
		moe_gate_sum_add(&a, 0.1f);
		moe_gate_sum_add(&parts[i], 0.1f);
	}
	is_close(moe_gate_sum_value(&a), 3 * (double)0.1f, 0, "three gates of 0.1f are three times 0.1f");
	for (int i = 2; i >= 0; i--)
		moe_gate_sum_merge(&b, &parts[i]);
	ok(a.lo == b.lo && a.hi == b.hi, "parts merge to the same units");

	a = (struct moe_gate_sum){0};
	moe_gate_sum_add(&a, 0x1p40f);
	moe_gate_sum_add(&a, 0x1p-40f);
	is_i64((int64_t)a.lo, 1, "a large gate does not swallow a small one");
	is_i64((int64_t)a.hi, 1 << 16, "2^40 is 2^80 units");
	moe_gate_sum_add(&a, 0x1p-42f);
	is_i64((int64_t)a.lo, 1, "a quarter of a unit is rounded away");
	a = (struct moe_gate_sum){UINT64_MAX, UINT64_MAX};
	moe_gate_sum_merge(&a, &b);
	ok(a.lo == UINT64_MAX && a.hi == UINT64_MAX, "a merge saturates");
}

static void check_add(void)
{
	static const int32_t layers[] = {1, 3};
	static const int32_t ids[] = {0, 2, 2, -1};
	static const float gates[] = {0.5f, 0.25f, 0.125f, 0};
	struct moe_routing routing = {
		.layer = 3, .n_experts = 3, .top_k = 2, .n_tokens = 2, .ids = ids, .weights = gates};
	struct moe_load load;
	struct moe_err err = {0};

	if (!ok(!moe_load_init(&load, layers, 2, 3, &err), "a load is made: %s", err.text))
		return;
	ok(!moe_load_add(&load, &routing, &err), "a routing is added");
	is_i64((int64_t)load.counts[3], 1, "expert 0 once");
	is_i64((int64_t)load.counts[4], 0, "expert 1 never");
	is_i64((int64_t)load.counts[5], 2, "expert 2 twice, -1 not counted");
	is_close(moe_gate_sum_value(&load.weights[5]), 0.375, 0, "its gates");
	is_i64((int64_t)load.counts[0], 0, "the other layer is untouched");

	routing.layer = 2;
	is_i64(moe_load_add(&load, &routing, &err), MOE_EFORMAT, "an unknown layer");
	is_like(err.text, "layer 2", "it is named");
	routing.layer = 1;
	routing.ids = (const int32_t[]){0, 3, 0, 0};
	err = (struct moe_err){0};
	is_i64(moe_load_add(&load, &routing, &err), MOE_EFORMAT, "an id out of range");
	is_like(err.text, "expert 3, expected 0 to 2", "what was found and expected");
	routing.ids = ids;
	for (int i = 0; i < 3; i++) {
		static const float bad[] = {-0.5f, (float)NAN, (float)INFINITY};
		const float with[] = {bad[i], 0, 0, 0};

		routing.weights = with;
		err = (struct moe_err){0};
		is_i64(moe_load_add(&load, &routing, &err), MOE_EFORMAT, "a gate of %g", (double)bad[i]);
		is_like(err.text, "layer 1, token 0: a gate of", "its place");
	}
	moe_load_free(&load);
	is_i64(moe_load_init(&load, (const int32_t[]){3, 3}, 2, 3, &err), MOE_EFORMAT, "layers must ascend");
}

static enum moe_status parse(struct moe_load *load, const char *text, struct moe_err *err)
{
	*err = (struct moe_err){0};
	return moe_load_parse(load, text, strlen(text), "t.tsv", err);
}

static void check_table(void)
{
	static const char table[] =
		"#model=xxh3:12\n#tokens=9\n" HEAD
		"1\t0\t3\t0.1\n1\t1\t0\t0\n7\t0\t9007199254740992\t1e-06\n7\t1\t2\t0.30000000000000004\n";
	struct moe_buf out = {0};
	struct moe_load load;
	struct moe_err err;

	if (!ok(!parse(&load, table, &err), "a table is read: %s", err.text))
		return;
	is_i64(load.n_layers, 2, "layers");
	is_i64(load.layers[1], 7, "the model's own index");
	is_i64(load.n_experts, 2, "experts");
	is_i64((int64_t)load.n_tokens, 9, "tokens");
	is_str(load.model, "xxh3:12", "model");
	is_i64((int64_t)load.counts[2], INT64_C(1) << 53, "the largest count");
	moe_load_print(&load, &out);
	moe_load_free(&load);
	is_like(out.p, "7\t0\t9007199254740992\t", "it is printed");
	if (ok(!parse(&load, out.p, &err), "what was printed is read: %s", err.text)) {
		struct moe_buf again = {0};

		moe_load_print(&load, &again);
		is_str(again.p, out.p, "and printed again the same");
		moe_buf_free(&again);
		moe_load_free(&load);
	}
	moe_buf_free(&out);
	if (ok(!parse(&load, "weight\tx\tcount\texpert\tlayer\n1.5\ty\t2\t0\t0\n1e1\tz\t300\t1\t0\n", &err),
	       "any order of columns, others between: %s", err.text)) {
		is_i64((int64_t)load.counts[1], 300, "counts by name");
		moe_load_free(&load);
	}
}

static void check_bad_tables(void)
{
	static const struct {
		const char *what, *text, *part;
	} bad[] = {
		{"empty", "", "t.tsv: has no header line"},
		{"no rows", HEAD, "without rows"},
		{"wrong header", "layer\texpert\tn\tweight\n0\t0\t1\t1\n", "has no column 'count'"},
		{"2^53 + 1", HEAD "0\t0\t9007199254740993\t1\n", "count '9007199254740993', expected a whole number"},
		{"a count in scientific notation", HEAD "0\t0\t1e1\t1\n", "count '1e1', expected a whole number"},
		{"a count with a point", HEAD "0\t0\t1.0\t1\n", "count '1.0', expected a whole number"},
		{"another table", "rank\tnode\tmemory_bytes\n0\t0\t1\n", "has no column 'layer'"},
		{"missing last pair", HEAD "0\t0\t1\t1\n0\t1\t1\t1\n1\t0\t1\t1\n", "layer 1, expert 1 is missing"},
		{"missing first pair", HEAD "0\t1\t1\t1\n", "layer 0, expert 0 is missing"},
		{"huge expert", HEAD "0\t0\t1\t1\n0\t2000000000\t1\t1\n",
	         "2 rows for 1 layers of 2000000001 experts"},
		{"pair twice", HEAD "0\t0\t1\t1\n0\t1\t1\t1\n0\t0\t1\t1\n",
	         "line 4: layer 0, expert 0 is there twice"},
		{"negative count", HEAD "0\t0\t-1\t1\n", "line 2: count '-1'"},
		{"10^30", HEAD "0\t0\t1e30\t1\n", "line 2: count '1e30', expected a whole number from 0 to 2^53"},
		{"10^30 in digits", HEAD "0\t0\t1000000000000000000000000000000\t1\n", "count '1000000000"},
		{"half a choice", HEAD "0\t0\t0.5\t1\n", "count '0.5'"},
		{"count nan", HEAD "0\t0\tnan\t1\n", "'nan'"},
		{"weight nan", HEAD "0\t0\t1\tnan\n", "'nan'"},
		{"weight inf", HEAD "0\t0\t1\tinf\n", "'inf'"},
		{"negative weight", HEAD "0\t0\t1\t-0.1\n", "weight '-0.1'"},
		{"negative layer", HEAD "-1\t0\t1\t1\n", "line 2, column 'layer'"},
		{"negative expert", HEAD "0\t-1\t1\t1\n", "line 2, column 'expert'"},
		{"text", HEAD "0\tx\t1\t1\n", "line 2, column 'expert'"},
		{"cut line", HEAD "0\t0\t1\t1\n0\t1\t", "line 3: expected 4 fields, found 3"},
		{"source, missing pair", "source\t" HEAD "a\t0\t0\t1\t1\na\t0\t1\t1\t1\nb\t0\t0\t1\t1\n",
	         "source 'b', layer 0, expert 1 is missing"},
		{"source, pair twice", "source\t" HEAD "a\t0\t0\t1\t1\nb\t0\t0\t1\t1\na\t0\t0\t1\t1\n",
	         "line 4: source 'a', layer 0, expert 0 is there twice"},
		{"source, past 2^53",
	         "source\t" HEAD "a\t0\t0\t9007199254740992\t1\nb\t0\t0\t1\t1\n",
	         "layer 0, expert 0: count or weight exceed 2^53"},
		{"source, no rows", "source\t" HEAD, "without rows"},
		{"tokens", "#tokens=-3\n" HEAD "0\t0\t1\t1\n", "#tokens=-3"},
	};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct moe_load load;
		struct moe_err err;

		is_i64(parse(&load, bad[i].text, &err), MOE_EFORMAT, "%s is refused", bad[i].what);
		is_like(err.text, bad[i].part, "%s: the sentence", bad[i].what);
		ok(!load.counts && !load.layers, "%s: nothing is left", bad[i].what);
	}
}

/* A column `source`: parts in order of their first row, and their sum. */
static void check_sources(void)
{
	static const char table[] = "#model=m #tokens=7\nsource\t" HEAD
				    "z\t1\t0\t1\t0.5\na\t1\t1\t20\t2\nz\t1\t1\t2\t0.25\na\t1\t0\t10\t1\n";
	struct moe_load_parts parts;
	struct moe_load load;
	struct moe_buf many = {0};
	struct moe_err err = {0};

	if (!ok(!moe_load_parts_parse(&parts, table, strlen(table), "t.tsv", &err), "by source: %s", err.text))
		return;
	is_i64((int64_t)parts.n, 2, "two sources");
	is_str(parts.sources[0], "z", "the first of the rows");
	is_str(parts.sources[1], "a", "the second");
	is_i64((int64_t)parts.loads[0].counts[1], 2, "z, expert 1");
	is_i64((int64_t)parts.loads[1].counts[0], 10, "a, expert 0");
	is_i64((int64_t)parts.loads[0].n_tokens, 0, "tokens of one are unknown");
	is_i64((int64_t)parts.n_tokens, 7, "those of all are not");
	is_str(parts.loads[1].model, "m", "the model");
	moe_load_parts_free(&parts);
	if (ok(!parse(&load, table, &err), "as one load: %s", err.text)) {
		is_i64((int64_t)load.counts[0], 11, "expert 0");
		is_i64((int64_t)load.counts[1], 22, "expert 1");
		is_close(moe_gate_sum_value(&load.weights[1]), 2.25, 0, "weights");
		is_i64((int64_t)load.n_tokens, 7, "tokens");
		is_str(load.model, "m", "model");
		moe_load_free(&load);
	}
	ok(!moe_load_parts_parse(&parts, HEAD "0\t0\t1\t1\n", strlen(HEAD "0\t0\t1\t1\n"), "t.tsv", &err) &&
		   parts.n == 1 && !parts.sources,
	   "no column, no sources");
	moe_load_parts_free(&parts);

	/* As many sources as rows, each of which lacks nearly everything. */
	moe_buf_adds(&many, "source\t" HEAD);
	for (int i = 0; i < 2000; i++)
		moe_buf_addf(&many, "s%d\t0\t%d\t1\t1\n", i, i);
	is_i64(parse(&load, many.p, &err), MOE_EFORMAT, "many sources, much missing");
	is_like(err.text, "2000 rows for 2000 sources, 1 layers of 2000 experts", "said at once");
	moe_buf_free(&many);
}

static void check_merge(void)
{
	struct moe_load a, b, picked;
	struct moe_err err;

	if (!ok(!parse(&a, "#tokens=1\n" HEAD "1\t0\t1\t0.5\n2\t0\t2\t0.25\n", &err), "a: %s", err.text) ||
	    !ok(!parse(&b, "#model=m #tokens=2\n" HEAD "1\t0\t10\t0.5\n2\t0\t20\t1\n", &err), "b: %s", err.text))
		return;
	ok(!moe_load_merge(&a, &b, &err), "two loads merge");
	is_i64((int64_t)a.counts[1], 22, "counts add");
	is_close(moe_gate_sum_value(&a.weights[1]), 1.25, 0, "weights add");
	is_i64((int64_t)a.n_tokens, 3, "tokens add");
	is_str(a.model, "m", "the known model stays");
	ok(!moe_load_pick(&picked, &a, (const int32_t[]){2}, 1, &err), "one layer is picked");
	is_i64((int64_t)picked.counts[0], 22, "its counts");
	moe_load_free(&picked);
	is_i64(moe_load_pick(&picked, &a, (const int32_t[]){5}, 1, &err), MOE_EUSAGE, "a layer that is not there");

	ok(!moe_load_set_model(&b, "other one", &err), "a name");
	is_str(b.model, "other_one", "blanks in it are replaced");
	is_i64(moe_load_merge(&a, &b, &err), MOE_EFORMAT, "different models");
	is_like(err.text, "'m' and 'other_one'", "both are named");
	is_i64((int64_t)a.counts[1], 22, "nothing was added");
	ok(!moe_load_set_model(&b, "m", &err), "the same name");
	b.counts[1] = UINT64_MAX;
	is_i64(moe_load_merge(&a, &b, &err), MOE_EFORMAT, "a sum past 2^64");
	is_i64((int64_t)a.counts[0], 11, "nothing was added");
	b.layers[1] = 9;
	is_i64(moe_load_merge(&a, &b, &err), MOE_EFORMAT, "different layers");
	is_like(err.text, "layer 2 where the other has layer 9", "both are named");
	moe_load_free(&a);
	moe_load_free(&b);
}

int main(void)
{
	check_gate_sums();
	check_add();
	check_table();
	check_bad_tables();
	check_sources();
	check_merge();
	return done();
}
