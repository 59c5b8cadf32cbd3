/* Traces from hostile bytes, read to their end. An input beginning with 'P' is the unpacked stream, which is packed
 * first, so that the checksums of gzip do not keep everything from the records; any other is a file as it is. */
#include "fuzz.h"

#include <zlib.h>

#include "trace/text.h"
#include "trace/trace.h"

/* What the reader gives out must fit the header. */
static void check_run(const struct moe_trace_header *h, const struct moe_trace_run *run)
{
	for (int32_t l = 0; l < h->n_layers; l++) {
		const struct moe_routing *r = &run->layers[l];
		if (r->layer != h->layers[l] || r->n_tokens != run->n_tokens || r->n_tokens < 1)
			abort();
		for (int64_t i = 0; i < r->n_tokens * r->top_k; i++)
			if (r->ids[i] < -1 || r->ids[i] >= r->n_experts)
				abort();
	}
}

static void fuzz_one(const uint8_t *data, size_t n)
{
	struct moe_err err = {0};
	struct moe_trace_in *in = NULL;
	const struct moe_trace_run *run = NULL;
	char path[64];
	int fd;
	bool packs = n > 0 && data[0] == 'P';

	fuzz_file(data, packs ? 0 : n, path, &fd);
	if (packs) {
		gzFile f = gzdopen(dup(fd), "wb0");
		if (!f || (n > 1 && gzwrite(f, data + 1, (unsigned)n - 1) != (int)n - 1) || gzclose(f) != Z_OK)
			abort();
	}
	moe_trace_probe(path);
	enum moe_status status = moe_trace_open(&in, path, NULL, NULL, &err);
	while (!status && !(status = moe_trace_next(in, &run, &err)) && run) {
		const struct moe_trace_header *h = moe_trace_head(in);
		struct moe_buf text = {0};
		check_run(h, run);
		if (run->n_tokens * h->n_layers * h->top_k < 1000)
			moe_trace_print_run(run, h, true, &text);
		moe_buf_free(&text);
	}
	if (status && !err.text[0])
		abort();   /* no sentence */
	moe_trace_close(in);
	close(fd);
}
