/* Tables held whole: one copy of the text, fields unescaped in place and NUL-terminated. */
#include "base/table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"

#define READ_BYTES ((size_t)1 << 16)
#define MAX_BYTES ((size_t)1 << 30)

struct meta {
	const char *key, *value;
};

struct moe_table {
	char *name;
	char *text;               /* owned; every string below lies in it */
	struct meta *meta;        /* [n_meta] */
	size_t n_meta;
	struct moe_str *columns;  /* [n_columns] */
	int n_columns;
	struct moe_str *fields;   /* [n_rows][n_columns] */
	int64_t n_rows;
	int64_t header_line;      /* rows follow it without gaps */
};

/* The line at *at without its end (LF, CR LF when crlf), NUL-terminated; *at moves behind it. */
static struct moe_str take_line(char **at, char *end, bool crlf)
{
	char *start = *at, *stop = memchr(start, '\n', (size_t)(end - start));

	*at = stop ? stop + 1 : end;
	if (!stop)
		stop = end;
	if (crlf && stop > start && stop[-1] == '\r')
		stop--;
	*stop = '\0';
	return (struct moe_str){start, (size_t)(stop - start)};
}

/* \t \n \\ in place. False at any other escape. */
static bool unescape(char *p, size_t *n)
{
	size_t to = 0;

	for (size_t from = 0; from < *n; from++, to++) {
		if (p[from] != '\\') {
			p[to] = p[from];
			continue;
		}
		if (++from == *n)
			return false;
		if (p[from] != 't' && p[from] != 'n' && p[from] != '\\')
			return false;
		p[to] = p[from] == 't' ? '\t' : p[from] == 'n' ? '\n' : '\\';
	}
	p[to] = '\0';
	*n = to;
	return true;
}

static int64_t count_fields(struct moe_str line)
{
	int64_t n = 1;

	for (size_t i = 0; i < line.n; i++)
		n += line.p[i] == '\t';
	return n;
}

/* Cuts a line into its n_columns fields. */
static enum moe_status split_line(const struct moe_table *table, struct moe_str line, int64_t n_line,
                                  struct moe_str *fields, struct moe_err *err)
{
	/* The text is the table's own copy. */
	char *p = table->text + (line.p - table->text), *end = p + line.n;

	for (int i = 0; i < table->n_columns; i++) {
		char *stop = memchr(p, '\t', (size_t)(end - p));
		size_t n = (size_t)((stop ? stop : end) - p);

		p[n] = '\0';
		if (!unescape(p, &n))
			return moe_err_set(err, MOE_EFORMAT, "%s: line %jd, field %d: a backslash is followed by "
			                   "neither t, n nor a backslash", table->name, (intmax_t)n_line, i + 1);
		fields[i] = (struct moe_str){p, n};
		p = stop ? stop + 1 : end;
	}
	return MOE_OK;
}

/* "#key=value #key=value"; words without "=" are a remark. "#command=" has the rest of its line. */
static enum moe_status add_meta(struct moe_table *table, char *line, struct moe_err *err)
{
	const bool whole = strncmp(line, "#command=", 9) == 0;
	char *state = NULL;

	for (char *word = whole ? line : strtok_r(line, " \t", &state); word;
	     word = whole ? NULL : strtok_r(NULL, " \t", &state)) {
		char *key = word + (*word == '#'), *equals = strchr(key, '=');
		struct meta *grown;

		if (!equals || equals == key)
			continue;
		*equals = '\0';
		grown = reallocarray(table->meta, table->n_meta + 1, sizeof *grown);
		if (!grown)
			return moe_err_nomem(err, (table->n_meta + 1) * sizeof *grown, table->name);
		table->meta = grown;
		table->meta[table->n_meta++] = (struct meta){key, equals + 1};
	}
	return MOE_OK;
}

/* Everything up to and including the header line. */
static enum moe_status parse_head(struct moe_table *table, char **at, char *end, bool crlf, struct moe_err *err)
{
	enum moe_status status;
	struct moe_str line;
	int64_t n_columns;

	do {
		if (*at == end)
			return moe_err_set(err, MOE_EFORMAT, "%s: has no header line", table->name);
		line = take_line(at, end, crlf);
		table->header_line++;
		if (line.n > 0 && line.p[0] == '#') {
			status = add_meta(table, table->text + (line.p - table->text), err);
			if (status)
				return status;
		}
	} while (line.n > 0 && line.p[0] == '#');
	if (line.n == 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: line %jd: the header line is empty", table->name,
		                   (intmax_t)table->header_line);
	n_columns = count_fields(line);
	if (n_columns > 4096)
		return moe_err_set(err, MOE_EFORMAT, "%s: line %jd: has %jd columns, at most 4096 are read",
		                   table->name, (intmax_t)table->header_line, (intmax_t)n_columns);
	table->columns = calloc((size_t)n_columns, sizeof *table->columns);
	if (!table->columns)
		return moe_err_nomem(err, (size_t)n_columns * sizeof *table->columns, table->name);
	table->n_columns = (int)n_columns;
	status = split_line(table, line, table->header_line, table->columns, err);
	for (int i = 1; !status && i < table->n_columns; i++)
		if (moe_table_find(table, table->columns[i].p) != i)
			status = moe_err_set(err, MOE_EFORMAT, "%s: line %jd: two columns are called '%s'", table->name,
			                     (intmax_t)table->header_line, table->columns[i].p);
	return status;
}

static enum moe_status parse_rows(struct moe_table *table, char *at, char *end, bool crlf, struct moe_err *err)
{
	size_t n_lines = 0, n_fields;

	for (const char *p = at; p < end; n_lines++) {
		const char *stop = memchr(p, '\n', (size_t)(end - p));
		p = stop ? stop + 1 : end;
	}
	if (n_lines == 0)
		return MOE_OK;
	if (moe_mul_size(n_lines, (size_t)table->n_columns, &n_fields))
		table->fields = calloc(n_fields, sizeof *table->fields);
	if (!table->fields)
		return moe_err_nomem(err, n_lines * sizeof *table->fields, table->name);
	while (at < end) {
		struct moe_str line = take_line(&at, end, crlf);
		int64_t n_line = moe_table_line(table, table->n_rows), n_found = count_fields(line);
		enum moe_status status;

		if (n_found != table->n_columns)
			return moe_err_set(err, MOE_EFORMAT, "%s: line %jd: expected %d fields, found %jd", table->name,
			                   (intmax_t)n_line, table->n_columns, (intmax_t)n_found);
		status = split_line(table, line, n_line, table->fields + table->n_rows * table->n_columns, err);
		if (status)
			return status;
		table->n_rows++;
	}
	return MOE_OK;
}

enum moe_status moe_table_parse(struct moe_table **out, const char *text, size_t n, const char *name,
                                struct moe_err *err)
{
	struct moe_table *table = calloc(1, sizeof *table);
	enum moe_status status = MOE_OK;
	const char *first_end;
	char *at, *end;
	bool crlf;

	if (table) {
		table->name = strdup(name);
		table->text = n < SIZE_MAX ? malloc(n + 1) : NULL;
	}
	if (!table || !table->name || !table->text) {
		moe_table_free(table);
		return moe_err_nomem(err, n, name);
	}
	if (n > 0)
		memcpy(table->text, text, n);
	table->text[n] = '\0';
	at = table->text;
	end = at + n;
	if (n >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0)
		at += 3;
	/* Lines end in CR LF if the first one does; otherwise a CR belongs to its field. */
	first_end = memchr(at, '\n', (size_t)(end - at));
	crlf = first_end && first_end > at && first_end[-1] == '\r';
	status = parse_head(table, &at, end, crlf, err);
	if (!status)
		status = parse_rows(table, at, end, crlf, err);
	if (status) {
		moe_table_free(table);
		return status;
	}
	*out = table;
	return MOE_OK;
}

/* The number of the line that holds `end`, counted from `p`. */
static size_t line_at(const char *p, const char *end)
{
	size_t n = 1;

	for (; p < end; p++)
		n += *p == '\n';
	return n;
}

/* Checked as it comes: what has no end, such as /dev/zero, is refused at its first bytes. */
enum moe_status moe_table_text(struct moe_buf *text, int fd, const char *name, struct moe_err *err)
{
	const size_t text_begin = text->n;
	size_t n_read = 0;

	for (;;) {
		char *room = moe_buf_room(text, READ_BYTES), *nul;
		ssize_t n;

		if (!room)
			return moe_err_nomem(err, text->n + READ_BYTES, name);
		n = read(fd, room, READ_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return moe_err_sys(err, "%s", name);
		if (n == 0)
			return MOE_OK;
		nul = memchr(room, 0, (size_t)n);
		text->n += nul ? (size_t)(nul - room) : (size_t)n;
		if (nul)
			return moe_err_set(err, MOE_EFORMAT, "%s: line %zu: expected a table, found a NUL byte at byte "
			                   "%zu", name, line_at(text->p + text_begin, text->p + text->n),
			                   n_read + (size_t)(nul - room));
		n_read += (size_t)n;
		if (n_read > MAX_BYTES)
			return moe_err_set(err, MOE_EFORMAT, "%s: a table of more than %zu bytes", name, MAX_BYTES);
	}
}

enum moe_status moe_table_read(struct moe_table **out, const char *path, struct moe_err *err)
{
	bool is_stdin = strcmp(path, "-") == 0;
	const char *name = is_stdin ? "stdin" : path;
	int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	struct moe_buf buf = {0};
	enum moe_status status;

	if (fd < 0)
		return moe_err_sys(err, "%s", path);
	status = moe_table_text(&buf, fd, name, err);
	if (!is_stdin)
		close(fd);
	if (!status)
		status = moe_table_parse(out, buf.p ? buf.p : "", buf.n, name, err);
	moe_buf_free(&buf);
	return status;
}

void moe_table_free(struct moe_table *table)
{
	if (!table)
		return;
	free(table->name);
	free(table->text);
	free(table->meta);
	free(table->columns);
	free(table->fields);
	free(table);
}

const char *moe_table_name(const struct moe_table *table) { return table->name; }

int64_t moe_table_rows(const struct moe_table *table) { return table->n_rows; }

int64_t moe_table_line(const struct moe_table *table, int64_t row) { return table->header_line + 1 + row; }

int moe_table_columns(const struct moe_table *table) { return table->n_columns; }

const char *moe_table_column(const struct moe_table *table, int column) { return table->columns[column].p; }

int moe_table_find(const struct moe_table *table, const char *column)
{
	for (int i = 0; i < table->n_columns; i++)
		if (moe_str_eq(table->columns[i], column))
			return i;
	return -1;
}

enum moe_status moe_table_need(const struct moe_table *table, const char *column, int *out, struct moe_err *err)
{
	struct moe_buf found = {0};

	*out = moe_table_find(table, column);
	if (*out >= 0)
		return MOE_OK;
	for (int i = 0; i < table->n_columns && found.n < 400; i++)
		moe_buf_addf(&found, "%s%s", i ? " " : "", table->columns[i].p);
	moe_err_set(err, MOE_EFORMAT, "%s: line %jd: has no column '%s', only: %s", table->name,
	            (intmax_t)table->header_line, column, found.p ? found.p : "");
	moe_buf_free(&found);
	return MOE_EFORMAT;
}

const char *moe_table_meta(const struct moe_table *table, const char *key)
{
	for (size_t i = 0; i < table->n_meta; i++)
		if (strcmp(table->meta[i].key, key) == 0)
			return table->meta[i].value;
	return NULL;
}

struct moe_str moe_table_str(const struct moe_table *table, int64_t row, int column)
{
	return table->fields[row * table->n_columns + column];
}

static enum moe_status bad_field(const struct moe_table *table, int64_t row, int column, const char *what,
                                 struct moe_err *err)
{
	return moe_err_set(err, MOE_EFORMAT, "%s: line %jd, column '%s': '%.80s' is %s", table->name,
	                   (intmax_t)moe_table_line(table, row), table->columns[column].p,
	                   moe_table_str(table, row, column).p, what);
}

enum moe_status moe_table_i64(const struct moe_table *table, int64_t row, int column, int64_t min, int64_t max,
                              int64_t *out, struct moe_err *err)
{
	char what[80];
	int64_t v;

	if (!moe_parse_i64(moe_table_str(table, row, column), &v))
		return bad_field(table, row, column, "not an integer", err);
	if (v < min || v > max) {
		snprintf(what, sizeof what, max == INT64_MAX ? "less than %jd" : "out of range %jd..%jd", (intmax_t)min,
		         (intmax_t)max);
		return bad_field(table, row, column, what, err);
	}
	*out = v;
	return MOE_OK;
}

enum moe_status moe_table_f64(const struct moe_table *table, int64_t row, int column, double *out, struct moe_err *err)
{
	if (!moe_parse_f64(moe_table_str(table, row, column), out))
		return bad_field(table, row, column, "not a number", err);
	return MOE_OK;
}

void moe_table_quote(struct moe_buf *buf, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (text[i] == '\t')
			moe_buf_adds(buf, "\\t");
		else if (text[i] == '\n')
			moe_buf_adds(buf, "\\n");
		else if (text[i] == '\\')
			moe_buf_adds(buf, "\\\\");
		else
			moe_buf_addc(buf, text[i]);
	}
}
