/* Reading tables of items; every complaint names file and line. */
#include "eval/items.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/file.h"

#define MAX_FIELD_BYTES ((size_t)16 << 20)
#define MAX_PREFIX_BYTES ((size_t)64 << 20)

/* Offset of the first byte that is not UTF-8; n where all are. */
static size_t first_invalid(const char *p, size_t n)
{
	size_t i = 0;
	while (i < n) {
		utf8proc_int32_t code;
		const utf8proc_ssize_t left = (utf8proc_ssize_t)(n - i);
		const utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)p + i, left, &code);
		if (used < 1)
			return i;
		i += (size_t)used;
	}
	return n;
}

struct reader {
	struct moe_items *items;
	int item, before, text, correct;   /* columns */
};

static enum moe_status find_columns(struct reader *r, struct moe_err *err)
{
	const struct moe_table *table = r->items->table;
	const bool choices = r->items->kind == MOE_ITEMS_CHOICES;
	enum moe_status status = moe_table_need(table, "item", &r->item, err);
	if (!status)
		status = moe_table_need(table, choices ? "context" : "prompt", &r->before, err);
	if (!status && r->items->kind != MOE_ITEMS_PROMPTS)
		status = moe_table_need(table, choices ? "choice" : "answer", &r->text, err);
	if (!status && choices)
		status = moe_table_need(table, "correct", &r->correct, err);
	return status;
}

static enum moe_status check_field(const struct reader *r, int64_t row, int column, const char *name,
                                   struct moe_err *err)
{
	const char *path = r->items->path;
	const long long line = (long long)moe_table_line(r->items->table, row);
	const struct moe_str field = moe_table_str(r->items->table, row, column);
	if (field.n > MAX_FIELD_BYTES)
		return moe_err_set(err, MOE_EFORMAT, "%s: line %lld, column '%s': a field of %zu bytes, at most %zu "
		                   "are read", path, line, name, field.n, MAX_FIELD_BYTES);
	const size_t bad = first_invalid(field.p, field.n);
	if (bad < field.n)
		return moe_err_set(err, MOE_EFORMAT, "%s: line %lld, column '%s': expected UTF-8, found the byte "
		                   "0x%02x at byte %zu of the field", path, line, name, (unsigned char)field.p[bad],
		                   bad);
	return MOE_OK;
}

static bool same(struct moe_str a, struct moe_str b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }

/* A row goes to the item before it, or begins one. */
static enum moe_status add_row(const struct reader *r, int64_t row, struct moe_err *err)
{
	struct moe_items *items = r->items;
	const struct moe_table *table = items->table;
	const bool choices = items->kind == MOE_ITEMS_CHOICES;
	const long long line = (long long)moe_table_line(table, row);
	enum moe_status status = check_field(r, row, r->item, "item", err);
	if (!status)
		status = check_field(r, row, r->before, choices ? "context" : "prompt", err);
	if (!status && items->kind != MOE_ITEMS_PROMPTS)
		status = check_field(r, row, r->text, choices ? "choice" : "answer", err);
	if (status)
		return status;
	const struct moe_str name = moe_table_str(table, row, r->item);
	struct moe_item_row *new = &items->rows[row];
	*new = (struct moe_item_row){ .before = moe_table_str(table, row, r->before), .line = line };
	if (items->kind != MOE_ITEMS_PROMPTS)
		new->text = moe_table_str(table, row, r->text);
	if (name.n == 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: line %lld: the item has no name", items->path, line);
	if (moe_str_eq(name, "total"))
		return moe_err_set(err, MOE_EFORMAT, "%s: line %lld: an item is called 'total', as is the last row of "
		                   "the result", items->path, line);
	if (choices && new->text.n == 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: line %lld: item '%.80s': the choice is empty", items->path,
		                   line, name.p);
	int64_t correct = 0;
	if (choices)
		status = moe_table_i64(table, row, r->correct, 0, 1, &correct, err);
	if (status)
		return status;
	struct moe_item *item = items->n ? &items->items[items->n - 1] : NULL;
	if (!item || !moe_str_eq(name, item->name)) {
		item = &items->items[items->n++];
		*item = (struct moe_item){ .name = name.p, .first = row, .correct = -1 };
	}
	if (!choices && item->n > 0 && !same(new->before, items->rows[item->first].before))
		return moe_err_set(err, MOE_EFORMAT, "%s: line %lld: item '%.80s': its prompt is not that of line %lld",
		                   items->path, line, name.p, (long long)items->rows[item->first].line);
	if (correct && item->correct >= 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: line %lld: item '%.80s': a second correct choice, the first "
		                   "is in line %lld", items->path, line, name.p,
		                   (long long)items->rows[item->first + item->correct].line);
	if (correct)
		item->correct = item->n;
	item->n++;
	return MOE_OK;
}

static int by_name(const void *a, const void *b)
{
	const struct moe_item *x = *(const struct moe_item *const *)a, *y = *(const struct moe_item *const *)b;
	const int order = strcmp(x->name, y->name);
	return order ? order : x->first < y->first ? -1 : 1;
}

/* What only the whole table tells. */
static enum moe_status check_items(const struct moe_items *items, struct moe_err *err)
{
	const struct moe_item **sorted = calloc((size_t)items->n + 1, sizeof *sorted);
	enum moe_status status = MOE_OK;
	if (!sorted)
		return moe_err_nomem(err, (size_t)items->n * sizeof *sorted, "the list of items");
	for (int64_t i = 0; i < items->n && !status; i++) {
		const struct moe_item *item = &items->items[i];
		const long long line = (long long)items->rows[item->first].line;
		sorted[i] = item;
		if (items->kind != MOE_ITEMS_CHOICES)
			continue;
		if (item->correct < 0)
			status = moe_err_set(err, MOE_EFORMAT, "%s: line %lld: item '%.80s': none of its %lld choices "
			                     "is correct", items->path, line, item->name, (long long)item->n);
		else if (item->n < 2)
			status = moe_err_set(err, MOE_EFORMAT, "%s: line %lld: item '%.80s' has one choice, at least "
			                     "two were expected", items->path, line, item->name);
	}
	if (!status)
		qsort(sorted, (size_t)items->n, sizeof *sorted, by_name);
	for (int64_t i = 1; i < items->n && !status; i++)
		if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
			status = moe_err_set(err, MOE_EFORMAT, "%s: line %lld: item '%.80s' begins again after line "
			                     "%lld: its rows stand together", items->path,
			                     (long long)items->rows[sorted[i]->first].line, sorted[i]->name,
			                     (long long)items->rows[sorted[i - 1]->first].line);
	free(sorted);
	return status;
}

enum moe_status moe_items_read(struct moe_items *items, const char *path, enum moe_items_kind kind, struct moe_err *err)
{
	struct reader r = { .items = items };
	items->kind = kind;
	enum moe_status status = moe_table_read(&items->table, path, err);
	if (status)
		return status;
	items->path = moe_table_name(items->table);
	items->n_rows = moe_table_rows(items->table);
	status = find_columns(&r, err);
	if (!status && items->n_rows == 0)
		status = moe_err_set(err, MOE_EFORMAT, "%s: has no items", items->path);
	items->items = calloc((size_t)items->n_rows + 1, sizeof *items->items);
	items->rows = calloc((size_t)items->n_rows + 1, sizeof *items->rows);
	if (!status && (!items->items || !items->rows))
		status = moe_err_nomem(err, (size_t)items->n_rows * sizeof *items->items, "the list of items");
	for (int64_t row = 0; row < items->n_rows && !status; row++)
		status = add_row(&r, row, err);
	return status ? status : check_items(items, err);
}

enum moe_status moe_items_prefix(struct moe_items *items, const char *path, struct moe_err *err)
{
	enum moe_status status = moe_read_all(path, MAX_PREFIX_BYTES, &items->prefix, err);
	const char *p = items->prefix.p, *name = strcmp(path, "-") ? path : "stdin";
	if (status || !p)
		return status;
	const size_t bad = first_invalid(p, items->prefix.n);
	const char *nul = memchr(p, 0, bad);
	const size_t at = nul ? (size_t)(nul - p) : bad;
	long long line = 1;
	for (size_t i = 0; i < at; i++)
		line += p[i] == '\n';
	if (nul)
		return moe_err_set(err, MOE_EFORMAT, "%s: line %lld: expected text, found a NUL byte", name, line);
	if (bad < items->prefix.n)
		return moe_err_set(err, MOE_EFORMAT, "%s: line %lld: expected UTF-8, found the byte 0x%02x", name, line,
		                   (unsigned char)p[bad]);
	return MOE_OK;
}

void moe_items_free(struct moe_items *items)
{
	moe_table_free(items->table);
	free(items->items);
	free(items->rows);
	moe_buf_free(&items->prefix);
	*items = (struct moe_items){ 0 };
}

/* ---- tokens ---- */

/* Tokens of one sequence, made by any thread. */
struct encoded {
	struct moe_ids ids;      /* BOS included */
	int64_t n_given;
	enum moe_status status;
};

struct encoder {
	const struct moe_items *items;
	const struct moe_items_encoding *how;
	int32_t bos_id;          /* -1: none */
	struct encoded *all;     /* [n] */
};

/* The row that sequence i is of. */
static const struct moe_item_row *row_of(const struct moe_items *items, int64_t i)
{
	return &items->rows[items->kind == MOE_ITEMS_CHOICES ? i : items->items[i].first];
}

static struct moe_str without_blanks(struct moe_str text)
{
	while (text.n > 0 && strchr(" \t\n\v\f\r", text.p[text.n - 1]))
		text.n--;
	return text;
}

static enum moe_status encode(const struct encoder *e, const struct moe_buf *text, size_t n, struct moe_ids *ids,
                              struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	if (e->bos_id >= 0)
		status = moe_ids_add(ids, e->bos_id, err);
	return status ? status : moe_tokenizer_encode(e->how->tokenizer, text->p ? text->p : "", n, ids, err);
}

static enum moe_status encode_one(const struct encoder *e, int64_t i, struct moe_err *err)
{
	const struct moe_items *items = e->items;
	const struct moe_item_row *row = row_of(items, i);
	const bool choices = items->kind == MOE_ITEMS_CHOICES;
	struct encoded *out = &e->all[i];
	struct moe_ids context = { 0 };
	struct moe_buf text = { 0 };
	moe_buf_add(&text, items->prefix.p, items->prefix.n);
	moe_buf_add(&text, row->before.p, row->before.n);
	const size_t n_context = without_blanks((struct moe_str){ text.p ? text.p : "", text.n }).n;
	if (choices)
		moe_buf_add(&text, row->text.p, row->text.n);
	enum moe_status status = moe_buf_check(&text, err);
	if (!status)
		status = encode(e, &text, text.n, &out->ids, err);
	if (!status && choices)
		status = encode(e, &text, n_context, &context, err);
	const int64_t n = (int64_t)out->ids.n, n_fed = choices ? n - 1 : n;
	out->n_given = (int64_t)context.n < n - 1 ? (int64_t)context.n : n - 1;
	moe_ids_free(&context);
	moe_buf_free(&text);
	if (status)
		return status;
	if (n_fed < 1 || (choices && out->n_given < 1))
		return moe_err_set(err, MOE_EFORMAT, "%s: line %lld: the %s has no tokens, and the tokenizer no "
		                   "beginning-of-text token to begin with", items->path, (long long)row->line,
		                   choices ? "context" : "prompt");
	if (n_fed > e->how->n_ctx)
		return moe_err_set(err, MOE_EUSAGE, "%s: line %lld: %lld tokens do not fit %lld positions (%s)",
		                   items->path, (long long)row->line, (long long)n_fed, (long long)e->how->n_ctx,
		                   e->how->is_own_limit ? "--ctx" : "the model's maximum; --ctx N goes beyond it");
	return MOE_OK;
}

static void encode_piece(void *arg, int64_t begin, int64_t end, int thread)
{
	(void)thread;
	const struct encoder *e = arg;
	struct moe_err ignored;
	for (int64_t i = begin; i < end; i++)
		e->all[i].status = encode_one(e, i, &ignored);
}

enum moe_status moe_items_encode(const struct moe_items *items, const struct moe_items_encoding *how,
                                 struct moe_sequences *seqs, struct moe_err *err)
{
	const bool choices = items->kind == MOE_ITEMS_CHOICES, bos = moe_tokenizer_add_bos(how->tokenizer);
	const int64_t n = choices ? items->n_rows : items->n;
	struct encoder e = { items, how, bos ? moe_tokenizer_bos_id(how->tokenizer) : -1,
		             calloc((size_t)n, sizeof *e.all) };
	enum moe_status status = MOE_OK;
	if (!e.all)
		return moe_err_nomem(err, (size_t)n * sizeof *e.all, "the items' tokens");
	moe_pool_for(how->pool, n, 1, encode_piece, &e);
	for (int64_t i = 0, item = 0; i < n && !status; i++) {
		item += choices && i == items->items[item].first + items->items[item].n;
		/* The sentence is made here, for the first that failed. */
		if (e.all[i].status) {
			e.all[i].ids.n = 0;
			status = encode_one(&e, i, err);
		}
		if (!status)
			status = moe_sequences_add(seqs, items->items[choices ? item : i].name, e.all[i].ids.ids,
			                           (int64_t)e.all[i].ids.n, e.all[i].n_given, err);
	}
	for (int64_t i = 0; i < n; i++)
		moe_ids_free(&e.all[i].ids);
	free(e.all);
	return status;
}
