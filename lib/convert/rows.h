/* Rows of a report, as tab-separated text with a header line or as a JSON object each. */
#ifndef MOE_CONVERT_ROWS_H
#define MOE_CONVERT_ROWS_H

#include "base/file.h"
#include "base/str.h"

/* A field: text, or (number) digits that JSON may have bare. text NULL: none ("-", null). A row ends with key NULL. */
struct moe_cell {
	const char *key, *text;
	bool number;
};

/* Zero-initialise all but json and out; free buf. */
struct moe_rows {
	struct moe_out *out;   /* borrowed */
	bool json, begun;
	struct moe_buf buf;    /* not yet written */
};

MOE_MUST_USE enum moe_status moe_rows_add(struct moe_rows *rows, const struct moe_cell *cells, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_rows_flush(struct moe_rows *rows, struct moe_err *err);

/* Decimal text in buf, which holds at least 32 bytes; returns buf. */
const char *moe_cell_int(char *buf, int64_t value);
const char *moe_cell_real(char *buf, double value);

#endif
