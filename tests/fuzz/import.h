/* What the fuzzers of importers share: the bytes as a file of one format; what is delivered must fit its header. */
#ifndef MOE_TESTS_FUZZ_IMPORT_H
#define MOE_TESTS_FUZZ_IMPORT_H

#include <math.h>

#include "fuzz.h"
#include "trace/trace.h"

struct import_seen {
	struct moe_trace_header header;
	int64_t n_begun, n_choices;
};

static enum moe_status import_begin(void *arg, const struct moe_trace_header *header, struct moe_err *err)
{
	struct import_seen *seen = arg;
	(void)err;
	if (seen->n_begun++ || header->n_layers < 1 || header->top_k < 1 || header->top_k > header->n_experts)
		abort();
	seen->header = *header;
	return MOE_OK;
}

static enum moe_status import_run(void *arg, const struct moe_trace_run *run, struct moe_err *err)
{
	struct import_seen *seen = arg;
	const struct moe_trace_header *h = &seen->header;
	(void)err;
	if (!seen->n_begun || run->n_tokens < 1 || run->seq < 0 || run->pos < 0 || !run->source)
		abort();
	for (int64_t t = 0; t < run->n_tokens; t++)
		if (run->tokens[t] < -1)
			abort();
	for (int32_t l = 0; l < h->n_layers; l++) {
		const struct moe_routing *r = &run->layers[l];
		if (r->layer != h->layers[l] || r->n_tokens != run->n_tokens || r->top_k != h->top_k ||
		    (h->gates != MOE_GATES_NONE) != (r->weights != NULL))
			abort();
		for (int64_t i = 0; i < r->n_tokens * r->top_k; i++) {
			if (r->ids[i] < -1 || r->ids[i] >= h->n_experts)
				abort();
			if (r->weights && (!(r->weights[i] >= 0) || !isfinite(r->weights[i])))
				abort();
			seen->n_choices++;
		}
	}
	return MOE_OK;
}

/* Once as a user would, once leniently. */
__attribute__((unused))
static void import_bytes(const char *format, const uint8_t *data, size_t n, int32_t n_experts)
{
	const struct moe_import *import = moe_import_by_name(format);
	for (int lenient = 0; lenient < 2; lenient++) {
		struct moe_err err = {0};
		struct import_seen seen = {0};
		const struct moe_import_sink sink = { &seen, import_begin, import_run };
		int64_t n_dropped = 0;
		const struct moe_import_opts opts = { .n_experts = n_experts, .layer = -1, .lenient = lenient,
			                              .n_dropped = &n_dropped };
		char path[64], *files[] = { path };
		int fd;
		fuzz_file(data, n, path, &fd);
		if (import->run(files, 1, &opts, &sink, &err) ? !err.text[0] : seen.n_choices == 0)
			abort();   /* no sentence, or nothing came of a good file */
		close(fd);
	}
}

#endif
