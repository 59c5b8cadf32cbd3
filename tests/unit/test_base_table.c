/* The TSV dialect: what is read, what is refused and where. */
#include "base/table.h"

#include "../tap.h"

static struct moe_table *parsed(const char *text)
{
	struct moe_table *table = NULL;
	struct moe_err err = {0};

	if (moe_table_parse(&table, text, strlen(text), "t.tsv", &err))
		printf("# %s\n", err.text);
	return table;
}

static void refused(const char *text, const char *sentence)
{
	struct moe_table *table = NULL;
	struct moe_err err = {0};

	is_i64(moe_table_parse(&table, text, strlen(text), "t.tsv", &err), MOE_EFORMAT, "refused");
	is_str(err.text, sentence, "with file, line and what was found");
	moe_table_free(table);
}

static void test_read(void)
{
	struct moe_table *t = parsed("#ranks=4 #nodes=2 #model=xxh3:ab\n# just words\n#command=moe-x --seed=7 ranks=5\n"
	                             "layer\texpert\tname\n"
	                             "0\t7\ta\\tb\\\\c\\nd\n1\t-3\t\n2\t2.5e-1\t\xff#x\n");
	struct moe_err err = {0};
	int64_t v = 0;
	double f = 0;
	int column = 0;

	if (!ok(t != NULL, "a table is read"))
		return;
	is_i64(moe_table_rows(t), 3, "three rows");
	is_str(moe_table_meta(t, "ranks"), "4", "#ranks");
	is_str(moe_table_meta(t, "model"), "xxh3:ab", "#model");
	ok(moe_table_meta(t, "words") == NULL, "remarks are no keys");
	is_str(moe_table_meta(t, "command"), "moe-x --seed=7 ranks=5", "#command has its line");
	is_i64(moe_table_find(t, "name"), 2, "a column by name");
	is_i64(moe_table_find(t, "nam"), -1, "the whole name");
	is_str(moe_table_str(t, 0, 2).p, "a\tb\\c\nd", "escapes");
	is_i64((int64_t)moe_table_str(t, 1, 2).n, 0, "an empty last field");
	is_str(moe_table_str(t, 2, 2).p, "\xff#x", "any other byte stands for itself");
	is_i64(moe_table_line(t, 0), 5, "line numbers count what is before the header");
	is_i64(moe_table_i64(t, 1, 1, -5, 5, &v, &err), MOE_OK, "an integer");
	is_i64(v, -3, "its value");
	is_i64(moe_table_f64(t, 2, 1, &f, &err), MOE_OK, "a real");
	is_close(f, 0.25, 0, "its value");
	is_i64(moe_table_i64(t, 2, 1, 0, 9, &v, &err), MOE_EFORMAT, "not an integer");
	is_str(err.text, "t.tsv: line 7, column 'expert': '2.5e-1' is not an integer", "says where");
	is_i64(moe_table_i64(t, 0, 1, 0, 6, &v, &err), MOE_EFORMAT, "out of range");
	is_str(err.text, "t.tsv: line 5, column 'expert': '7' is out of range 0..6", "says the range");
	is_i64(moe_table_need(t, "rank", &column, &err), MOE_EFORMAT, "a missing column");
	is_str(err.text, "t.tsv: line 4: has no column 'rank', only: layer expert name", "lists those there are");
	moe_table_free(t);
}

static void test_ends(void)
{
	struct moe_table *t = parsed("a\tb\r\n1\t2\r\n3\t4");

	ok(t && moe_table_rows(t) == 2, "CR LF, and no newline at the end");
	if (t) {
		is_str(moe_table_str(t, 0, 1).p, "2", "without the CR");
		is_str(moe_table_str(t, 1, 1).p, "4", "the last field");
	}
	moe_table_free(t);
	t = parsed("a\nx\r\n");
	ok(t && strcmp(moe_table_str(t, 0, 0).p, "x\r") == 0, "a CR in a file of LF lines is data");
	moe_table_free(t);
	t = parsed("a\tb\n");
	ok(t && moe_table_rows(t) == 0, "a header alone is an empty table");
	moe_table_free(t);
	t = parsed("a\n\n\n");
	ok(t && moe_table_rows(t) == 2, "one column: an empty line is an empty field");
	moe_table_free(t);
}

static void test_refused(void)
{
	refused("", "t.tsv: has no header line");
	refused("#a=1\n", "t.tsv: has no header line");
	refused("\na\n", "t.tsv: line 1: the header line is empty");
	refused("a\tb\n1\t2\n3\n", "t.tsv: line 3: expected 2 fields, found 1");
	refused("a\tb\n1\t2\t3\n", "t.tsv: line 2: expected 2 fields, found 3");
	refused("#x=1\na\tb\n\n", "t.tsv: line 3: expected 2 fields, found 1");
	refused("a\tb\ta\n", "t.tsv: line 1: two columns are called 'a'");
	refused("a\tb\n1\tx\\y\n", "t.tsv: line 2, field 2: a backslash is followed by neither t, n nor a backslash");
	refused("a\nx\\\n", "t.tsv: line 2, field 1: a backslash is followed by neither t, n nor a backslash");
}

/* What is quoted reads back, all bytes included. */
static void test_round_trip(void)
{
	struct moe_buf buf = {0};
	struct moe_table *t = NULL;
	struct moe_err err = {0};
	char all[256];

	for (int i = 0; i < 256; i++)
		all[i] = (char)i;
	moe_buf_adds(&buf, "head\ttail\n");
	moe_table_quote(&buf, all, sizeof all);
	moe_buf_adds(&buf, "\tx\n");
	ok(moe_table_parse(&t, buf.p, buf.n, "t.tsv", &err) == MOE_OK, "a line of all bytes is read");
	if (t) {
		struct moe_str got = moe_table_str(t, 0, 0);
		ok(got.n == 256 && memcmp(got.p, all, 256) == 0, "and holds them");
	}
	moe_table_free(t);
	moe_buf_free(&buf);
}

int main(void)
{
	test_read();
	test_ends();
	test_refused();
	test_round_trip();
	return done();
}
