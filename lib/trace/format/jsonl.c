/* Lines of JSON, one for each token and layer:
 *
 *   {"token": 0, "layer": 1, "experts": [5, 2], "weights": [0.7, 0.1], "seq": 0, "token_id": 17, "source": "a"}
 *
 * token is the position in the sequence, experts stand best first. weights, seq, token_id and source may be missing,
 * and layer where the user names it; other keys are passed over. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "trace/choices.h"
#include "trace/record.h"

static enum moe_status read_experts(const json_t *object, struct moe_choice row, struct moe_choices *all,
                                    const char *where, struct moe_err *err)
{
	const json_t *experts = json_object_get(object, "experts"), *weights = json_object_get(object, "weights");
	const size_t n = json_array_size(experts);
	if (!json_is_array(experts))
		return moe_json_refuse(err, experts, where, "experts: expected an array of numbers");
	const bool has_weights = moe_json_has(object, "weights");
	if (has_weights && (!json_is_array(weights) || json_array_size(weights) != n))
		return moe_json_refuse(err, weights, where, "weights: expected as many numbers as experts (%zu)", n);
	if (n == 0)
		return MOE_OK;
	if (all->n == 0)
		all->weights = has_weights;
	if (all->weights != has_weights)
		return moe_err_set(err, MOE_EFORMAT, "%s: %s weights, but what came before has %s", where,
		                   has_weights ? "has" : "has no", has_weights ? "none" : "them");
	for (size_t i = 0; i < n; i++) {
		const json_t *expert = json_array_get(experts, i);
		const json_t *weight = has_weights ? json_array_get(weights, i) : NULL;
		if (!json_is_integer(expert))
			return moe_json_refuse(err, expert, where, "experts[%zu]: expected a whole number", i);
		if (weight && !json_is_number(weight))
			return moe_json_refuse(err, weight, where, "weights[%zu]: expected a number", i);
		row.expert = json_integer_value(expert);
		row.weight = weight ? (float)json_number_value(weight) : 0;
		enum moe_status status = moe_choices_add(all, &row, where, err);
		if (status)
			return status;
	}
	return MOE_OK;
}

static enum moe_status read_line(struct moe_intake *in, struct moe_choices *all, const char *path, int64_t line,
                                 struct moe_str text, uint32_t source, struct moe_err *err)
{
	struct moe_choice row = { .pos = -1, .line = line, .token = -1, .source = source };
	int64_t layer = in->opts->layer;
	const char *label = NULL;
	char where[800];
	json_t *object = NULL;
	snprintf(where, sizeof where, "%.700s: line %lld", path, (long long)line);
	enum moe_status status = moe_json_parse(&object, text.p, text.n, where, err);
	if (!status && !json_is_object(object))
		status = moe_json_refuse(err, object, where, "expected an object");
	if (!status)
		status = moe_json_i64(object, "token", where, 0, INT64_MAX / 2, &row.pos, err);
	if (!status && row.pos < 0)
		status = moe_err_set(err, MOE_EFORMAT, "%s: token: expected the position of a token, found nothing",
		                     where);
	if (!status)
		status = moe_json_i64(object, "layer", where, 0, INT32_MAX - 1, &layer, err);
	if (!status && layer < 0)
		status = moe_err_set(err, MOE_EFORMAT, "%s: layer: expected a number, found nothing; --layer names it",
		                     where);
	if (!status)
		status = moe_json_i64(object, "seq", where, 0, INT64_MAX / 2, &row.seq, err);
	if (!status)
		status = moe_json_i32(object, "token_id", where, -1, INT32_MAX, &row.token, err);
	if (!status)
		status = moe_json_str(object, "source", where, &label, err);
	if (!status && label)
		status = moe_choices_source(all, in, path, label, strlen(label), &row.source, err);
	if (!status)
		status = moe_intake_layer(in, layer, where, err);
	row.layer = (int32_t)layer;
	if (!status)
		status = read_experts(object, row, all, where, err);
	json_decref(object);
	return status;
}

static enum moe_status read_file(struct moe_intake *in, struct moe_choices *all, const char *path, struct moe_err *err)
{
	const char *label = NULL;
	const char *const name = strcmp(path, "-") == 0 ? "stdin" : path;
	uint32_t source = 0;
	int64_t n_lines = 0;
	struct moe_buf text = {0};
	struct moe_str line;
	enum moe_status status = moe_read_all(path, 0, &text, err);
	moe_choices_file(all);
	if (!status)
		status = moe_intake_label(in, name, &label, err);
	if (!status)
		status = moe_choices_source(all, in, name, label, strlen(label), &source, err);
	for (struct moe_str rest = { text.p, text.n }; !status && moe_str_next(&rest, '\n', &line);) {
		n_lines++;
		if (line.n > 0 && !(line.n == 1 && *line.p == '\r'))
			status = read_line(in, all, name, n_lines, line, source, err);
	}
	moe_buf_free(&text);
	return status;
}

static enum moe_status run(char *const *files, int n_files, const struct moe_import_opts *opts,
                           const struct moe_import_sink *sink, struct moe_err *err)
{
	return moe_choices_run(files, n_files, opts, sink, "lines of choices", read_file, err);
}

/* ---- the other way ---- */

struct moe_export {
	struct moe_out *out;
	struct moe_buf text, tail;
	const struct moe_trace_header *header;
};

static void export_free(struct moe_export *e)
{
	if (!e)
		return;
	moe_buf_free(&e->text);
	moe_buf_free(&e->tail);
	free(e);
}

static enum moe_status export_begin(struct moe_export **result, struct moe_out *out, const struct moe_trace_header *h,
                                    struct moe_err *err)
{
	struct moe_export *e = calloc(1, sizeof *e);
	if (!e)
		return moe_err_nomem(err, sizeof *e, "lines");
	e->out = out;
	e->header = h;
	*result = e;
	return MOE_OK;
}

static void add_line(struct moe_export *e, const struct moe_trace_run *run, const struct moe_routing *r, int64_t t)
{
	struct moe_buf *buf = &e->text;
	const char *comma = "";
	moe_buf_addf(buf, "{\"token\":%lld,\"layer\":%d,\"experts\":[", (long long)(run->pos + t), r->layer);
	for (int64_t i = t * r->top_k; i < (t + 1) * r->top_k; i++)
		if (r->ids[i] >= 0) {
			moe_buf_addf(buf, "%s%d", comma, r->ids[i]);
			comma = ",";
		}
	moe_buf_adds(buf, "]");
	comma = ",\"weights\":[";
	for (int64_t i = t * r->top_k; r->weights && i < (t + 1) * r->top_k; i++)
		if (r->ids[i] >= 0) {
			moe_buf_addf(buf, "%s%.9g", comma, (double)r->weights[i]);
			comma = ",";
		}
	moe_buf_adds(buf, comma[1] ? "" : r->weights ? "]" : "");
	moe_buf_addf(buf, ",\"seq\":%lld,\"token_id\":%d,\"source\":", (long long)run->seq, run->tokens[t]);
	moe_buf_add(buf, e->tail.p, e->tail.n);
}

static enum moe_status export_run(struct moe_export *e, const struct moe_trace_run *run, struct moe_err *err)
{
	e->text.n = e->tail.n = 0;
	moe_json_quote(&e->tail, run->source, strlen(run->source));
	moe_buf_adds(&e->tail, "}\n");
	for (int64_t t = 0; t < run->n_tokens && !e->tail.failed; t++)
		for (int32_t l = 0; l < e->header->n_layers; l++)
			add_line(e, run, &run->layers[l], t);
	e->text.failed |= e->tail.failed;
	enum moe_status status = moe_buf_check(&e->text, err);
	return status || !e->text.n ? status : moe_out_write(e->out, e->text.p, e->text.n, err);
}

static enum moe_status export_finish(struct moe_export *e, struct moe_err *err)
{
	(void)e;
	(void)err;
	return MOE_OK;
}

static const struct moe_export_ops export_ops = { false, export_begin, export_run, export_finish, export_free };

const struct moe_import moe_import_jsonl = {
	.name = "jsonl",
	.help = "lines of JSON: {\"token\":0,\"layer\":1,\"experts\":[5,2],\"weights\":[0.7,0.1]}",
	.run = run,
	.to = &export_ops,
};
