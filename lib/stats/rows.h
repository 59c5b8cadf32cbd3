/* Rows of a report, as TSV with a header line or as one JSON object per row with the same names. */
#ifndef MOE_STATS_ROWS_H
#define MOE_STATS_ROWS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

/* Filled in the order of the columns; a row ends with its last one. */
struct moe_rows {
	struct moe_buf *out;
	const char *const *columns;   /* [n_columns] */
	int n_columns;
	int at;                       /* column that comes next */
	bool json;
	/* The first n_keys columns are put by the rows themselves: source (n_keys 2) and layer (n_keys 1). */
	int n_keys;
	const char *source;
	int32_t layer;                /* -1: all */
};

/* Starts with the header line, unless json. */
void moe_rows_begin(struct moe_rows *rows, struct moe_buf *out, bool json, const char *const *columns, int n_columns);
void moe_rows_str(struct moe_rows *rows, const char *text);
void moe_rows_u64(struct moe_rows *rows, uint64_t value);
void moe_rows_f64(struct moe_rows *rows, double value);   /* NaN: nan in TSV, null in JSON */

#endif
