/* The common half of writing: declarations, the order of bytes, and one buffer; containers do the rest. */
#include "checkpoint/write.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "checkpoint/format.h"
#include "checkpoint/resume.h"

#define BUFFER_BYTES ((size_t)1 << 20)
#define LARGE_BYTES ((size_t)256 << 10)   /* written as they are */

static void free_out(struct moe_ckpt_out *out)
{
	if (out->layout)
		out->format->writer->free_layout(out->layout);
	json_decref(out->metadata);
	free(out->tensors);
	free(out->companions);
	moe_resume_free(out->resume);
	free(out->recipe);
	moe_buf_free(&out->buf);
	moe_arena_free(&out->arena);
	free(out->path);
	free(out);
}

enum moe_status moe_ckpt_out_open(struct moe_ckpt_out **result, const struct moe_ckpt_out_opts *opts,
                                  struct moe_err *err)
{
	size_t n = (size_t)opts->n_companions;
	struct moe_ckpt_out *out;

	*result = NULL;
	if (opts->metadata && !json_is_object(opts->metadata))
		return moe_err_set(err, MOE_EUSAGE, "%s: metadata to be written must be a JSON object", opts->path);
	for (size_t i = 0; i < n; i++) {
		const char *name = opts->companions[i].name;

		if (!moe_format_plain_name(name, strlen(name)))
			return moe_err_set(err, MOE_EFORMAT, "%s: '%s' is not the name of a file inside it", opts->path,
			                   name);
	}
	out = calloc(1, sizeof *out);
	if (!out)
		return moe_err_nomem(err, sizeof *out, "an output");
	out->format = opts->format;
	out->flags = opts->flags;
	out->shard_bytes = opts->shard_bytes;
	out->n_ranks = opts->n_ranks;
	out->watch = opts->watch;
	out->path = strdup(opts->path);
	out->recipe = opts->recipe ? strdup(opts->recipe) : NULL;
	out->n_companions = opts->n_companions;
	out->companions = calloc(n + 1, sizeof *out->companions);
	out->metadata = opts->metadata ? json_deep_copy(opts->metadata) : NULL;
	if (!out->path || (opts->recipe && !out->recipe) || !out->companions || (opts->metadata && !out->metadata)) {
		free_out(out);
		return moe_err_nomem(err, n * sizeof *out->companions, "an output");
	}
	if (n)
		memcpy(out->companions, opts->companions, n * sizeof *out->companions);
	*result = out;
	return MOE_OK;
}

enum moe_status moe_ckpt_out_declare(struct moe_ckpt_out *out, const char *name, const struct moe_codec *codec,
                                     const int64_t *dims, int32_t n_dims, struct moe_err *err)
{
	struct moe_declared *tensor;
	char text[24 * MOE_MAX_DIMS];
	enum moe_status status;
	size_t n_bytes;

	if (out->begun)
		return moe_err_set(err, MOE_EUSAGE, "%s: tensor %s is declared after writing has begun", out->path,
		                   name);
	if (n_dims < 0 || n_dims > MOE_MAX_DIMS)
		return moe_err_set(err, MOE_EUSAGE, "%s: tensor %s: expected 0 to %d dimensions, found %d", out->path,
		                   name, MOE_MAX_DIMS, (int)n_dims);
	if (!*name || !moe_format_is_utf8((const uint8_t *)name, strlen(name)))
		return moe_err_set(err, MOE_EUSAGE, "%s: expected a tensor's name in UTF-8, found '%s'", out->path,
		                   name);
	if (!moe_dims_bytes(codec, dims, n_dims, &n_bytes))
		return moe_err_set(err, MOE_EUSAGE,
		                   "%s: tensor %s: shape %s of %s is not whole blocks of %u, or too large", out->path,
		                   name, moe_dims_text(text, dims, n_dims), codec->name, codec->block_elems);
	if (out->n_tensors == out->cap) {
		size_t cap = out->cap ? 2 * out->cap : 256;
		struct moe_declared *grown = realloc(out->tensors, cap * sizeof *grown);

		if (!grown)
			return moe_err_nomem(err, cap * sizeof *grown, "a table of tensors");
		out->tensors = grown;
		out->cap = cap;
	}
	tensor = &out->tensors[out->n_tensors];
	*tensor = (struct moe_declared){ .codec = codec, .n_dims = n_dims, .n_bytes = n_bytes,
	                                .rank = out->rank };
	memcpy(tensor->dims, dims, (size_t)n_dims * sizeof *dims);
	tensor->name = moe_arena_strndup(&out->arena, name, strlen(name));
	if (!tensor->name)
		return moe_err_nomem(err, strlen(name) + 1, "a tensor's name");
	status = out->format->writer->check(out, tensor, err);
	if (!status)
		out->n_tensors++;
	return status;
}

void moe_ckpt_out_tie(struct moe_ckpt_out *out) { out->tensors[out->n_tensors - 1].tied = true; }

void moe_ckpt_out_next_rank(struct moe_ckpt_out *out) { out->rank++; }

size_t moe_ckpt_out_kept(const struct moe_ckpt_out *out) { return out->n_kept; }

bool moe_ckpt_out_complete(const struct moe_ckpt_out *out) { return out->complete; }

uint64_t moe_ckpt_out_total(const struct moe_ckpt_out *out)
{
	void *layout = NULL;
	uint64_t total = 0;

	if (out->begun)
		return out->total;
	if (out->format->writer->plan(out, &layout, &total, NULL))
		total = 0;
	if (layout)
		out->format->writer->free_layout(layout);
	return total;
}

enum moe_status moe_ckpt_out_files(const struct moe_ckpt_out *out,
                                   void (*fn)(void *arg, const char *name, uint64_t n_bytes), void *arg,
                                   struct moe_err *err)
{
	void *layout = NULL;
	uint64_t total = 0;
	enum moe_status status = out->format->writer->plan(out, &layout, &total, err);

	if (!status)
		out->format->writer->files(out, layout, total, fn, arg);
	if (layout)
		out->format->writer->free_layout(layout);
	return status;
}

static int compare_names(const void *a, const void *b)
{
	const struct moe_declared *x = *(const struct moe_declared *const *)a;
	const struct moe_declared *y = *(const struct moe_declared *const *)b;
	const int order = strcmp(x->name, y->name);

	return order ? order : (x->rank > y->rank) - (x->rank < y->rank);
}

static enum moe_status refuse_duplicates(const struct moe_ckpt_out *out, struct moe_err *err)
{
	size_t n = out->n_tensors;
	const struct moe_declared **names = malloc((n + 1) * sizeof *names);
	enum moe_status status = MOE_OK;

	if (!names)
		return moe_err_nomem(err, n * sizeof *names, "tensor names");
	for (size_t i = 0; i < n; i++)
		names[i] = &out->tensors[i];
	if (n > 1)
		qsort(names, n, sizeof *names, compare_names);
	for (size_t i = 1; i < n && !status; i++) {
		if (!compare_names(&names[i - 1], &names[i]))
			status = moe_err_set(err, MOE_EUSAGE, "%s: tensor %s is declared twice", out->path,
			                     names[i]->name);
	}
	free(names);
	return status;
}

/* Leaves every tensor whose bytes are complete and prepares for the next. */
static enum moe_status advance(struct moe_ckpt_out *out, struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	while (!status && out->current < out->n_tensors && out->n_done == out->tensors[out->current].n_bytes) {
		if (out->resume)
			status = moe_resume_tensor(out, err);
		if (status)
			break;
		out->current++;
		out->n_done = 0;
		if (out->current < out->n_tensors)
			status = out->format->writer->tensor(out, out->current, err);
	}
	return status;
}

enum moe_status moe_ckpt_out_begin(struct moe_ckpt_out *out, struct moe_err *err)
{
	enum moe_status status;

	if (out->begun)
		return moe_err_set(err, MOE_EUSAGE, "%s: writing has begun already", out->path);
	status = refuse_duplicates(out, err);
	if (!status)
		status = out->format->writer->plan(out, &out->layout, &out->total, err);
	if (!status && !moe_buf_room(&out->buf, BUFFER_BYTES))
		status = moe_err_nomem(err, BUFFER_BYTES, "an output's buffer");
	if (!status && out->recipe)
		status = moe_resume_open(out, out->recipe, err);
	if (status)
		return status;
	/* It is in the headers now; many outputs may be open at once, and a vocabulary is large as JSON. */
	json_decref(out->metadata);
	out->metadata = NULL;
	out->begun = true;
	out->n_kept = out->current;
	if (out->complete)
		return MOE_OK;
	status = out->format->writer->begin(out, err);
	if (!status && out->current < out->n_tensors)
		status = out->format->writer->tensor(out, out->current, err);
	return status ? status : advance(out, err);
}

enum moe_status moe_format_flush(struct moe_ckpt_out *out, struct moe_err *err)
{
	size_t n = out->buf.n;

	out->buf.n = 0;
	return n ? moe_out_write(out->sink, out->buf.p, n, err) : MOE_OK;
}

enum moe_status moe_format_put(struct moe_ckpt_out *out, const void *bytes, size_t n_bytes, struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	if (n_bytes > BUFFER_BYTES - out->buf.n || n_bytes >= LARGE_BYTES)
		status = moe_format_flush(out, err);
	if (status)
		return status;
	if (n_bytes >= LARGE_BYTES)
		return moe_out_write(out->sink, bytes, n_bytes, err);
	moe_buf_add(&out->buf, bytes, n_bytes);
	return moe_buf_check(&out->buf, err);
}

enum moe_status moe_ckpt_out_write(struct moe_ckpt_out *out, const void *bytes, size_t n_bytes, struct moe_err *err)
{
	uint64_t n_left;
	enum moe_status status;

	if (n_bytes == 0)
		return MOE_OK;
	if (!out->begun || out->current == out->n_tensors)
		return moe_err_set(err, MOE_EUSAGE, "%s: %zu bytes came %s", out->path, n_bytes,
		                   out->begun ? "behind the last tensor" : "before writing began");
	n_left = out->tensors[out->current].n_bytes - out->n_done;
	if (n_bytes > n_left)
		return moe_err_set(err, MOE_EUSAGE, "%s: tensor %s: expected at most %llu more bytes, found %zu",
		                   out->path, out->tensors[out->current].name, (unsigned long long)n_left, n_bytes);
	status = moe_format_put(out, bytes, n_bytes, err);
	if (status)
		return status;
	if (out->resume)
		moe_resume_add(out->resume, bytes, n_bytes);
	out->n_done += n_bytes;
	return advance(out, err);
}

enum moe_status moe_ckpt_out_commit(struct moe_ckpt_out *out, struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	if (!out->begun)
		status = moe_err_set(err, MOE_EUSAGE, "%s: nothing was begun", out->path);
	else if (out->current < out->n_tensors)
		status = moe_err_set(err, MOE_EUSAGE, "%s: tensor %s: expected %llu bytes, found %llu", out->path,
		                     out->tensors[out->current].name,
		                     (unsigned long long)out->tensors[out->current].n_bytes,
		                     (unsigned long long)out->n_done);
	if (!status && !out->complete)
		status = out->format->writer->finish(out, err);
	moe_ckpt_out_abort(out);
	return status;
}

void moe_ckpt_out_abort(struct moe_ckpt_out *out)
{
	if (!out)
		return;
	moe_out_abort(out->sink);
	moe_outdir_abort(out->dir);
	free_out(out);
}
