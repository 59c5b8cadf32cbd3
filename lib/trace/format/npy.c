/* NumPy arrays of expert ids: a file is a sequence, integers [tokens, layers, k] or [tokens, k]. What is exported is
 * one array of all sequences, one behind the other. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "trace/npy.h"

static enum moe_status read_file(struct moe_intake *in, const char *path, int64_t *next_seq, struct moe_err *err)
{
	struct moe_map map = {0};
	struct moe_array array;
	enum moe_status status = moe_map_open(&map, path, in->opts->watch, err);
	if (!status)
		status = moe_npy_parse(&array, map.data, map.n_bytes, path, err);
	if (!status)
		status = moe_arrays_import(in, path, &array, 1, false, next_seq, err);
	moe_map_close(&map);
	return status;
}

static enum moe_status run(char *const *files, int n_files, const struct moe_import_opts *opts,
                           const struct moe_import_sink *sink, struct moe_err *err)
{
	return moe_arrays_run(files, n_files, opts, sink, read_file, err);
}

/* ---- the other way ---- */

struct moe_export {
	struct moe_out *out;
	bool to_stdout;
	struct moe_buf held;   /* what goes to stdout: the shape, which comes first, is known last */
	struct moe_buf piece;
	int64_t n_tokens, n_layers, top_k;
};

static void export_free(struct moe_export *e)
{
	if (!e)
		return;
	moe_buf_free(&e->held);
	moe_buf_free(&e->piece);
	free(e);
}

static enum moe_status export_begin(struct moe_export **result, struct moe_out *out, const struct moe_trace_header *h,
                                    struct moe_err *err)
{
	const uint8_t blank[MOE_NPY_HEADER] = {0};
	struct moe_export *e = calloc(1, sizeof *e);
	if (!e)
		return moe_err_nomem(err, sizeof *e, "an array");
	e->out = out;
	e->to_stdout = strcmp(moe_out_path(out), "-") == 0;
	e->n_layers = h->n_layers;
	e->top_k = h->top_k;
	*result = e;
	return e->to_stdout ? MOE_OK : moe_out_write(out, blank, sizeof blank, err);
}

static enum moe_status export_run(struct moe_export *e, const struct moe_trace_run *run, struct moe_err *err)
{
	struct moe_buf *buf = e->to_stdout ? &e->held : &e->piece;
	const size_t k = (size_t)e->top_k;
	for (int64_t t = 0; t < run->n_tokens; t++) {
		uint8_t *p = (uint8_t *)moe_buf_room(buf, 4 * k * (size_t)e->n_layers);
		if (!p)
			return moe_buf_check(buf, err);
		for (int64_t l = 0; l < e->n_layers; l++)
			for (size_t i = 0; i < k; i++, p += 4)
				moe_store_u32(p, (uint32_t)run->layers[l].ids[(size_t)t * k + i]);
		buf->n += 4 * k * (size_t)e->n_layers;
	}
	e->n_tokens += run->n_tokens;
	if (e->to_stdout)
		return MOE_OK;
	enum moe_status status = moe_out_write(e->out, buf->p, buf->n, err);
	buf->n = 0;
	return status;
}

static enum moe_status export_finish(struct moe_export *e, struct moe_err *err)
{
	const int64_t dims[] = { e->n_tokens, e->n_layers, e->top_k };
	uint8_t header[MOE_NPY_HEADER];
	moe_npy_header(header, "<i4", dims, 3);
	if (!e->to_stdout) {
		enum moe_status flushed = moe_out_flush(e->out, err);   /* the blank header among it */
		return flushed ? flushed : moe_out_pwrite(e->out, header, sizeof header, 0, err);
	}
	enum moe_status status = moe_out_write(e->out, header, sizeof header, err);
	return status || !e->held.n ? status : moe_out_write(e->out, e->held.p, e->held.n, err);
}

static const struct moe_export_ops export_ops = { true, export_begin, export_run, export_finish, export_free };

const struct moe_import moe_import_npy = {
	.name = "npy",
	.help = "NumPy arrays of ids, integers [tokens, layers, k] or [tokens, k]; a file is a sequence",
	.run = run,
	.to = &export_ops,
};
