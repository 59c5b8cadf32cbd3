/* Tables of choices: a line each, fields separated by commas or tabs, columns told by the header line.
 *
 *   token   position in its sequence, from 0; with a column pos: the token's id
 *   pos     position in its sequence
 *   layer   the model's own index; may be missing where the user names the layer
 *   expert
 *   weight  may be missing
 *   seq, source, token_id   may be missing
 *
 * Other columns are passed over, as are lines before the header that start with '#'. Fields with commas, quotes or line
 * ends stand in quotes, which are doubled inside (RFC 4180); between tabs they are \t \n \\ as in our own tables. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/table.h"
#include "trace/choices.h"

enum column { TOKEN, POS, LAYER, EXPERT, WEIGHT, SEQ, SOURCE, TOKEN_ID, N_COLUMNS };
static const char *const names[N_COLUMNS] = {
	"token", "pos", "layer", "expert", "weight", "seq", "source", "token_id",
};

enum { MAX_FIELDS = 64 };

/* One file being read. */
struct file {
	const char *path;
	const char *p, *end;
	int64_t line;         /* of the row that was read last */
	int64_t next_line;
	char tab;             /* what separates fields */
	struct moe_buf text;  /* of the fields of a row, one behind the other */
	size_t starts[MAX_FIELDS + 1];
	int n_fields;
	int at[N_COLUMNS];    /* which field, -1: none */
	uint32_t source;      /* of the file's name, where there is no column */
};

static struct moe_str field(const struct file *f, int i)
{
	return (struct moe_str) { f->text.p + f->starts[i], f->starts[i + 1] - f->starts[i] };
}

/* A field in quotes, behind the opening one. */
static bool take_quoted(struct file *f)
{
	while (f->p < f->end) {
		if (*f->p == '"' && (f->p + 1 == f->end || f->p[1] != '"')) {
			f->p++;
			return true;
		}
		f->p += *f->p == '"';
		f->next_line += *f->p == '\n';
		moe_buf_addc(&f->text, *f->p++);
	}
	return false;
}

static void take_plain(struct file *f)
{
	while (f->p < f->end && *f->p != f->tab && *f->p != '\n') {
		char c = *f->p++;
		if (c == '\r' && (f->p == f->end || *f->p == '\n'))
			break;
		if (f->tab == '\t' && c == '\\' && f->p < f->end && strchr("tn\\", *f->p)) {
			c = *f->p == 't' ? '\t' : *f->p == 'n' ? '\n' : '\\';
			f->p++;
		}
		moe_buf_addc(&f->text, c);
	}
}

/* The fields of the next line, or *at_end. Empty lines are passed over. */
static enum moe_status read_row(struct file *f, bool *at_end, struct moe_err *err)
{
	while (f->p < f->end && (*f->p == '\n' || (*f->p == '\r' && f->p + 1 < f->end && f->p[1] == '\n'))) {
		f->p += *f->p == '\r' ? 2 : 1;
		f->next_line++;
	}
	f->line = f->next_line;
	*at_end = f->p == f->end;
	f->text.n = 0;
	f->n_fields = 0;
	for (bool more = !*at_end; more;) {
		if (f->n_fields == MAX_FIELDS)
			return moe_err_set(err, MOE_EFORMAT, "%s: line %lld: more than %d fields", f->path,
			                   (long long)f->line, MAX_FIELDS);
		f->starts[f->n_fields++] = f->text.n;
		if (f->tab == ',' && f->p < f->end && *f->p == '"') {
			f->p++;
			if (!take_quoted(f))
				return moe_err_set(err, MOE_EFORMAT, "%s: line %lld: a quote is not closed", f->path,
				                   (long long)f->line);
		}
		take_plain(f);
		more = f->p < f->end && *f->p == f->tab;
		f->p += f->p < f->end;
	}
	f->next_line += !*at_end;
	f->starts[f->n_fields] = f->text.n;
	moe_buf_addc(&f->text, '\0');   /* so that text.p is not NULL */
	return moe_buf_check(&f->text, err);
}

static enum moe_status read_header(struct file *f, const struct moe_intake *in, struct moe_err *err)
{
	bool at_end = false;
	if (f->end - f->p >= 3 && memcmp(f->p, "\xef\xbb\xbf", 3) == 0)
		f->p += 3;
	while (f->p < f->end && *f->p == '#') {
		const char *line_end = memchr(f->p, '\n', (size_t)(f->end - f->p));
		f->p = line_end ? line_end + 1 : f->end;
		f->next_line++;
	}
	if (f->p < f->end) {
		const char *line_end = memchr(f->p, '\n', (size_t)(f->end - f->p));
		f->tab = memchr(f->p, '\t', (size_t)((line_end ? line_end : f->end) - f->p)) ? '\t' : ',';
	}
	enum moe_status status = read_row(f, &at_end, err);
	if (status)
		return status;
	for (int c = 0; c < N_COLUMNS; c++)
		f->at[c] = -1;
	for (int i = 0; i < f->n_fields; i++)
		for (int c = 0; c < N_COLUMNS; c++)
			if (moe_str_eq(field(f, i), names[c])) {
				if (f->at[c] >= 0)
					return moe_err_set(err, MOE_EFORMAT, "%s: line %lld: column %s is there twice",
					                   f->path, (long long)f->line, names[c]);
				f->at[c] = i;
			}
	if (f->at[POS] >= 0 && f->at[TOKEN] >= 0 && f->at[TOKEN_ID] < 0) {
		f->at[TOKEN_ID] = f->at[TOKEN];
		f->at[TOKEN] = f->at[POS];
	} else if (f->at[POS] >= 0 && f->at[TOKEN] < 0) {
		f->at[TOKEN] = f->at[POS];
	}
	for (int c = TOKEN; c <= EXPERT; c++)
		if (f->at[c] < 0 && c != POS && (c != LAYER || in->opts->layer < 0))
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: line %lld: expected a header with the columns token, %sexpert and "
			                   "perhaps weight, found no %s", f->path, (long long)f->line,
			                   in->opts->layer < 0 ? "layer, " : "", names[c]);
	return MOE_OK;
}

static enum moe_status number(const struct file *f, enum column c, int64_t *out, struct moe_err *err)
{
	const struct moe_str text = field(f, f->at[c]);
	if (moe_parse_i64(text, out))
		return MOE_OK;
	return moe_err_set(err, MOE_EFORMAT, "%s: line %lld, column %s: expected a number, found '%.*s'", f->path,
	                   (long long)f->line, names[c], (int)(text.n < 60 ? text.n : 60), text.p);
}

static enum moe_status read_choice(struct file *f, struct moe_intake *in, struct moe_choices *all, struct moe_err *err)
{
	struct moe_choice row = { .line = f->line, .token = -1, .source = f->source };
	int64_t layer = in->opts->layer, token = -1;
	char where[800];
	snprintf(where, sizeof where, "%.700s: line %lld", f->path, (long long)f->line);
	for (int c = 0; c < N_COLUMNS; c++)
		if (f->at[c] >= f->n_fields)
			return moe_err_set(err, MOE_EFORMAT, "%s: expected %d fields at least, found %d", where,
			                   f->at[c] + 1, f->n_fields);
	enum moe_status status = number(f, TOKEN, &row.pos, err);
	if (!status && f->at[LAYER] >= 0)
		status = number(f, LAYER, &layer, err);
	if (!status)
		status = number(f, EXPERT, &row.expert, err);
	if (!status && f->at[SEQ] >= 0)
		status = number(f, SEQ, &row.seq, err);
	if (!status && f->at[TOKEN_ID] >= 0)
		status = number(f, TOKEN_ID, &token, err);
	if (!status && f->at[WEIGHT] >= 0) {
		double weight = 0;
		const struct moe_str text = field(f, f->at[WEIGHT]);
		if (!moe_parse_f64(text, &weight))
			status = moe_err_set(err, MOE_EFORMAT, "%s, column weight: expected a number, found '%.*s'",
			                     where, (int)(text.n < 60 ? text.n : 60), text.p);
		row.weight = (float)weight;
	}
	if (!status && f->at[SOURCE] >= 0) {
		const struct moe_str label = field(f, f->at[SOURCE]);
		status = moe_choices_source(all, in, f->path, label.p, label.n, &row.source, err);
	}
	if (!status && (token < -1 || token > INT32_MAX))
		status = moe_err_set(err, MOE_EFORMAT, "%s: token id: expected a number from 0, or -1, found %lld",
		                     where, (long long)token);
	if (!status)
		status = moe_intake_layer(in, layer, where, err);
	row.layer = (int32_t)layer;
	row.token = (int32_t)token;
	return status ? status : moe_choices_add(all, &row, where, err);
}

/* A table whose weights are all empty, as a trace without gates is printed, has none. */
static bool has_weights(const struct file *f)
{
	return f->at[WEIGHT] >= 0 && (f->at[WEIGHT] >= f->n_fields || field(f, f->at[WEIGHT]).n > 0);
}

static enum moe_status read_file(struct moe_intake *in, struct moe_choices *all, const char *path, struct moe_err *err)
{
	const char *label = NULL;
	struct moe_buf text = {0};
	struct file f = { .path = strcmp(path, "-") == 0 ? "stdin" : path, .next_line = 1, .tab = ',' };
	enum moe_status status = moe_read_all(path, 0, &text, err);
	f.p = text.p ? text.p : "";
	f.end = f.p + text.n;
	moe_choices_file(all);
	if (!status)
		status = moe_intake_label(in, f.path, &label, err);
	if (!status)
		status = moe_choices_source(all, in, f.path, label, strlen(label), &f.source, err);
	if (!status)
		status = read_header(&f, in, err);
	for (bool at_end = false, first = true; !status; first = false) {
		status = read_row(&f, &at_end, err);
		if (status || at_end)
			break;
		if (first) {
			const bool weights = has_weights(&f);
			if (all->n > 0 && weights != all->weights)
				status = moe_err_set(err, MOE_EFORMAT, "%s: %s weights, but what came before has %s",
				                     f.path, weights ? "has" : "has no", weights ? "none" : "them");
			all->weights = weights;
			f.at[WEIGHT] = weights ? f.at[WEIGHT] : -1;
		}
		if (!status)
			status = read_choice(&f, in, all, err);
	}
	moe_buf_free(&f.text);
	moe_buf_free(&text);
	return status;
}

static enum moe_status run(char *const *files, int n_files, const struct moe_import_opts *opts,
                           const struct moe_import_sink *sink, struct moe_err *err)
{
	return moe_choices_run(files, n_files, opts, sink, "tables of choices", read_file, err);
}

/* ---- the other way ---- */

struct moe_export {
	struct moe_out *out;
	struct moe_buf text;
	const struct moe_trace_header *header;
};

static void export_free(struct moe_export *e)
{
	if (e)
		moe_buf_free(&e->text);
	free(e);
}

static enum moe_status export_begin(struct moe_export **result, struct moe_out *out, const struct moe_trace_header *h,
                                    struct moe_err *err)
{
	struct moe_export *e = calloc(1, sizeof *e);
	if (!e)
		return moe_err_nomem(err, sizeof *e, "a table");
	e->out = out;
	e->header = h;
	*result = e;
	return moe_out_printf(out, err, "token,layer,expert%s,seq,token_id,source\n",
	                      h->gates == MOE_GATES_NONE ? "" : ",weight");
}

static void add_label(struct moe_buf *buf, const char *label)
{
	if (!strpbrk(label, ",\"\r\n")) {
		moe_buf_adds(buf, label);
		return;
	}
	moe_buf_addc(buf, '"');
	for (; *label; label++) {
		if (*label == '"')
			moe_buf_addc(buf, '"');
		moe_buf_addc(buf, *label);
	}
	moe_buf_addc(buf, '"');
}

static enum moe_status export_run(struct moe_export *e, const struct moe_trace_run *run, struct moe_err *err)
{
	struct moe_buf *buf = &e->text, label = {0};
	buf->n = 0;
	add_label(&label, run->source);
	for (int64_t t = 0; t < run->n_tokens; t++)
		for (int32_t l = 0; l < e->header->n_layers; l++) {
			const struct moe_routing *r = &run->layers[l];
			for (int64_t i = t * r->top_k; i < (t + 1) * r->top_k; i++) {
				if (r->ids[i] < 0)
					continue;
				moe_buf_addf(buf, "%lld,%d,%d", (long long)(run->pos + t), r->layer, r->ids[i]);
				if (r->weights)
					moe_buf_addf(buf, ",%.9g", (double)r->weights[i]);
				moe_buf_addf(buf, ",%lld,%d,", (long long)run->seq, run->tokens[t]);
				moe_buf_add(buf, label.p, label.n);
				moe_buf_addc(buf, '\n');
			}
		}
	buf->failed |= label.failed;
	moe_buf_free(&label);
	enum moe_status status = moe_buf_check(buf, err);
	return status || !buf->n ? status : moe_out_write(e->out, buf->p, buf->n, err);
}

static enum moe_status export_finish(struct moe_export *e, struct moe_err *err)
{
	(void)e;
	(void)err;
	return MOE_OK;
}

static const struct moe_export_ops export_ops = { false, export_begin, export_run, export_finish, export_free };

const struct moe_import moe_import_csv = {
	.name = "csv",
	.help = "tables with the columns token, layer, expert and perhaps weight, by commas or tabs",
	.run = run,
	.to = &export_ops,
};
