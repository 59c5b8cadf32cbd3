/* Tables of results: what made them, a row for each item, a last row. They are written as TSV or as JSON lines and go
 * on where an interrupted run left off.
 *
 * Sums over rows are sums of the numbers as printed, so that those of a resumed run are the same. */
#ifndef MOE_EVAL_RESULT_H
#define MOE_EVAL_RESULT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "eval/items.h"
#include "eval/setup.h"

/* A field. LIST is numbers with commas between them. */
enum moe_field_kind { MOE_FIELD_NONE, MOE_FIELD_TEXT, MOE_FIELD_INT, MOE_FIELD_REAL, MOE_FIELD_LIST };
struct moe_field {
	enum moe_field_kind kind;
	struct moe_str text;   /* TEXT, LIST; a view */
	int64_t i;
	double f;
};
struct moe_field moe_field_text(const char *p, size_t n);
struct moe_field moe_field_list(const struct moe_buf *list);
struct moe_field moe_field_int(int64_t i);
struct moe_field moe_field_real(double f);

struct moe_result_opts {
	const char *path;          /* "-": stdout, which cannot be resumed */
	unsigned flags;            /* of moe_out_open; MOE_OUT_RESUME: go on with what is there */
	bool json;
	bool partial;              /* keep what is done when the run ends too early */
	const char *columns;       /* names, a tab between them, at most 16 */
	int n_numbers;             /* columns that are numbers in every row but the last: these behind the first */
	const struct moe_buf *meta; /* lines of key=value */
	const char *const *keys;   /* [n_keys] first fields of the rows to come, the last row apart */
	int64_t n_keys;
	bool has_last;             /* a last row comes behind them */
};

struct moe_result;

/* opts is copied, what it points to is borrowed. Resuming, the keys and values found must be those of meta, the command
 * apart. */
MOE_MUST_USE enum moe_status moe_result_open(struct moe_result **out, const struct moe_result_opts *opts,
                                             struct moe_watch *watch, struct moe_err *err);
/* Was the result there, complete? Then nothing is to be done, and commit changes nothing. */
bool moe_result_is_complete(const struct moe_result *result);
/* Rows that are there; those of an interrupted run at first. */
int64_t moe_result_done(const struct moe_result *result);
/* The file that survives an interruption, NULL where none does; a view. */
const char *moe_result_partial(const struct moe_result *result);
/* The next row, as many fields as there are columns: written through, so that it survives. */
MOE_MUST_USE enum moe_status moe_result_row(struct moe_result *result, const struct moe_field *fields,
                                            struct moe_err *err);
/* Of a column over all rows. */
double moe_result_sum(const struct moe_result *result, int column);
/* Of the products of two columns. */
double moe_result_dot(const struct moe_result *result, int a, int b);
/* The row behind all others, which is in no sum. */
MOE_MUST_USE enum moe_status moe_result_last(struct moe_result *result, const struct moe_field *fields,
                                             struct moe_err *err);
/* Frees result whatever happens. */
MOE_MUST_USE enum moe_status moe_result_commit(struct moe_result *result, struct moe_err *err);
/* A partial file stays if it has a row. NULL is fine. */
void moe_result_abort(struct moe_result *result);

/* Appends a key=value line; %-format of the value. */
void moe_meta_add(struct moe_buf *meta, const char *key, const char *fmt, ...) MOE_PRINTF(3, 4);
/* Appends tool, version and arithmetic, and the hashes of model, weights (samples of their files) and tokenizer. */
MOE_MUST_USE enum moe_status moe_meta_model(struct moe_buf *meta, const struct moe_setup *setup, struct moe_err *err);
/* Appends key=xxh3:... of a text. */
MOE_MUST_USE enum moe_status moe_meta_hash(struct moe_buf *meta, const char *key, const void *bytes, size_t n_bytes,
                                           struct moe_err *err);
/* Appends input=xxh3:... of all sequences and, unless items is NULL, of what is judged by. */
MOE_MUST_USE enum moe_status moe_meta_input(struct moe_buf *meta, const struct moe_sequences *seqs,
                                            const struct moe_items *items, struct moe_err *err);
/* Appends command=..., the last line. */
void moe_meta_command(struct moe_buf *meta, const char *command);

#endif
