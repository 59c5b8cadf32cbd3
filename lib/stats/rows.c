/* Rows of a report. */
#include "stats/rows.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/table.h"
#include "stats/stats.h"

void moe_rows_begin(struct moe_rows *rows, struct moe_buf *out, bool json, const char *const *columns, int n_columns)
{
	*rows = (struct moe_rows){.out = out, .columns = columns, .n_columns = n_columns, .json = json};
	for (int i = 0; i < n_columns && !json; i++) {
		moe_buf_adds(out, columns[i]);
		moe_buf_addc(out, i + 1 < n_columns ? '\t' : '\n');
	}
}

/* The keys of a row that is about to begin; they are fields like others, so no keys come before them. */
static void put_keys(struct moe_rows *rows)
{
	int n_keys = rows->n_keys;

	rows->n_keys = 0;
	if (n_keys > 1)
		moe_rows_str(rows, rows->source);
	if (rows->layer < 0)
		moe_rows_str(rows, "all");
	else
		moe_rows_u64(rows, (uint64_t)rows->layer);
	rows->n_keys = n_keys;
}

static void before(struct moe_rows *rows)
{
	if (rows->at == 0 && rows->n_keys > 0)
		put_keys(rows);

	const char *name = rows->columns[rows->at];

	if (rows->json) {
		moe_buf_addc(rows->out, rows->at ? ',' : '{');
		moe_json_quote(rows->out, name, strlen(name));
		moe_buf_addc(rows->out, ':');
	} else if (rows->at) {
		moe_buf_addc(rows->out, '\t');
	}
}

static void after(struct moe_rows *rows)
{
	if (++rows->at < rows->n_columns)
		return;
	moe_buf_adds(rows->out, rows->json ? "}\n" : "\n");
	rows->at = 0;
}

void moe_rows_str(struct moe_rows *rows, const char *text)
{
	before(rows);
	if (rows->json)
		moe_json_quote(rows->out, text, strlen(text));
	else
		moe_table_quote(rows->out, text, strlen(text));
	after(rows);
}

void moe_rows_u64(struct moe_rows *rows, uint64_t value)
{
	before(rows);
	moe_buf_addf(rows->out, "%" PRIu64, value);
	after(rows);
}

void moe_rows_f64(struct moe_rows *rows, double value)
{
	before(rows);
	if (rows->json && isnan(value))
		moe_buf_adds(rows->out, "null");
	else
		moe_stats_number(value, rows->out);
	after(rows);
}
