/* Writing rows, and finding those that an interrupted run has written. */
#include "eval/result.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/table.h"

enum { MAX_COLUMNS = 16 };

struct moe_result {
	struct moe_result_opts opts;
	struct moe_out *out;       /* NULL where the result is complete */
	struct moe_str columns[MAX_COLUMNS];
	int n_columns;
	int64_t n_rows;
	bool begun;                /* what is in the file is of this run */
	double sums[MAX_COLUMNS], dots[MAX_COLUMNS][MAX_COLUMNS];
	struct moe_buf line;
};

struct moe_field moe_field_text(const char *p, size_t n)
{
	return (struct moe_field){ .kind = MOE_FIELD_TEXT, .text = { p, n } };
}

struct moe_field moe_field_list(const struct moe_buf *list)
{
	return (struct moe_field){ .kind = MOE_FIELD_LIST, .text = { list->p ? list->p : "", list->n } };
}

struct moe_field moe_field_int(int64_t i) { return (struct moe_field){ .kind = MOE_FIELD_INT, .i = i }; }
struct moe_field moe_field_real(double f) { return (struct moe_field){ .kind = MOE_FIELD_REAL, .f = f }; }

static void add_field(const struct moe_field *field, bool json, struct moe_buf *line)
{
	const char *none = json ? "null" : "-";
	switch (field->kind) {
	case MOE_FIELD_NONE:
		moe_buf_adds(line, none);
		break;
	case MOE_FIELD_TEXT:
		json ? moe_json_quote(line, field->text.p, field->text.n)
		     : moe_table_quote(line, field->text.p, field->text.n);
		break;
	case MOE_FIELD_INT:
		moe_buf_addf(line, "%lld", (long long)field->i);
		break;
	case MOE_FIELD_REAL:
		isfinite(field->f) ? moe_buf_addf(line, "%.6f", field->f) : moe_buf_adds(line, json ? none : "nan");
		break;
	case MOE_FIELD_LIST:
		moe_buf_adds(line, json ? "[" : "");
		moe_buf_add(line, field->text.p, field->text.n);
		moe_buf_adds(line, json ? "]" : "");
		break;
	}
}

static void format_row(struct moe_result *r, const struct moe_field *fields)
{
	const bool json = r->opts.json;
	r->line.n = 0;
	for (int c = 0; c < r->n_columns; c++) {
		if (json)
			moe_buf_addf(&r->line, "%s\"%.*s\":", c ? "," : "{", (int)r->columns[c].n, r->columns[c].p);
		else
			moe_buf_adds(&r->line, c ? "\t" : "");
		add_field(&fields[c], json, &r->line);
	}
	moe_buf_adds(&r->line, json ? "}\n" : "\n");
}

static enum moe_status write_line(struct moe_result *r, struct moe_err *err)
{
	enum moe_status status = moe_buf_check(&r->line, err);
	if (!status)
		status = moe_out_write(r->out, r->line.p, r->line.n, err);
	return status;
}

/* A number as it is read back. */
static double printed(const struct moe_field *field)
{
	struct moe_buf text = { 0 };
	double value = 0;
	if (field->kind == MOE_FIELD_INT)
		return (double)field->i;
	if (field->kind != MOE_FIELD_REAL || !isfinite(field->f))
		return 0;
	moe_buf_addf(&text, "%.6f", field->f);
	if (text.failed || !moe_parse_f64((struct moe_str){ text.p, text.n }, &value))
		value = field->f;
	moe_buf_free(&text);
	return value;
}

static void add_up(struct moe_result *r, const double *values)
{
	for (int c = 0; c < r->n_columns; c++) {
		r->sums[c] += values[c];
		for (int d = 0; d < r->n_columns; d++)
			r->dots[c][d] += values[c] * values[d];
	}
	r->n_rows++;
}

enum moe_status moe_result_row(struct moe_result *r, const struct moe_field *fields, struct moe_err *err)
{
	format_row(r, fields);
	double values[MAX_COLUMNS];
	for (int c = 0; c < r->n_columns; c++)
		values[c] = printed(&fields[c]);
	add_up(r, values);
	enum moe_status status = write_line(r, err);
	return status ? status : moe_out_flush(r->out, err);
}

enum moe_status moe_result_last(struct moe_result *r, const struct moe_field *fields, struct moe_err *err)
{
	format_row(r, fields);
	return write_line(r, err);
}

double moe_result_sum(const struct moe_result *r, int column) { return r->sums[column]; }
double moe_result_dot(const struct moe_result *r, int a, int b) { return r->dots[a][b]; }
int64_t moe_result_done(const struct moe_result *r) { return r->n_rows; }
bool moe_result_is_complete(const struct moe_result *r) { return !r->out; }
const char *moe_result_partial(const struct moe_result *r) { return r->out ? moe_out_partial(r->out) : NULL; }

/* All that stands before the rows: "#key=value" lines and a header, or an object with the one key "meta". */
static void format_head(const struct moe_result *r, struct moe_buf *head)
{
	struct moe_str rest = { r->opts.meta->p ? r->opts.meta->p : "", r->opts.meta->n }, line;
	bool first = true;
	for (; moe_str_next(&rest, '\n', &line); first = false) {
		if (!r->opts.json) {
			moe_buf_addf(head, "#%.*s\n", (int)line.n, line.p);
			continue;
		}
		struct moe_str value = line, key;
		moe_str_next(&value, '=', &key);
		moe_buf_adds(head, first ? "{\"meta\":{" : ",");
		moe_json_quote(head, key.p, key.n);
		moe_buf_addc(head, ':');
		moe_json_quote(head, value.p, value.n);
	}
	r->opts.json ? moe_buf_adds(head, "}}\n") : moe_buf_addf(head, "%s\n", r->opts.columns);
}

/* How a file that was found begins: as results do, or so far as its end allows. */
enum head { HEAD_WHOLE, HEAD_CUT, HEAD_OTHER };

/* Its meta lines; *end: where rows begin. */
static enum head read_head(const struct moe_result *r, const struct moe_buf *text, struct moe_buf *meta, size_t *end)
{
	struct moe_str rest = { text->p ? text->p : "", text->n }, line;
	struct moe_err ignored = { 0 };
	json_t *json = NULL;
	const char *key;
	json_t *value;
	while (memchr(rest.p, '\n', rest.n)) {
		moe_str_next(&rest, '\n', &line);
		*end = text->n - rest.n;
		if (!r->opts.json && line.n > 0 && line.p[0] == '#') {
			moe_buf_addf(meta, "%.*s\n", (int)line.n - 1, line.p + 1);
			continue;
		}
		if (!r->opts.json)
			return moe_str_eq(line, r->opts.columns) ? HEAD_WHOLE : HEAD_OTHER;
		if (moe_json_parse(&json, line.p, line.n, "", &ignored))
			return HEAD_OTHER;
		json_object_foreach(json_object_get(json, "meta"), key, value)
			moe_buf_addf(meta, "%s=%s\n", key, json_is_string(value) ? json_string_value(value) : "");
		json_decref(json);
		return meta->n > 0 ? HEAD_WHOLE : HEAD_OTHER;
	}
	const char first = r->opts.json ? '{' : meta->n > 0 && rest.n > 0 ? *r->opts.columns : '#';
	return rest.n == 0 || *rest.p == '#' || *rest.p == first ? HEAD_CUT : HEAD_OTHER;
}

static bool is_command(struct moe_str line) { return line.n >= 8 && memcmp(line.p, "command=", 8) == 0; }

/* Both hold the same keys and values, the command apart? */
static enum moe_status compare_meta(const char *path, const struct moe_buf *found, const struct moe_buf *want,
                                    struct moe_err *err)
{
	struct moe_str a = { found->p ? found->p : "", found->n }, b = { want->p ? want->p : "", want->n }, x, y;
	for (;;) {
		const bool more = moe_str_next(&a, '\n', &x);
		if (moe_str_next(&b, '\n', &y) != more)
			return moe_err_set(err, MOE_EUSAGE, "'%s' is the result of another kind of run: --force "
			                   "begins anew", path);
		if (!more)
			return MOE_OK;
		if (is_command(x) && is_command(y))
			continue;
		if (x.n != y.n || memcmp(x.p, y.p, x.n) != 0)
			return moe_err_set(err, MOE_EUSAGE, "'%s' is the result of another run: it has %.*s, this one "
			                   "%.*s; --resume takes the same command, --force begins anew", path,
			                   (int)(x.n < 200 ? x.n : 200), x.p, (int)(y.n < 200 ? y.n : 200), y.p);
	}
}

/* Does the line begin with the key of row i? */
static bool has_key(struct moe_result *r, struct moe_str line)
{
	const char *key = r->opts.keys[r->n_rows];
	r->line.n = 0;
	if (r->opts.json)
		moe_buf_addf(&r->line, "{\"%.*s\":", (int)r->columns[0].n, r->columns[0].p);
	const struct moe_field field = moe_field_text(key, strlen(key));
	add_field(&field, r->opts.json, &r->line);
	moe_buf_addc(&r->line, r->opts.json ? ',' : '\t');
	return !r->line.failed && line.n >= r->line.n && memcmp(line.p, r->line.p, r->line.n) == 0;
}

/* Is it as a number that is not finite is written? */
static bool is_nan(struct moe_str field) { return moe_str_eq(field, "nan"); }

/* The numbers of a row, among which must be the first n_numbers behind its key; false where it is not a whole row. */
static bool read_row(const struct moe_result *r, struct moe_str line, int n_numbers, double *values)
{
	struct moe_err ignored = { 0 };
	struct moe_str field;
	json_t *json;
	int c = 0;
	if (!r->opts.json) {
		int n_fields = 1;
		for (size_t i = 0; i < line.n; i++)
			n_fields += line.p[i] == '\t';
		for (; c < r->n_columns && moe_str_next(&line, '\t', &field); c++)
			if (!moe_parse_f64(field, &values[c]) || !isfinite(values[c])) {
				if (c > 0 && c <= n_numbers && !is_nan(field))
					return false;
				values[c] = 0;
			}
		return n_fields == r->n_columns;
	}
	if (moe_json_parse(&json, line.p, line.n, "", &ignored))
		return false;
	for (; c < r->n_columns; c++) {
		const json_t *value = json_object_getn(json, r->columns[c].p, r->columns[c].n);
		const bool is_number = json_is_number(value) || json_is_null(value);
		if (!value || (c > 0 && c <= n_numbers && !is_number))
			break;
		values[c] = json_is_number(value) ? json_number_value(value) : 0;
	}
	json_decref(json);
	return c == r->n_columns;
}

/* Counts and sums the whole rows behind `at`; returns where they end. */
static size_t read_rows(struct moe_result *r, const struct moe_buf *text, size_t at)
{
	struct moe_str rest = { text->p + at, text->n - at }, line;
	while (r->n_rows < r->opts.n_keys && memchr(rest.p, '\n', rest.n)) {
		double values[MAX_COLUMNS] = { 0 };
		moe_str_next(&rest, '\n', &line);
		if (!has_key(r, line) || !read_row(r, line, r->opts.n_numbers, values))
			break;
		add_up(r, values);
		at = text->n - rest.n;
	}
	return at;
}

static enum moe_status refuse_other(const char *path, struct moe_err *err)
{
	return moe_err_set(err, MOE_EUSAGE, "'%s' is not a result of such a run: --force begins anew", path);
}

/* Goes on behind the rows of the partial file; an empty one, or one cut within its head, is begun anew. */
static enum moe_status resume(struct moe_result *r, struct moe_err *err)
{
	const char *path = moe_out_partial(r->out);
	struct moe_buf text = { 0 }, meta = { 0 };
	size_t at = 0;
	enum moe_status status = moe_read_all(path, 0, &text, err);
	const enum head head = status ? HEAD_CUT : read_head(r, &text, &meta, &at);
	if (!status && head == HEAD_WHOLE)
		status = compare_meta(path, &meta, r->opts.meta, err);
	else if (!status && head == HEAD_OTHER)
		status = refuse_other(path, err);
	else
		at = 0;
	if (!status && at > 0)
		at = read_rows(r, &text, at);
	if (!status)
		status = moe_buf_check(&meta, err);
	if (!status)
		status = moe_out_cut(r->out, at, err);
	moe_buf_free(&text);
	moe_buf_free(&meta);
	return status;
}

/* Does it end as it should behind its rows? */
static bool has_end(const struct moe_result *r, const struct moe_buf *text, size_t at)
{
	struct moe_str rest = { text->p + at, text->n - at }, line;
	double values[MAX_COLUMNS];
	if (r->n_rows < r->opts.n_keys)
		return false;
	if (!r->opts.has_last)
		return rest.n == 0;
	if (!memchr(rest.p, '\n', rest.n))
		return false;
	moe_str_next(&rest, '\n', &line);
	return rest.n == 0 && read_row(r, line, 0, values);
}

/* Is the result there under its own name? Then it must be that of this run, and whole. */
static enum moe_status check_complete(struct moe_result *r, bool *complete, struct moe_err *err)
{
	const char *path = r->opts.path;
	struct moe_buf text = { 0 }, meta = { 0 };
	size_t at;
	*complete = (r->opts.flags & MOE_OUT_RESUME) && moe_is_file(path);
	if (!*complete)
		return MOE_OK;
	enum moe_status status = moe_read_all(path, 0, &text, err);
	if (!status && read_head(r, &text, &meta, &at) != HEAD_WHOLE)
		status = refuse_other(path, err);
	if (!status)
		status = compare_meta(path, &meta, r->opts.meta, err);
	if (!status && !has_end(r, &text, read_rows(r, &text, at)))
		status = moe_err_set(err, MOE_EUSAGE, "'%s' is cut, %lld of its %lld rows are there: under the name "
		                     "'%s.partial' --resume goes on with it, --force begins anew", path,
		                     (long long)r->n_rows, (long long)r->opts.n_keys, path);
	moe_buf_free(&text);
	moe_buf_free(&meta);
	return status;
}

enum moe_status moe_result_open(struct moe_result **out, const struct moe_result_opts *opts, struct moe_watch *watch,
                                struct moe_err *err)
{
	struct moe_result *r = calloc(1, sizeof *r);
	if (!r)
		return moe_err_nomem(err, sizeof *r, "a result");
	r->opts = *opts;
	struct moe_str rest = moe_str_of(opts->columns);
	while (r->n_columns < MAX_COLUMNS && moe_str_next(&rest, '\t', &r->columns[r->n_columns]))
		r->n_columns++;
	bool complete = false;
	enum moe_status status = moe_buf_check(opts->meta, err);
	if (!status)
		status = check_complete(r, &complete, err);
	if (!status && !complete && opts->partial)
		status = moe_out_open_partial(&r->out, opts->path, opts->flags, watch, err);
	else if (!status && !complete)
		status = moe_out_open(&r->out, opts->path, opts->flags, watch, err);
	if (!status && !complete && (opts->flags & MOE_OUT_RESUME) && moe_out_partial(r->out))
		status = resume(r, err);
	if (!status && !complete && moe_out_bytes(r->out) == 0) {
		r->line.n = 0;
		format_head(r, &r->line);
		status = write_line(r, err);
	}
	if (status) {
		moe_result_abort(r);
		return status;
	}
	r->begun = !complete;
	*out = r;
	return MOE_OK;
}

enum moe_status moe_result_commit(struct moe_result *r, struct moe_err *err)
{
	enum moe_status status = r->out ? moe_out_commit(r->out, err) : MOE_OK;
	r->out = NULL;
	moe_result_abort(r);
	return status;
}

void moe_result_abort(struct moe_result *r)
{
	if (!r)
		return;
	/* Nothing is lost with a head alone, and the next run need not be asked about it. */
	if (r->begun && r->n_rows == 0 && moe_out_partial(r->out) && moe_out_cut(r->out, 0, NULL))
		r->begun = false;
	moe_out_abort(r->out);
	moe_buf_free(&r->line);
	free(r);
}
