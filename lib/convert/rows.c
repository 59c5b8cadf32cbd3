/* Rows as text or JSON. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/table.h"
#include "convert/rows.h"

enum { ENOUGH_BYTES = 65536 };   /* gathered before they are written */

const char *moe_cell_int(char *buf, int64_t value)
{
	snprintf(buf, 32, "%lld", (long long)value);
	return buf;
}

const char *moe_cell_real(char *buf, double value)
{
	snprintf(buf, 32, "%.9g", value);
	return buf;
}

static void add_json(struct moe_buf *buf, const struct moe_cell *cells)
{
	for (const struct moe_cell *c = cells; c->key; c++) {
		moe_buf_addf(buf, "%s\"%s\":", c == cells ? "{" : ",", c->key);
		if (!c->text || (c->number && (!strcmp(c->text, "inf") || strstr(c->text, "nan"))))
			moe_buf_adds(buf, "null");   /* JSON has no such numbers */
		else if (c->number)
			moe_buf_adds(buf, c->text);
		else
			moe_json_quote(buf, c->text, strlen(c->text));
	}
	moe_buf_adds(buf, "}\n");
}

enum moe_status moe_rows_add(struct moe_rows *rows, const struct moe_cell *cells, struct moe_err *err)
{
	if (rows->json) {
		add_json(&rows->buf, cells);
	} else {
		for (const struct moe_cell *c = cells; c->key && !rows->begun; c++)
			moe_buf_addf(&rows->buf, "%s%c", c->key, c[1].key ? '\t' : '\n');
		for (const struct moe_cell *c = cells; c->key; c++) {
			const char *text = c->text ? c->text : "-";
			moe_table_quote(&rows->buf, text, strlen(text));
			moe_buf_addc(&rows->buf, c[1].key ? '\t' : '\n');
		}
	}
	rows->begun = true;
	return rows->buf.n > ENOUGH_BYTES ? moe_rows_flush(rows, err) : MOE_OK;
}

enum moe_status moe_rows_flush(struct moe_rows *rows, struct moe_err *err)
{
	enum moe_status st = moe_buf_check(&rows->buf, err);

	if (!st && rows->buf.n)
		st = moe_out_write(rows->out, rows->buf.p, rows->buf.n, err);
	rows->buf.n = 0;
	return st;
}
