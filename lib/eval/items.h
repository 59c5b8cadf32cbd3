/* Items of an evaluation: questions with choices or with answers, read from a table and made into sequences. */
#ifndef MOE_EVAL_ITEMS_H
#define MOE_EVAL_ITEMS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/pool.h"
#include "base/table.h"
#include "eval/sequences.h"

/* A row of the table; views. */
struct moe_item_row {
	struct moe_str before;   /* context, prompt */
	struct moe_str text;     /* choice, answer */
	int64_t line;
};

/* Rows [first, first + n) ask one thing. */
struct moe_item {
	const char *name;
	int64_t first, n;
	int64_t correct;         /* of n, with choices */
};

enum moe_items_kind {
	MOE_ITEMS_CHOICES,       /* item context choice correct */
	MOE_ITEMS_ANSWERS,       /* item prompt answer */
	MOE_ITEMS_PROMPTS,       /* item prompt, one row each or more; answers are not looked at */
};

/* Zero-initialise; moe_items_free. */
struct moe_items {
	enum moe_items_kind kind;
	struct moe_table *table;
	const char *path;        /* as messages call it; a view */
	struct moe_item *items;  /* [n] */
	struct moe_item_row *rows; /* [n_rows] */
	int64_t n, n_rows;
	struct moe_buf prefix;   /* what stands before every context and prompt */
};

/* Rows of an item stand together. Whatever cannot be judged is refused by file and line: a missing column, a field that
 * is no UTF-8 or has more than 16 MiB, an item without a name, called total or begun again, a `correct` that is not 0
 * or 1, not one correct choice, an empty or an only choice, prompts of an item that differ. */
MOE_MUST_USE enum moe_status moe_items_read(struct moe_items *items, const char *path, enum moe_items_kind kind,
                                            struct moe_err *err);
/* A text of at most 64 MiB in UTF-8. */
MOE_MUST_USE enum moe_status moe_items_prefix(struct moe_items *items, const char *path, struct moe_err *err);
void moe_items_free(struct moe_items *items);

/* How items become tokens. */
struct moe_items_encoding {
	const struct moe_tokenizer *tokenizer;
	struct moe_pool *pool;
	int64_t n_ctx;           /* positions there are */
	bool is_own_limit;       /* it was asked for, not the model's */
};

/* Appends a sequence for each row of choices, in order, or for each item: its tokens behind BOS, where the tokenizer
 * asks for one. With choices:
 *
 *   blanks and line ends at the end of a context are moved to the choice;
 *   tokens(prefix context choice) are scored from n = |BOS| + |tokens(prefix context)| on, but at least the last.
 *
 * What has more than n_ctx tokens to feed (the last token of a choice is not fed) is refused by file and line. */
MOE_MUST_USE enum moe_status moe_items_encode(const struct moe_items *items, const struct moe_items_encoding *how,
                                              struct moe_sequences *seqs, struct moe_err *err);

#endif
