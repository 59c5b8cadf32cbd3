/* The tab-separated dialect of load, plan and topology tables.
 *
 * `#key=value` pairs (separated by spaces) may stand on lines before the header line; unknown keys are kept and
 * ignored. `#command=` is followed by blanks and all up to the end of its line. Then one header line of column names,
 * then rows. Tab, newline and backslash inside a field are \t \n \\; any other byte stands for itself, UTF-8 or not.
 */
#ifndef MOE_BASE_TABLE_H
#define MOE_BASE_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "base/str.h"

/* A table read whole. */
struct moe_table;

/* At most 1 GiB, no NUL bytes. */
MOE_MUST_USE enum moe_status moe_table_read(struct moe_table **out, const char *path, struct moe_err *err);
/* Appends the text of a table to *text, within the same limits: on failure what came before. `name` is what messages
 * call it. */
MOE_MUST_USE enum moe_status moe_table_text(struct moe_buf *text, int fd, const char *name, struct moe_err *err);
/* The same from memory; `name` is what messages call it. Copies what it needs. */
MOE_MUST_USE enum moe_status moe_table_parse(struct moe_table **out, const char *text, size_t n, const char *name,
                                             struct moe_err *err);
void moe_table_free(struct moe_table *table);

const char *moe_table_name(const struct moe_table *table);
int64_t moe_table_rows(const struct moe_table *table);
int moe_table_columns(const struct moe_table *table);
/* The name of a column, NUL-terminated; a view. */
const char *moe_table_column(const struct moe_table *table, int column);
/* Index of a column, or -1. */
int moe_table_find(const struct moe_table *table, const char *column);
/* The same, but a missing column is an error naming file, the column wanted and the header found. */
MOE_MUST_USE enum moe_status moe_table_need(const struct moe_table *table, const char *column, int *out,
                                            struct moe_err *err);
/* The value of a #key, or NULL. */
const char *moe_table_meta(const struct moe_table *table, const char *key);
/* A field, unescaped, NUL-terminated behind n; a view. */
struct moe_str moe_table_str(const struct moe_table *table, int64_t row, int column);
MOE_MUST_USE enum moe_status moe_table_i64(const struct moe_table *table, int64_t row, int column, int64_t min,
                                           int64_t max, int64_t *out, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_table_f64(const struct moe_table *table, int64_t row, int column, double *out,
                                           struct moe_err *err);
/* Line number of a row in its file, for messages. */
int64_t moe_table_line(const struct moe_table *table, int64_t row);

/* Appends a field to a line being built, escaped. */
void moe_table_quote(struct moe_buf *buf, const char *text, size_t n);

#endif
