/* The router traces of Megatron-LM (core/transformer/moe/router_trace.py, --moe-routing-trace-path): a file of JSON
 * lines for each rank, router_trace_rankR.jsonl, a line for each step and layer:
 *
 *   {"step": 0, "stage": "pre_dispatch", "block": "decoder", "layer": 3, "rank": 0, "num_tokens": 128, "topk": 22,
 *    "top_indices": [[12, 45, ...], ...]}
 *
 * and lines of block "mtp" with mtp_idx, which are the layers behind the model's last. A step of a rank is a sequence:
 * the trace does not tell which of its tokens belong together. What else a line says (where hidden states or logits lie
 * in files beside it) is passed over. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "trace/choices.h"

/* One file being read. */
struct file {
	const char *path;
	int64_t line, step, rank, seq;   /* step, rank: of the line before; seq: of this file */
	int64_t n_decoder;               /* layers so far */
	uint32_t source;
};

/* A layer of the trace: that of the decoder, or one behind its last. */
static enum moe_status read_layer(const struct moe_intake *in, struct file *f, const json_t *object, const char *where,
                                  int64_t *out, struct moe_err *err)
{
	const char *block = "decoder";
	int64_t layer = -1, head = -1;
	enum moe_status status = moe_json_str(object, "block", where, &block, err);
	if (!status)
		status = moe_json_i64(object, "layer", where, 0, INT32_MAX / 2, &layer, err);
	if (!status && layer < 0)
		return moe_json_refuse(err, NULL, where, "layer: expected a number");
	if (status || strcmp(block, "decoder") == 0) {
		*out = layer;
		f->n_decoder = layer >= f->n_decoder ? layer + 1 : f->n_decoder;
		return status;
	}
	if (strcmp(block, "mtp") != 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: block: expected decoder or mtp, found '%.60s'", where, block);
	status = moe_json_i64(object, "mtp_idx", where, 0, INT32_MAX / 4, &head, err);
	if (!status && head < 0)
		return moe_json_refuse(err, NULL, where, "mtp_idx: expected a number");
	if (!status && layer != 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: layer %lld of a head of multi-token prediction; a trace has "
		                   "one for each head", where, (long long)layer);
	*out = (in->has_config ? in->config.n_layers : f->n_decoder) + head;
	return status;
}

static enum moe_status read_tokens(struct moe_choices *all, const json_t *object, struct moe_choice row,
                                   const char *where, struct moe_err *err)
{
	const json_t *tokens = json_object_get(object, "top_indices");
	int64_t n_tokens = -1, top_k = -1;
	enum moe_status status = moe_json_i64(object, "num_tokens", where, 0, INT64_MAX, &n_tokens, err);
	if (!status)
		status = moe_json_i64(object, "topk", where, 1, INT32_MAX, &top_k, err);
	if (!status && (!json_is_array(tokens) || (n_tokens >= 0 && n_tokens != (int64_t)json_array_size(tokens))))
		status = moe_json_refuse(err, tokens, where, "top_indices: expected a list of num_tokens (%lld) lists",
		                         (long long)n_tokens);
	for (size_t t = 0; !status && t < json_array_size(tokens); t++) {
		const json_t *experts = json_array_get(tokens, t);
		const size_t n = json_array_size(experts);
		if (!json_is_array(experts) || (top_k >= 0 && (int64_t)n != top_k))
			return moe_json_refuse(err, experts, where, "top_indices[%zu]: expected a list of topk (%lld) "
			                       "experts", t, (long long)top_k);
		row.pos = (int64_t)t;
		for (size_t i = 0; !status && i < n; i++) {
			const json_t *expert = json_array_get(experts, i);
			if (!json_is_integer(expert))
				return moe_json_refuse(err, expert, where,
				                       "top_indices[%zu][%zu]: expected a whole number", t, i);
			row.expert = json_integer_value(expert);
			status = moe_choices_add(all, &row, where, err);
		}
	}
	return status;
}

static enum moe_status read_line(struct moe_intake *in, struct moe_choices *all, struct file *f, struct moe_str text,
                                 struct moe_err *err)
{
	int64_t layer = -1, step = -1, rank = 0;
	char where[800];
	json_t *object = NULL;
	snprintf(where, sizeof where, "%.700s: line %lld", f->path, (long long)f->line);
	enum moe_status status = moe_json_parse(&object, text.p, text.n, where, err);
	if (!status && !json_is_object(object))
		status = moe_json_refuse(err, object, where, "expected an object");
	if (!status)
		status = moe_json_i64(object, "step", where, 0, INT64_MAX, &step, err);
	if (!status && step < 0)
		status = moe_json_refuse(err, NULL, where, "step: expected a number");
	if (!status)
		status = moe_json_i64(object, "rank", where, 0, INT64_MAX, &rank, err);
	if (!status)
		status = read_layer(in, f, object, where, &layer, err);
	if (!status)
		status = moe_intake_layer(in, layer, where, err);
	f->seq += step != f->step || rank != f->rank;
	f->step = step;
	f->rank = rank;
	const struct moe_choice row = { .seq = f->seq, .line = f->line, .layer = (int32_t)layer, .token = -1,
		                        .source = f->source };
	if (!status)
		status = read_tokens(all, object, row, where, err);
	json_decref(object);
	return status;
}

static enum moe_status read_file(struct moe_intake *in, struct moe_choices *all, const char *path, struct moe_err *err)
{
	const char *label = NULL;
	struct file f = { .path = strcmp(path, "-") == 0 ? "stdin" : path, .step = -1, .seq = -1 };
	struct moe_buf text = {0};
	struct moe_str line;
	enum moe_status status = moe_read_all(path, 0, &text, err);
	moe_choices_file(all);
	if (!status)
		status = moe_intake_label(in, f.path, &label, err);
	if (!status)
		status = moe_choices_source(all, in, f.path, label, strlen(label), &f.source, err);
	for (struct moe_str rest = { text.p, text.n }; !status && moe_str_next(&rest, '\n', &line);) {
		f.line++;
		if (line.n > 0)
			status = read_line(in, all, &f, line, err);
	}
	moe_buf_free(&text);
	return status;
}

static enum moe_status run(char *const *files, int n_files, const struct moe_import_opts *opts,
                           const struct moe_import_sink *sink, struct moe_err *err)
{
	return moe_choices_run(files, n_files, opts, sink, "router traces of Megatron", read_file, err);
}

const struct moe_import moe_import_megatron = {
	.name = "megatron",
	.help = "router traces of Megatron-LM, router_trace_rankR.jsonl; a step of a rank is a sequence",
	.run = run,
};
