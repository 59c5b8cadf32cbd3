/* Traces being written. Tokens of one sequence that follow each other are gathered into records of about 1 MiB, so that
 * the file does not depend on how they were handed over. */
#include "trace/trace.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "trace/bgzf.h"
#include "trace/record.h"

#define N_START 16    /* magic, version, length of the header text */
#define N_RECORD 5    /* type, length of the payload */

/* Labels by hash, open addressing; a slot holds index + 1. */
struct sources {
	const char **names;
	uint32_t n, cap;
	uint32_t *slots;
	uint32_t n_slots;   /* a power of two */
};

/* Tokens being gathered: arrays [n_layers][limit][...], filled up to n_held. */
struct moe_trace_out {
	struct moe_bgzf_out *file;
	struct moe_pool *pool;
	struct moe_arena arena;
	struct moe_trace_header header;
	struct sources sources;
	struct moe_run_space space;
	int64_t limit, n_held;
	struct moe_segments segments;
	struct moe_buf record;
	uint64_t n_runs, n_tokens;
};

void moe_trace_abort(struct moe_trace_out *out)
{
	if (!out)
		return;
	moe_bgzf_abort(out->file);
	moe_run_space_free(&out->space);
	moe_buf_free(&out->record);
	free(out->segments.at);
	free(out->sources.names);
	free(out->sources.slots);
	moe_arena_free(&out->arena);
	free(out);
}

static uint32_t hash_text(const char *text)
{
	uint32_t hash = 2166136261u;   /* FNV-1a */
	for (; *text; text++)
		hash = (hash ^ (uint8_t)*text) * 16777619u;
	return hash;
}

/* Appends bytes to the file so that a record that fits in a block is in one. */
static enum moe_status put_whole(struct moe_bgzf_out *file, const struct moe_buf *buf, struct moe_err *err)
{
	enum moe_status status = moe_buf_check(buf, err);
	if (!status && buf->n > moe_bgzf_room(file))
		status = moe_bgzf_cut(file, err);
	return status ? status : moe_bgzf_write(file, buf->p, buf->n, err);
}

/* Begins a record in out->record; end_record fills in the length. */
static void begin_record(struct moe_trace_out *out, char type)
{
	out->record.n = 0;
	moe_buf_addc(&out->record, type);
	moe_buf_add(&out->record, "\0\0\0\0", 4);
}

static enum moe_status end_record(struct moe_trace_out *out, struct moe_err *err)
{
	enum moe_status status = moe_buf_check(&out->record, err);
	if (status)
		return status;
	moe_store_u32((uint8_t *)out->record.p + 1, (uint32_t)(out->record.n - N_RECORD));
	return put_whole(out->file, &out->record, err);
}

static void add_u32(struct moe_buf *buf, uint32_t value)
{
	uint8_t bytes[4];
	moe_store_u32(bytes, value);
	moe_buf_add(buf, bytes, sizeof bytes);
}

static void add_u64(struct moe_buf *buf, uint64_t value)
{
	add_u32(buf, (uint32_t)value);
	add_u32(buf, (uint32_t)(value >> 32));
}

static enum moe_status grow_sources(struct sources *s, struct moe_err *err)
{
	uint32_t cap = s->cap ? 2 * s->cap : 64;
	const char **names = realloc(s->names, cap * sizeof *names);
	if (!names)
		return moe_err_nomem(err, cap * sizeof *names, "source labels");
	s->names = names;
	uint32_t *slots = calloc(2 * (size_t)cap, sizeof *slots);
	if (!slots)
		return moe_err_nomem(err, 2 * (size_t)cap * sizeof *slots, "source labels");
	free(s->slots);
	s->slots = slots;
	s->cap = cap;
	s->n_slots = 2 * cap;
	for (uint32_t i = 0; i < s->n; i++) {
		uint32_t at = hash_text(s->names[i]) & (s->n_slots - 1);
		while (s->slots[at])
			at = (at + 1) & (s->n_slots - 1);
		s->slots[at] = i + 1;
	}
	return MOE_OK;
}

/* The index of a label, which is written to the file when it is new. */
static enum moe_status find_source(struct moe_trace_out *out, const char *name, uint32_t *index, struct moe_err *err)
{
	struct sources *s = &out->sources;
	if (s->n == s->cap) {
		enum moe_status status = grow_sources(s, err);
		if (status)
			return status;
	}
	uint32_t at = hash_text(name) & (s->n_slots - 1);
	for (; s->slots[at]; at = (at + 1) & (s->n_slots - 1)) {
		*index = s->slots[at] - 1;
		if (strcmp(s->names[*index], name) == 0)
			return MOE_OK;
	}
	size_t n = strlen(name);
	if (n > MOE_TRACE_SOURCE_MAX || s->n == UINT32_MAX / 4)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: a source label of %zu bytes, or label number %u, is more than a trace "
		                   "takes",
		                   moe_bgzf_out_path(out->file), n, s->n);
	char *copy = moe_arena_strndup(&out->arena, name, n);
	if (!copy)
		return moe_err_nomem(err, n + 1, "a source label");
	*index = s->n;
	s->names[s->n++] = copy;
	s->slots[at] = s->n;
	begin_record(out, 'S');
	add_u32(&out->record, *index);
	moe_buf_add(&out->record, name, n);
	return end_record(out, err);
}

static enum moe_status copy_header(struct moe_trace_out *out, const struct moe_trace_header *from, struct moe_err *err)
{
	struct moe_trace_header *h = &out->header;
	*h = *from;
	int32_t *layers = MOE_NEW(&out->arena, int32_t, (size_t)(h->n_layers > 0 ? h->n_layers : 0));
	if (!layers)
		return moe_err_nomem(err, (size_t)h->n_layers * sizeof *layers, "a trace header");
	memcpy(layers, from->layers, (size_t)h->n_layers * sizeof *layers);
	h->layers = layers;
	if (!h->version || !*h->version)
		h->version = MOE_VERSION;
	return MOE_OK;
}

/* The start of a part: magic, version, header text. */
static enum moe_status write_start(struct moe_trace_out *out, struct moe_err *err)
{
	struct moe_buf *buf = &out->record;
	moe_buf_adds(buf, MOE_TRACE_MAGIC);
	add_u32(buf, MOE_TRACE_VERSION);
	add_u32(buf, 0);
	moe_header_print(&out->header, buf);
	enum moe_status status = moe_buf_check(buf, err);
	if (status)
		return status;
	if (buf->n - N_START > MOE_TRACE_HEADER_MAX)
		return moe_err_set(err, MOE_EFORMAT, "%s: a trace header of %zu bytes; the format takes %u",
		                   moe_bgzf_out_path(out->file), buf->n - N_START, MOE_TRACE_HEADER_MAX);
	moe_store_u32((uint8_t *)buf->p + 12, (uint32_t)(buf->n - N_START));
	return put_whole(out->file, buf, err);
}

enum moe_status moe_trace_create(struct moe_trace_out **result, const char *path, unsigned flags,
                                 const struct moe_trace_header *header, struct moe_pool *pool, struct moe_watch *watch,
                                 struct moe_err *err)
{
	enum moe_status status = moe_header_check(header, path, err);
	if (status)
		return status;
	struct moe_trace_out *out = calloc(1, sizeof *out);
	if (!out)
		return moe_err_nomem(err, sizeof *out, "a trace");
	out->pool = pool;
	status = copy_header(out, header, err);
	if (!status)
		out->limit = moe_run_limit(&out->header);
	if (!status)
		status = moe_run_space_fit(&out->space, &out->header, out->limit, err);
	if (!status)
		status = moe_bgzf_create(&out->file, path, flags, pool, watch, err);
	if (!status)
		status = write_start(out, err);
	if (status) {
		moe_trace_abort(out);
		return status;
	}
	struct moe_trace_header *h = &out->header;   /* the caller's strings are not kept */
	h->model = h->model_hash = h->tokenizer_hash = h->family = h->policy = NULL;
	h->scoring = h->math = h->command = h->version = NULL;
	*result = out;
	return MOE_OK;
}

/* Writes the tokens gathered. */
static enum moe_status flush_runs(struct moe_trace_out *out, struct moe_err *err)
{
	if (out->n_held == 0)
		return MOE_OK;
	for (int32_t l = 0; l < out->header.n_layers; l++)
		out->space.layers[l].n_tokens = out->n_held;
	begin_record(out, 'R');
	enum moe_status status = moe_run_put(&out->header, &out->segments, out->space.tokens, out->space.layers,
	                                     &out->record, out->pool, moe_bgzf_out_path(out->file), err);
	if (!status)
		status = end_record(out, err);
	out->n_runs += (uint64_t)out->segments.n;
	out->n_tokens += (uint64_t)out->n_held;
	out->n_held = out->segments.n = 0;
	return status;
}

/* Does every layer hold what the header promises? */
static enum moe_status check_run(const struct moe_trace_out *out, const struct moe_trace_run *run, struct moe_err *err)
{
	const struct moe_trace_header *h = &out->header;
	const char *path = moe_bgzf_out_path(out->file);
	if (run->seq < 0 || run->pos < 0 || run->pos > INT64_MAX - UINT32_MAX - run->n_tokens)
		return moe_err_set(err, MOE_EFORMAT, "%s: sequence %lld, position %lld: out of range", path,
		                   (long long)run->seq, (long long)run->pos);
	for (int32_t l = 0; l < h->n_layers; l++) {
		const struct moe_routing *r = &run->layers[l];
		if (r->layer != h->layers[l] || r->n_experts != h->n_experts || r->top_k != h->top_k ||
		    r->n_tokens != run->n_tokens)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: sequence %lld: expected layer %d with %d experts, top_k %d and "
			                   "%lld tokens, found layer %d with %d, %d and %lld",
			                   path, (long long)run->seq, h->layers[l], h->n_experts, h->top_k,
			                   (long long)run->n_tokens, r->layer, r->n_experts, r->top_k,
			                   (long long)r->n_tokens);
		if ((h->gates != MOE_GATES_NONE && !r->weights) || (h->logits && !r->logits) ||
		    (h->margins && !r->margins))
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: sequence %lld, layer %d: the header promises gates, logits or "
			                   "margins that are not there",
			                   path, (long long)run->seq, r->layer);
		for (int64_t i = 0; i < r->n_tokens * r->top_k; i++)
			if (r->ids[i] < -1 || r->ids[i] >= h->n_experts)
				return moe_err_set(err, MOE_EFORMAT,
				                   "%s: sequence %lld, position %lld, layer %d: expected an expert "
				                   "from 0 to %d, found %d",
				                   path, (long long)run->seq, (long long)(run->pos + i / r->top_k),
				                   r->layer, h->n_experts - 1, r->ids[i]);
	}
	return MOE_OK;
}

/* Copies tokens [from, from + n) of run behind those gathered. */
static void gather(struct moe_trace_out *out, const struct moe_trace_run *run, int64_t from, int64_t n)
{
	const struct moe_trace_header *h = &out->header;
	struct moe_run_space *to = &out->space;
	int64_t at = out->n_held;
	memcpy(to->tokens + at, run->tokens + from, (size_t)n * sizeof *to->tokens);
	for (int32_t l = 0; l < h->n_layers; l++) {
		const struct moe_routing *r = &run->layers[l];
		int64_t row = l * out->limit + at;
		memcpy(to->ids + row * h->top_k, r->ids + from * h->top_k, (size_t)(n * h->top_k) * sizeof *to->ids);
		if (to->weights)
			memcpy(to->weights + row * h->top_k, r->weights + from * h->top_k,
			       (size_t)(n * h->top_k) * sizeof *to->weights);
		if (to->logits)
			memcpy(to->logits + row * h->n_experts, r->logits + from * h->n_experts,
			       (size_t)(n * h->n_experts) * sizeof *to->logits);
		if (to->margins)
			memcpy(to->margins + row, r->margins + from, (size_t)n * sizeof *to->margins);
	}
	out->n_held += n;
}

/* Does the run follow the tokens that were gathered last? */
static bool goes_on(const struct moe_trace_out *out, const struct moe_trace_run *run, const char *name)
{
	const struct moe_segment *last = out->segments.n ? &out->segments.at[out->segments.n - 1] : NULL;
	return last && last->seq == run->seq && last->pos + last->n_tokens == run->pos &&
	       strcmp(out->sources.names[last->source], name) == 0;
}

enum moe_status moe_trace_write(struct moe_trace_out *out, const struct moe_trace_run *run, struct moe_err *err)
{
	enum moe_status status = check_run(out, run, err);
	if (status || run->n_tokens == 0)
		return status;
	const char *name = run->source ? run->source : "";
	struct moe_segment next = { .seq = run->seq, .pos = run->pos };
	bool joins = goes_on(out, run, name);
	if (joins)
		next.source = out->segments.at[out->segments.n - 1].source;
	else
		status = find_source(out, name, &next.source, err);
	for (int64_t from = 0; !status && from < run->n_tokens;) {
		if (out->n_held == out->limit) {
			status = flush_runs(out, err);
			joins = false;
		}
		next.pos = run->pos + from;
		if (!status && !joins)
			status = moe_segments_add(&out->segments, &next, err);
		if (status)
			return status;
		const int64_t room = out->limit - out->n_held, left = run->n_tokens - from;
		const int64_t n = left < room ? left : room;
		gather(out, run, from, n);
		out->segments.at[out->segments.n - 1].n_tokens += n;
		joins = true;
		from += n;
	}
	return status;
}

enum moe_status moe_trace_commit(struct moe_trace_out *out, struct moe_err *err)
{
	enum moe_status status = flush_runs(out, err);
	if (!status) {
		begin_record(out, 'E');
		add_u64(&out->record, out->n_runs);
		add_u64(&out->record, out->n_tokens);
		status = end_record(out, err);
	}
	if (!status) {
		status = moe_bgzf_commit(out->file, err);
		out->file = NULL;
	}
	moe_trace_abort(out);
	return status;
}
