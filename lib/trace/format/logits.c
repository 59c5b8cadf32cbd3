/* Scores of one layer's router: NumPy arrays of floats [tokens, experts], a file is a sequence. The trace keeps them,
 * so that it can be routed again; until then the largest are chosen, weighed by their softmax over all. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trace/npy.h"

#define PIECE_SCORES (1 << 18)   /* of a run that is delivered */

/* Where a piece of a run lives. */
struct space {
	float *logits, *scores;   /* [piece][n_experts], [n_experts] */
	float *weights;           /* [piece][top_k] */
	int32_t *ids, *tokens;
	int64_t piece;
};

static enum moe_status space_open(struct space *s, const struct moe_trace_header *h, struct moe_err *err)
{
	s->piece = PIECE_SCORES / h->n_experts > 0 ? PIECE_SCORES / h->n_experts : 1;
	const size_t n = (size_t)s->piece, n_choices = n * (size_t)h->top_k;
	s->logits = malloc(n * (size_t)h->n_experts * sizeof *s->logits);
	s->scores = malloc((size_t)h->n_experts * sizeof *s->scores);
	s->weights = malloc(n_choices * sizeof *s->weights);
	s->ids = malloc(n_choices * sizeof *s->ids);
	s->tokens = malloc(n * sizeof *s->tokens);
	if (!s->logits || !s->scores || !s->weights || !s->ids || !s->tokens)
		return moe_err_nomem(err, n * (size_t)h->n_experts * sizeof *s->logits, "logits");
	for (size_t i = 0; i < n; i++)
		s->tokens[i] = -1;
	return MOE_OK;
}

static void space_close(struct space *s)
{
	free(s->logits);
	free(s->scores);
	free(s->weights);
	free(s->ids);
	free(s->tokens);
}

static enum moe_status deliver(struct moe_intake *in, const struct moe_array *a, const char *path, struct space *s,
                               struct moe_trace_run *run, struct moe_err *err)
{
	const struct moe_trace_header *h = &in->header;
	for (int64_t t = 0; t < run->n_tokens; t++) {
		float *row = s->logits + t * h->n_experts;
		for (int32_t e = 0; e < h->n_experts; e++) {
			row[e] = moe_array_value(a, (run->pos + t) * a->strides[0] + e * a->strides[1]);
			if (!isfinite(row[e]))
				return moe_err_set(err, MOE_EFORMAT, "%s: token %lld, expert %d: expected a finite "
				                   "score, found %g", path, (long long)(run->pos + t), e,
				                   (double)row[e]);
		}
		int32_t *ids = s->ids + t * h->top_k;
		moe_top_k(row, h->n_experts, h->top_k, ids);
		moe_softmax(row, h->n_experts, s->scores);
		for (int32_t i = 0; i < h->top_k; i++)
			s->weights[t * h->top_k + i] = s->scores[ids[i]];
	}
	const struct moe_routing layer = {
		.layer = h->layers[0], .n_experts = h->n_experts, .top_k = h->top_k, .n_tokens = run->n_tokens,
		.ids = s->ids, .weights = s->weights, .logits = s->logits,
	};
	run->tokens = s->tokens;
	run->layers = &layer;
	return in->sink->run(in->sink->arg, run, err);
}

/* Which layer it is, and how many experts a token chooses. */
static enum moe_status begin(struct moe_intake *in, const char *path, struct moe_err *err)
{
	struct moe_trace_header *h = &in->header;
	int32_t layer = in->opts->layer;
	if (layer < 0 && in->has_config && in->n_moe > 1)
		return moe_err_set(err, MOE_EUSAGE, "%s: has %d layers with experts: name the one of the scores by "
		                   "--layer", in->opts->config_path, in->n_moe);
	if (layer < 0)
		layer = in->has_config ? in->moe_layers[0] : 0;
	if (in->opts->top_k > 0)
		h->top_k = in->opts->top_k;
	else if (!in->has_config)
		h->top_k = 1;
	if (h->top_k > h->n_experts)
		return moe_err_set(err, MOE_EUSAGE, "%s: scores of %d experts, of which a token cannot choose %d", path,
		                   h->n_experts, h->top_k);
	h->scoring = "softmax";
	enum moe_status status = moe_intake_layer(in, layer, path, err);
	return status ? status : moe_intake_begin(in, &layer, 1, h->top_k, true, true, path, err);
}

static enum moe_status check_shape(const struct moe_array *a, const char *path, struct moe_err *err)
{
	char shape[24 * MOE_MAX_DIMS];
	if (a->codec->name[0] != 'f' || a->n_dims != 2 || a->dims[0] < 1 || a->dims[1] < 1 || a->dims[1] > INT32_MAX)
		return moe_err_set(err, MOE_EFORMAT, "%s: expected floats [tokens, experts], found %s %s", path,
		                   a->codec->name, moe_dims_text(shape, a->dims, a->n_dims));
	return MOE_OK;
}

static enum moe_status read_file(struct moe_intake *in, const char *path, int64_t seq, struct moe_err *err)
{
	struct moe_map map = {0};
	struct moe_array a;
	struct space space = {0};
	struct moe_trace_run run = { .seq = seq };
	enum moe_status status = moe_map_open(&map, path, in->opts->watch, err);
	if (!status)
		status = moe_npy_parse(&a, map.data, map.n_bytes, path, err);
	if (!status)
		status = check_shape(&a, path, err);
	if (!status && a.dims[1] != in->header.n_experts)
		status = moe_err_set(err, MOE_EFORMAT, "%s: scores of %lld experts; expected %d", path,
		                     (long long)a.dims[1], in->header.n_experts);
	if (!status && !in->begun)
		status = begin(in, path, err);
	if (!status)
		status = moe_intake_label(in, path, &run.source, err);
	if (!status)
		status = space_open(&space, &in->header, err);
	for (; !status && run.pos < a.dims[0]; run.pos += run.n_tokens) {
		run.n_tokens = a.dims[0] - run.pos < space.piece ? a.dims[0] - run.pos : space.piece;
		status = deliver(in, &a, path, &space, &run, err);
	}
	space_close(&space);
	moe_map_close(&map);
	return status;
}

/* How many experts the first file has scores of. */
static enum moe_status peek(const char *path, const struct moe_import_opts *opts, int32_t *n_experts,
                            struct moe_err *err)
{
	struct moe_map map = {0};
	struct moe_array a;
	enum moe_status status = moe_map_open(&map, path, opts->watch, err);
	if (!status)
		status = moe_npy_parse(&a, map.data, map.n_bytes, path, err);
	if (!status)
		status = check_shape(&a, path, err);
	if (!status)
		*n_experts = (int32_t)a.dims[1];
	moe_map_close(&map);
	return status;
}

static enum moe_status run(char *const *files, int n_files, const struct moe_import_opts *given,
                           const struct moe_import_sink *sink, struct moe_err *err)
{
	struct moe_intake in = {0};
	struct moe_import_opts opts = *given;
	enum moe_status status = MOE_OK;
	if (!opts.config_path && opts.n_experts == 0 && n_files > 0)
		status = peek(files[0], &opts, &opts.n_experts, err);
	if (!status)
		status = moe_intake_open(&in, &opts, sink, "no files", err);
	for (int i = 0; !status && i < n_files; i++)
		status = read_file(&in, files[i], i, err);
	moe_intake_close(&in);
	return status;
}

const struct moe_import moe_import_logits = {
	.name = "logits",
	.help = "router scores of one layer, NumPy floats [tokens, experts]; a file is a sequence",
	.run = run,
	.scores = true,
};
