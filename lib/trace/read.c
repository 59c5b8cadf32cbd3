/* Traces being read: parts, their records, and sentences about what is wrong with them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "trace/bgzf.h"
#include "trace/record.h"
#include "trace/trace.h"

#define N_START 16
#define N_RECORD 5
#define N_END 16
#define PIECE (1u << 20)   /* a payload is read by such pieces, so that a lie about its length costs nothing */

struct moe_trace_in {
	struct moe_bgzf_in *file;
	struct moe_pool *pool;
	struct moe_arena arena;                /* headers and source labels, until close */
	const struct moe_trace_header *header;   /* of the current part */
	const struct moe_trace_header *first;
	int version;                           /* of the format, of the current part */
	int64_t n_parts;
	bool in_part;
	const char **sources;                  /* of the current part */
	uint32_t n_sources, sources_cap;
	uint8_t *payload;
	size_t payload_cap;
	struct moe_run_space space;
	struct moe_segments segments;          /* of the last record */
	int64_t next, from;                    /* the segment that comes next, and its first token in space */
	struct moe_routing *layers;            /* [first->n_layers] of the run */
	struct moe_trace_run run;
	uint64_t n_runs, n_tokens;             /* of the current part */
	uint64_t all_runs, all_tokens;
	char where[512];                       /* what begins a sentence about the current record */
};

void moe_trace_close(struct moe_trace_in *in)
{
	if (!in)
		return;
	moe_bgzf_close(in->file);
	moe_run_space_free(&in->space);
	free(in->segments.at);
	free(in->layers);
	free(in->sources);
	free(in->payload);
	moe_arena_free(&in->arena);
	free(in);
}

/* Adds to a sentence what was read before the fault. */
static enum moe_status tell(const struct moe_trace_in *in, enum moe_status status, struct moe_err *err)
{
	if (err && status) {
		size_t n = strlen(err->text);
		snprintf(err->text + n, sizeof err->text - n, "; %llu complete runs, %llu tokens before it",
		         (unsigned long long)in->all_runs, (unsigned long long)in->all_tokens);
	}
	return status;
}

/* Notes where the next byte comes from, for sentences. */
static void note_place(struct moe_trace_in *in)
{
	snprintf(in->where, sizeof in->where, "%.300s: byte %llu of the unpacked trace (gzip block at byte %llu)",
	         moe_bgzf_in_path(in->file), (unsigned long long)moe_bgzf_tell(in->file),
	         (unsigned long long)moe_bgzf_block_at(in->file));
}

/* Exactly n_bytes, which are `what`. */
static enum moe_status need(struct moe_trace_in *in, void *bytes, size_t n_bytes, const char *what, struct moe_err *err)
{
	size_t n_read = 0;
	enum moe_status status = moe_bgzf_read(in->file, bytes, n_bytes, &n_read, err);
	if (!status && n_read < n_bytes)
		status = moe_err_set(err, MOE_EFORMAT, "%s: cut short: expected %zu bytes of %s, found %zu", in->where,
		                     n_bytes, what, n_read);
	return status;
}

/* The next n_bytes into in->payload. */
static enum moe_status need_payload(struct moe_trace_in *in, size_t n_bytes, const char *what, struct moe_err *err)
{
	for (size_t at = 0; at < n_bytes;) {
		size_t n = n_bytes - at < PIECE ? n_bytes - at : PIECE;
		if (at + n > in->payload_cap) {
			size_t cap = at + n > 2 * in->payload_cap ? at + n : 2 * in->payload_cap;
			uint8_t *payload = realloc(in->payload, cap);
			if (!payload)
				return moe_err_nomem(err, cap, what);
			in->payload = payload;
			in->payload_cap = cap;
		}
		enum moe_status status = need(in, in->payload + at, n, what, err);
		if (status)
			return status;
		at += n;
	}
	return MOE_OK;
}

static bool differ(const char *a, const char *b)
{
	return *a && *b && strcmp(a, b) != 0;
}

enum moe_status moe_trace_agree(const struct moe_trace_header *f, const char *first, const struct moe_trace_header *h,
                                const char *name, struct moe_err *err)
{
	bool hashes = *f->model_hash && *h->model_hash;
	if (differ(f->model_hash, h->model_hash) || (!hashes && differ(f->model, h->model)))
		return moe_err_set(err, MOE_EFORMAT, "%s is of model '%.200s' (%.60s), %s of '%.200s' (%.60s)", name,
		                   h->model, h->model_hash, first, f->model, f->model_hash);
	if (h->n_experts != f->n_experts || h->top_k != f->top_k || h->n_layers != f->n_layers)
		return moe_err_set(err, MOE_EFORMAT, "%s has %d MoE layers, %d experts, top_k %d; %s has %d, %d, %d",
		                   name, h->n_layers, h->n_experts, h->top_k, first, f->n_layers, f->n_experts,
		                   f->top_k);
	for (int32_t i = 0; i < h->n_layers; i++)
		if (h->layers[i] != f->layers[i])
			return moe_err_set(err, MOE_EFORMAT, "%s has layer %d where %s has layer %d", name,
			                   h->layers[i], first, f->layers[i]);
	return MOE_OK;
}

/* May this part follow the first one in a file? */
static enum moe_status check_part(const struct moe_trace_in *in, const struct moe_trace_header *h, struct moe_err *err)
{
	char name[600];
	snprintf(name, sizeof name, "%.500s: part %lld", in->where, (long long)in->n_parts);
	return moe_trace_agree(in->first, "part 0", h, name, err);
}

/* The start of a part, or *at_end. */
static enum moe_status read_start(struct moe_trace_in *in, bool *at_end, struct moe_err *err)
{
	uint8_t start[N_START];
	size_t n_read = 0;
	note_place(in);
	enum moe_status status = moe_bgzf_read(in->file, start, 8, &n_read, err);
	if (status)
		return status;
	*at_end = n_read == 0 && in->n_parts > 0;
	if (*at_end)
		return MOE_OK;
	if (n_read == 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: expected a trace, found nothing", moe_bgzf_in_path(in->file));
	if (n_read < 8 || memcmp(start, MOE_TRACE_MAGIC, 8) != 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: expected the start of a %s, found something else", in->where,
		                   in->n_parts ? "part or the end of the file" : "trace");
	status = need(in, start + 8, N_START - 8, "the start of a part", err);
	if (status)
		return status;
	uint32_t version = moe_load_u32(start + 8), n_text = moe_load_u32(start + 12);
	if (version < 1 || version > MOE_TRACE_VERSION)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: version %u of the trace format; this program knows 1 to %d", in->where,
		                   version, MOE_TRACE_VERSION);
	if (n_text > MOE_TRACE_HEADER_MAX)
		return moe_err_set(err, MOE_EFORMAT, "%s: a header of %u bytes; the format takes %u", in->where, n_text,
		                   MOE_TRACE_HEADER_MAX);
	status = need_payload(in, n_text, "a header", err);
	struct moe_trace_header *header = MOE_NEW(&in->arena, struct moe_trace_header, 1);
	if (!status && !header)
		status = moe_err_nomem(err, sizeof *header, "a trace header");
	if (!status)
		status =
			moe_header_parse(header, &in->arena, n_text ? (char *)in->payload : "", n_text, in->where, err);
	if (!status && in->first)
		status = check_part(in, header, err);
	if (status)
		return status;
	in->header = header;
	in->version = (int)version;
	in->first = in->first ? in->first : header;
	in->run.part = in->n_parts++;
	in->in_part = true;
	in->n_sources = 0;
	in->n_runs = in->n_tokens = 0;
	return MOE_OK;
}

static enum moe_status read_source(struct moe_trace_in *in, size_t n, struct moe_err *err)
{
	const char *name = (const char *)in->payload + 4;
	if (n < 4 || n - 4 > MOE_TRACE_SOURCE_MAX || moe_load_u32(in->payload) != in->n_sources)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: expected source label %u of at most %u bytes, found %u of %zu bytes", in->where,
		                   in->n_sources, MOE_TRACE_SOURCE_MAX, n < 4 ? 0 : moe_load_u32(in->payload),
		                   n < 4 ? 0 : n - 4);
	if (memchr(name, 0, n - 4))
		return moe_err_set(err, MOE_EFORMAT, "%s: source label %u holds a NUL byte", in->where, in->n_sources);
	if (in->n_sources == in->sources_cap) {
		uint32_t cap = in->sources_cap ? 2 * in->sources_cap : 64;
		const char **sources = cap > in->sources_cap ? realloc(in->sources, cap * sizeof *sources) : NULL;
		if (!sources)
			return moe_err_nomem(err, cap * sizeof *sources, "source labels");
		in->sources = sources;
		in->sources_cap = cap;
	}
	const char *copy = moe_arena_strndup(&in->arena, name, n - 4);
	if (!copy)
		return moe_err_nomem(err, n, "a source label");
	in->sources[in->n_sources++] = copy;
	return MOE_OK;
}

static enum moe_status read_end(struct moe_trace_in *in, size_t n, struct moe_err *err)
{
	if (n != N_END)
		return moe_err_set(err, MOE_EFORMAT, "%s: an end record has %d bytes, found %zu", in->where, N_END, n);
	uint64_t n_runs = moe_load_u64(in->payload), n_tokens = moe_load_u64(in->payload + 8);
	if (n_runs != in->n_runs || n_tokens != in->n_tokens)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: the part ends with %llu runs and %llu tokens, but states %llu and %llu",
		                   in->where, (unsigned long long)in->n_runs, (unsigned long long)in->n_tokens,
		                   (unsigned long long)n_runs, (unsigned long long)n_tokens);
	in->in_part = false;
	return MOE_OK;
}

static enum moe_status read_run(struct moe_trace_in *in, size_t n, struct moe_err *err)
{
	in->next = in->from = 0;
	in->segments.n = 0;
	enum moe_status status = moe_run_get(in->header, in->version, in->payload, n, &in->space, &in->segments,
	                                     in->pool, in->where, err);
	for (int64_t i = 0; i < in->segments.n && !status; i++)
		if (in->segments.at[i].source >= in->n_sources)
			status = moe_err_set(err, MOE_EFORMAT, "%s: a run of source %u, but %u sources are known",
			                     in->where, in->segments.at[i].source, in->n_sources);
	if (status)
		in->segments.n = 0;
	else if (!in->layers)
		in->layers = calloc((size_t)in->first->n_layers, sizeof *in->layers);
	return status || in->layers ? status
	                            : moe_err_nomem(err, (size_t)in->first->n_layers * sizeof *in->layers, "a run");
}

/* The next segment of the last record becomes in->run. */
static void take_segment(struct moe_trace_in *in)
{
	const struct moe_segment *segment = &in->segments.at[in->next++];
	const struct moe_trace_header *h = in->header;
	const int64_t from = in->from;
	for (int32_t l = 0; l < h->n_layers; l++) {
		struct moe_routing *r = &in->layers[l];
		*r = in->space.layers[l];
		r->n_tokens = segment->n_tokens;
		r->ids += from * h->top_k;
		r->weights = r->weights ? r->weights + from * h->top_k : NULL;
		r->logits = r->logits ? r->logits + from * h->n_experts : NULL;
		r->margins = r->margins ? r->margins + from : NULL;
	}
	in->run.seq = segment->seq;
	in->run.pos = segment->pos;
	in->run.source = in->sources[segment->source];
	in->run.n_tokens = segment->n_tokens;
	in->run.tokens = in->space.tokens + from;
	in->run.layers = in->layers;
	in->from += segment->n_tokens;
	in->n_runs++;
	in->all_runs++;
	in->n_tokens += (uint64_t)segment->n_tokens;
	in->all_tokens += (uint64_t)segment->n_tokens;
}

/* Passes over the payload of a record of a type that may be ignored. */
static enum moe_status skip(struct moe_trace_in *in, size_t n, struct moe_err *err)
{
	uint8_t piece[4096];
	while (n > 0) {
		size_t now = n < sizeof piece ? n : sizeof piece;
		enum moe_status status = need(in, piece, now, "a record", err);
		if (status)
			return status;
		n -= now;
	}
	return MOE_OK;
}

static enum moe_status read_record(struct moe_trace_in *in, struct moe_err *err)
{
	uint8_t head[N_RECORD];
	note_place(in);
	enum moe_status status = need(in, head, N_RECORD, "a record or the end record of this part", err);
	if (status)
		return status;
	size_t n = moe_load_u32(head + 1);
	if (memcmp(head, MOE_TRACE_MAGIC, N_RECORD) == 0)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: expected a record, found a new part: the one before it was cut short",
		                   in->where);
	if (n > MOE_TRACE_RECORD_MAX)
		return moe_err_set(err, MOE_EFORMAT, "%s: a record of %zu bytes; the format takes %u", in->where, n,
		                   MOE_TRACE_RECORD_MAX);
	if (head[0] >= 'a' && head[0] <= 'z')
		return skip(in, n, err);
	if (head[0] != 'S' && head[0] != 'R' && head[0] != 'E')
		return moe_err_set(err, MOE_EFORMAT, "%s: expected a record of type S, R or E, found type 0x%02x",
		                   in->where, head[0]);
	status = need_payload(in, n, "a record", err);
	if (status)
		return status;
	switch (head[0]) {
	case 'S':
		return read_source(in, n, err);
	case 'E':
		return read_end(in, n, err);
	default:
		return read_run(in, n, err);
	}
}

static enum moe_status start(struct moe_trace_in **result, struct moe_bgzf_in *file, struct moe_pool *pool,
                             struct moe_err *err)
{
	struct moe_trace_in *in = calloc(1, sizeof *in);
	bool at_end = false;
	enum moe_status status;
	if (!in) {
		moe_bgzf_close(file);
		return moe_err_nomem(err, sizeof *in, "a trace");
	}
	in->file = file;
	in->pool = pool;
	status = read_start(in, &at_end, err);
	if (status) {
		/* of a file that is no trace there is nothing to count */
		if (moe_bgzf_is_gzip(file))
			tell(in, status, err);
		moe_trace_close(in);
		return status;
	}
	*result = in;
	return MOE_OK;
}

enum moe_status moe_trace_open(struct moe_trace_in **result, const char *path, struct moe_pool *pool,
                               struct moe_watch *watch, struct moe_err *err)
{
	(void)watch;   /* nothing is mapped */
	struct moe_bgzf_in *file;
	enum moe_status status = moe_bgzf_open(&file, path, pool, err);
	return status ? status : start(result, file, pool, err);
}

enum moe_status moe_trace_open_fd(struct moe_trace_in **result, int fd, const char *path, struct moe_pool *pool,
                                  struct moe_err *err)
{
	struct moe_bgzf_in *file;
	enum moe_status status = moe_bgzf_open_fd(&file, fd, path, pool, err);
	return status ? status : start(result, file, pool, err);
}

const struct moe_trace_header *moe_trace_head(const struct moe_trace_in *in)
{
	return in->header;
}

void moe_trace_want(struct moe_trace_in *in, unsigned fields) { in->space.skip = ~fields; }

enum moe_status moe_trace_next(struct moe_trace_in *in, const struct moe_trace_run **out, struct moe_err *err)
{
	*out = NULL;
	bool at_end = false;
	while (!at_end && in->next == in->segments.n) {
		enum moe_status status = in->in_part ? read_record(in, err) : read_start(in, &at_end, err);
		if (status)
			return tell(in, status, err);
	}
	if (at_end)
		return MOE_OK;
	take_segment(in);
	*out = &in->run;
	return MOE_OK;
}

void moe_trace_progress(const struct moe_trace_in *in, uint64_t *n_read, uint64_t *n_total)
{
	moe_bgzf_progress(in->file, n_read, n_total);
}

bool moe_trace_probe(const char *path)
{
	char magic[8];
	return strcmp(path, "-") != 0 && moe_bgzf_peek(path, magic, sizeof magic) &&
	       memcmp(magic, MOE_TRACE_MAGIC, 8) == 0;
}
