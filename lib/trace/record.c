/* Bytes of runs, little-endian throughout. Numbers of several bytes lie in planes: the most significant byte of all of
 * them, then the next: bytes that are alike meet in front of the packer, and those of chance do not disturb. */
#include "trace/record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "tensor/half.h"

#define N_FIXED 9                /* n_segments, n_tokens, flags */
#define N_SEGMENT 24             /* seq, pos, source, n_tokens */
#define N_FIXED_V1 25            /* those of the only segment, flags */
#define FLAG_WIDE 1
#define FLAG_PLAIN 2             /* gates of type f32 are not in planes */
#define TARGET_BYTES (1 << 20)
#define F16_LIMIT 65520.0f       /* rounds to infinity from here on */
enum { STEP = 256 };             /* tokens at a time where gates are differences */

/* ---- sizes ---- */

int moe_id_bits(int64_t n_values)
{
	int n_bits = 1;
	while (n_values > INT64_C(1) << n_bits)
		n_bits++;
	return n_bits;
}

static int id_bytes(const struct moe_trace_header *header, bool wide)
{
	return (moe_id_bits((int64_t)header->n_experts + wide) + 7) / 8;
}

/* Where the arrays of a run begin behind what all runs have, and how many numbers they have. */
struct layout {
	uint64_t tokens, ids, gates, logits, margins, end;
	uint64_t n_rows, n_choices;   /* of all layers: tokens, and choices */
	int n_id_bytes;
};

static struct layout lay_out(const struct moe_trace_header *h, uint64_t n, bool wide)
{
	struct layout at = { .n_rows = n * (uint64_t)h->n_layers, .n_id_bytes = id_bytes(h, wide) };
	static const uint64_t per_choice[] = {
		[MOE_GATES_F32] = 4, [MOE_GATES_F16] = 2, [MOE_GATES_8BIT] = 1, [MOE_GATES_NONE] = 0,
	};
	at.n_choices = at.n_rows * (uint64_t)h->top_k;
	at.ids = 4 * n;
	at.gates = at.ids + at.n_choices * (uint64_t)at.n_id_bytes;
	at.logits = at.gates + at.n_choices * per_choice[h->gates] + (h->gates == MOE_GATES_8BIT ? 2 * at.n_rows : 0);
	at.margins = at.logits + (h->logits ? 4 * at.n_rows * (uint64_t)h->n_experts : 0);
	at.end = at.margins + (h->margins ? 4 * at.n_rows : 0);
	return at;
}

/* Numbers are bounded by the callers: n_tokens below 2^32, or one token, of a header that was checked or is about to
 * be; n_layers below 2^24, top_k and n_experts below 2^31. Doubles first, so that nothing wraps. */
uint64_t moe_run_bytes(const struct moe_trace_header *header, int version, int64_t n_segments, int64_t n_tokens,
                       bool wide)
{
	const struct moe_trace_header *h = header;
	uint64_t n = (uint64_t)n_tokens;
	double estimate = (double)n * h->n_layers * (h->top_k * 8.0 + (h->logits ? 4.0 * h->n_experts : 0.0) + 8.0);
	if (estimate > 0x1p60)
		return UINT64_MAX;
	if (version == 1)
		return N_FIXED_V1 + moe_run_bytes_v1(h, n, wide);
	return N_FIXED + N_SEGMENT * (uint64_t)n_segments + lay_out(h, n, wide).end;
}

int64_t moe_run_limit(const struct moe_trace_header *header)
{
	uint64_t per_token = moe_run_bytes(header, MOE_TRACE_VERSION, 1, 1, true);
	int64_t n = (int64_t)(TARGET_BYTES / per_token);
	return n > 0 ? n : 1;
}

enum moe_status moe_segments_add(struct moe_segments *list, const struct moe_segment *segment, struct moe_err *err)
{
	if (list->n == list->cap) {
		const int64_t cap = list->cap ? 2 * list->cap : 16;
		struct moe_segment *at = reallocarray(list->at, (size_t)cap, sizeof *at);
		if (!at)
			return moe_err_nomem(err, (size_t)cap * sizeof *at, "the segments of a record");
		list->at = at;
		list->cap = cap;
	}
	list->at[list->n++] = *segment;
	return MOE_OK;
}

/* ---- planes ---- */

/* n numbers, the first of which is number `first` of n_all in planes of `bytes`. */
static void put_planes(const uint32_t *values, uint64_t n, int n_bytes, uint8_t *out, uint64_t first, uint64_t n_all)
{
	for (int b = 0; b < n_bytes; b++) {
		uint8_t *plane = out + (uint64_t)b * n_all + first;
		const int shift = 8 * (n_bytes - 1 - b);
		for (uint64_t i = 0; i < n; i++)
			plane[i] = (uint8_t)(values[i] >> shift);
	}
}

static void put_floats(const float *values, uint64_t n, uint8_t *out, uint64_t first, uint64_t n_all)
{
	uint32_t bits[STEP];
	for (uint64_t i = 0; i < n; i += STEP) {
		const uint64_t now = n - i < STEP ? n - i : STEP;
		memcpy(bits, values + i, now * sizeof *bits);
		put_planes(bits, now, 4, out, first + i, n_all);
	}
}

static void get_floats(const uint8_t *in, uint64_t first, uint64_t n_all, uint64_t n, float *out)
{
	const uint8_t *a = in + first, *b = a + n_all, *c = b + n_all, *d = c + n_all;
	for (uint64_t i = 0; i < n; i++)
		out[i] = moe_f32_from_bits((uint32_t)a[i] << 24 | (uint32_t)b[i] << 16 | (uint32_t)c[i] << 8 | d[i]);
}

/* ---- runs, written ---- */

/* Tokens on their way into a record or out of one; layers are independent of each other. */
struct job {
	const struct moe_trace_header *h;
	const struct moe_routing *layers;   /* written */
	struct layout at;
	int64_t n;                      /* tokens */
	uint8_t *out;                   /* behind the segments */
	const uint8_t *in;
	struct moe_run_space *space;
	bool plain, wide;
	float *bad;                     /* [n_layers] written: a gate that the type cannot hold; else 0 */
	uint32_t *bad_id;               /* [n_layers] read: 1 + an id that cannot be; else 0 */
};

/* The scale of 8-bit gates of a token: its largest as f16. */
static uint16_t unit_of(const float *gates, int32_t top_k)
{
	float max = 0;
	for (int32_t i = 0; i < top_k; i++)
		max = gates[i] > max ? gates[i] : max;
	return moe_f16_from_f32(max);
}

static uint8_t code_of(float gate, float unit)
{
	const float code = unit > 0 ? rintf(gate / unit * 255) : 0;
	return (uint8_t)(code > 255 ? 255 : code);
}

/* Choices in columns, each as what the one before exceeds it by. */
static void put_columns(const struct job *j, int64_t l, uint8_t *out)
{
	const int32_t k = j->h->top_k, n_layers = j->h->n_layers;
	const bool eight = j->h->gates == MOE_GATES_8BIT;
	const float *w = j->layers[l].weights;
	uint8_t *units = out, *codes = eight ? out + 2 * j->at.n_rows : out;
	for (int64_t from = 0; from < j->n; from += STEP) {
		const int64_t now = j->n - from < STEP ? j->n - from : STEP;
		uint32_t last[STEP] = { 0 }, value[STEP];
		float unit[STEP];
		for (int64_t t = 0; eight && t < now; t++) {
			value[t] = unit_of(w + (from + t) * k, k);
			unit[t] = moe_f32_from_f16((uint16_t)value[t]);
		}
		if (eight)
			put_planes(value, (uint64_t)now, 2, units, (uint64_t)(l * j->n + from), j->at.n_rows);
		for (int32_t c = 0; c < k; c++) {
			for (int64_t t = 0; t < now; t++) {
				const float gate = w[(from + t) * k + c];
				const uint32_t is = eight ? code_of(gate, unit[t]) : moe_f16_from_f32(gate);
				value[t] = c > 0 ? last[t] - is : is;
				last[t] = is;
			}
			const uint64_t first = (uint64_t)(((int64_t)c * n_layers + l) * j->n + from);
			put_planes(value, (uint64_t)now, eight ? 1 : 2, codes, first, j->at.n_choices);
		}
	}
}

/* A gate of a layer that the type cannot hold; 0: there is none. */
static float find_bad(const struct job *j, const float *weights)
{
	for (int64_t i = 0; i < j->n * j->h->top_k; i++) {
		const float gate = weights[i];
		if (j->h->gates == MOE_GATES_F16 ? isfinite(gate) && fabsf(gate) >= F16_LIMIT
		                                 : !(gate >= 0 && gate < F16_LIMIT))
			return gate;
	}
	return 0;
}

static void put_layers(void *arg, int64_t begin, int64_t end, int thread)
{
	const struct job *j = arg;
	const struct moe_trace_header *h = j->h;
	(void)thread;
	for (int64_t l = begin; l < end; l++) {
		const struct moe_routing *r = &j->layers[l];
		const uint64_t n = (uint64_t)j->n, row = (uint64_t)l * n, k = (uint64_t)h->top_k;
		const uint64_t e = (uint64_t)h->n_experts;
		for (uint64_t i = 0; i < n * k; i += STEP) {
			const uint64_t now = n * k - i < STEP ? n * k - i : STEP;
			uint32_t ids[STEP];
			for (uint64_t c = 0; c < now; c++)
				ids[c] = (uint32_t)(r->ids[i + c] < 0 ? h->n_experts : r->ids[i + c]);
			put_planes(ids, now, j->at.n_id_bytes, j->out + j->at.ids, row * k + i, j->at.n_choices);
		}
		if (h->gates == MOE_GATES_F16 || h->gates == MOE_GATES_8BIT) {
			j->bad[l] = find_bad(j, r->weights);
			if (j->bad[l] == 0)
				put_columns(j, l, j->out + j->at.gates);
		} else if (h->gates == MOE_GATES_F32 && j->plain) {
			for (uint64_t i = 0; i < n * k; i++)
				moe_store_u32(j->out + j->at.gates + 4 * (row * k + i), moe_f32_bits(r->weights[i]));
		} else if (h->gates == MOE_GATES_F32) {
			put_floats(r->weights, n * k, j->out + j->at.gates, row * k, j->at.n_choices);
		}
		if (h->logits)
			put_floats(r->logits, n * e, j->out + j->at.logits, row * e, j->at.n_rows * e);
		if (h->margins)
			put_floats(r->margins, n, j->out + j->at.margins, row, j->at.n_rows);
	}
}

static bool has_absent(const struct moe_trace_header *header, const struct moe_routing *layers, int64_t n_tokens)
{
	for (int32_t l = 0; l < header->n_layers; l++) {
		int32_t any = 0;
		for (int64_t i = 0; i < n_tokens * header->top_k; i++)
			any |= layers[l].ids[i];
		if (any < 0)
			return true;
	}
	return false;
}

static int by_bits(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* Do gates repeat, as those of a log with few digits do? Then whole numbers pack better than planes of their bytes. */
static bool gates_repeat(const struct moe_trace_header *h, const struct moe_routing *layers, int64_t n_tokens)
{
	enum { SAMPLE = 1024 };
	uint32_t bits[SAMPLE];
	const int64_t n_all = n_tokens * h->top_k, n = n_all < SAMPLE ? n_all : SAMPLE;
	int64_t n_distinct = 1;
	memcpy(bits, layers[h->n_layers / 2].weights, (size_t)n * sizeof *bits);
	qsort(bits, (size_t)n, sizeof *bits, by_bits);
	for (int64_t i = 1; i < n; i++)
		n_distinct += bits[i] != bits[i - 1];
	return 4 * n_distinct < 3 * n;
}

enum moe_status moe_run_put(const struct moe_trace_header *header, const struct moe_segments *segments,
                            const int32_t *tokens, const struct moe_routing *layers, struct moe_buf *buf,
                            struct moe_pool *pool, const char *where, struct moe_err *err)
{
	const struct moe_trace_header *h = header;
	const int64_t n = layers[0].n_tokens;
	const bool wide = has_absent(h, layers, n), plain = h->gates == MOE_GATES_F32 && gates_repeat(h, layers, n);
	struct job job = { .h = h, .layers = layers, .at = lay_out(h, (uint64_t)n, wide), .n = n, .plain = plain };
	const size_t n_head = N_FIXED + N_SEGMENT * (size_t)segments->n, n_bytes = (size_t)(n_head + job.at.end);
	uint8_t *out = (uint8_t *)moe_buf_room(buf, n_bytes);
	job.bad = calloc((size_t)h->n_layers, sizeof *job.bad);
	if (!out || !job.bad) {
		free(job.bad);
		return moe_err_nomem(err, n_bytes, "a record");
	}
	moe_store_u32(out, (uint32_t)segments->n);
	moe_store_u32(out + 4, (uint32_t)n);
	out[8] = (uint8_t)((wide ? FLAG_WIDE : 0) | (plain ? FLAG_PLAIN : 0));
	for (int64_t i = 0; i < segments->n; i++) {
		uint8_t *p = out + N_FIXED + N_SEGMENT * i;
		moe_store_u64(p, (uint64_t)segments->at[i].seq);
		moe_store_u64(p + 8, (uint64_t)segments->at[i].pos);
		moe_store_u32(p + 16, segments->at[i].source);
		moe_store_u32(p + 20, (uint32_t)segments->at[i].n_tokens);
	}
	job.out = out + n_head;
	put_planes((const uint32_t *)tokens, (uint64_t)n, 4, job.out, 0, (uint64_t)n);
	moe_pool_for(job.at.end < MOE_RECORD_SMALL ? NULL : pool, h->n_layers, 1, put_layers, &job);
	float bad = 0;
	for (int32_t l = h->n_layers; l-- > 0;)
		bad = job.bad[l] == 0 ? bad : job.bad[l];
	free(job.bad);
	if (bad != 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: gates of type %s cannot hold %g", where,
		                   moe_gate_type_name(h->gates), bad);
	buf->n += n_bytes;
	return MOE_OK;
}

/* ---- runs, read ---- */

/* False at an id that is neither an expert nor, in a wide run, the mark of an absent choice. */
static bool get_ids(const struct job *j, int64_t l, int32_t *out, uint32_t *bad)
{
	const uint64_t n = (uint64_t)j->n * (uint64_t)j->h->top_k, n_all = j->at.n_choices;
	const uint8_t *p = j->in + j->at.ids + (uint64_t)l * n;
	const uint32_t n_experts = (uint32_t)j->h->n_experts;
	uint32_t most = 0;
	if (j->at.n_id_bytes == 1)
		for (uint64_t i = 0; i < n; i++)
			out[i] = p[i];
	else if (j->at.n_id_bytes == 2)
		for (uint64_t i = 0; i < n; i++)
			out[i] = p[i] << 8 | p[n_all + i];
	else
		for (uint64_t i = 0; i < n; i++)
			out[i] = p[i] << 16 | p[n_all + i] << 8 | p[2 * n_all + i];
	for (uint64_t i = 0; i < n; i++)
		most = (uint32_t)out[i] > most ? (uint32_t)out[i] : most;
	if (most >= n_experts + j->wide) {
		for (uint64_t i = 0; i < n && !*bad; i++)
			*bad = (uint32_t)out[i] >= n_experts + j->wide ? (uint32_t)out[i] + 1 : 0;
		return false;
	}
	for (uint64_t i = 0; j->wide && i < n; i++)
		out[i] = out[i] == (int32_t)n_experts ? -1 : out[i];
	return true;
}

/* What put_columns wrote. */
static void get_columns(const struct job *j, int64_t l, const uint8_t *in, float *out)
{
	const int32_t k = j->h->top_k, n_layers = j->h->n_layers;
	const bool eight = j->h->gates == MOE_GATES_8BIT;
	const uint8_t *codes = eight ? in + 2 * j->at.n_rows : in;
	for (int64_t from = 0; from < j->n; from += STEP) {
		const int64_t now = j->n - from < STEP ? j->n - from : STEP, row = l * j->n + from;
		uint16_t last[STEP] = { 0 };
		float unit[STEP], gate[STEP];
		for (int64_t t = 0; eight && t < now; t++)
			unit[t] = moe_f32_from_f16((uint16_t)(in[row + t] << 8 | in[(int64_t)j->at.n_rows + row + t]));
		for (int32_t c = 0; c < k; c++) {
			const uint8_t *high = codes + (int64_t)c * n_layers * j->n + row, *low = high + j->at.n_choices;
			if (eight)
				for (int64_t t = 0; t < now; t++) {
					last[t] = (uint8_t)(c > 0 ? last[t] - high[t] : high[t]);
					gate[t] = (float)last[t] / 255 * unit[t];
				}
			else
				for (int64_t t = 0; t < now; t++) {
					const uint16_t value = (uint16_t)(high[t] << 8 | low[t]);
					last[t] = (uint16_t)(c > 0 ? last[t] - value : value);
					gate[t] = moe_f32_from_f16(last[t]);
				}
			for (int64_t t = 0; t < now; t++)
				out[(from + t) * k + c] = gate[t];
		}
	}
}

static void get_layers(void *arg, int64_t begin, int64_t end, int thread)
{
	const struct job *j = arg;
	const struct moe_trace_header *h = j->h;
	struct moe_run_space *s = j->space;
	(void)thread;
	for (int64_t l = begin; l < end; l++) {
		const uint64_t n = (uint64_t)j->n, row = (uint64_t)l * n, k = (uint64_t)h->top_k;
		const uint64_t e = (uint64_t)h->n_experts;
		const uint8_t *gates = j->in + j->at.gates;
		if (!get_ids(j, l, s->ids + row * k, &j->bad_id[l]))
			continue;
		if (s->weights && (h->gates == MOE_GATES_F16 || h->gates == MOE_GATES_8BIT))
			get_columns(j, l, gates, s->weights + row * k);
		else if (s->weights && j->plain)
			for (uint64_t i = 0; i < n * k; i++)
				s->weights[row * k + i] = moe_f32_from_bits(moe_load_u32(gates + 4 * (row * k + i)));
		else if (s->weights)
			get_floats(gates, row * k, j->at.n_choices, n * k, s->weights + row * k);
		if (s->logits)
			get_floats(j->in + j->at.logits, row * e, j->at.n_rows * e, n * e, s->logits + row * e);
		if (s->margins)
			get_floats(j->in + j->at.margins, row, j->at.n_rows, n, s->margins + row);
	}
}

static enum moe_status get_v2(const struct moe_trace_header *h, const uint8_t *in, int64_t n, int flags,
                              struct moe_run_space *space, struct moe_pool *pool, const char *where,
                              struct moe_err *err)
{
	struct job job = { .h = h, .n = n, .in = in, .space = space, .wide = flags & FLAG_WIDE,
		           .plain = flags & FLAG_PLAIN };
	enum moe_status status = MOE_OK;
	job.at = lay_out(h, (uint64_t)n, job.wide);
	job.bad_id = calloc((size_t)h->n_layers, sizeof *job.bad_id);
	if (!job.bad_id)
		return moe_err_nomem(err, (size_t)h->n_layers * sizeof *job.bad_id, "a run of a trace");
	for (int64_t i = 0; i < n; i++)
		space->tokens[i] = (int32_t)((uint32_t)in[i] << 24 | (uint32_t)in[n + i] << 16 |
		                             (uint32_t)in[2 * n + i] << 8 | in[3 * n + i]);
	moe_pool_for(job.at.end < MOE_RECORD_SMALL ? NULL : pool, h->n_layers, 1, get_layers, &job);
	for (int32_t l = 0; l < h->n_layers && !status; l++)
		if (job.bad_id[l])
			status = moe_err_set(err, MOE_EFORMAT,
			                     "%s: layer %d: expected an expert from 0 to %d, found %u", where,
			                     h->layers[l], h->n_experts - 1, job.bad_id[l] - 1);
	free(job.bad_id);
	return status;
}

/* One segment as all versions have it. */
static enum moe_status get_segment(const uint8_t *p, struct moe_segments *segments, const char *where,
                                   struct moe_err *err)
{
	const uint64_t seq = moe_load_u64(p), pos = moe_load_u64(p + 8);
	if (seq > INT64_MAX || pos > INT64_MAX - UINT32_MAX)
		return moe_err_set(err, MOE_EFORMAT, "%s: sequence %llu, position %llu: too large", where,
		                   (unsigned long long)seq, (unsigned long long)pos);
	const struct moe_segment segment = { .seq = (int64_t)seq, .pos = (int64_t)pos,
		                             .n_tokens = moe_load_u32(p + 20), .source = moe_load_u32(p + 16) };
	return moe_segments_add(segments, &segment, err);
}

enum moe_status moe_run_get(const struct moe_trace_header *header, int version, const uint8_t *payload, size_t n_bytes,
                            struct moe_run_space *space, struct moe_segments *segments, struct moe_pool *pool,
                            const char *where, struct moe_err *err)
{
	const struct moe_trace_header *h = header;
	const size_t n_fixed = version == 1 ? N_FIXED_V1 : N_FIXED;
	if (n_bytes < n_fixed)
		return moe_err_set(err, MOE_EFORMAT, "%s: a run record has at least %zu bytes, found %zu", where,
		                   n_fixed, n_bytes);
	const int64_t n = moe_load_u32(payload + (version == 1 ? 20 : 4));
	const int64_t n_segments = version == 1 ? 1 : moe_load_u32(payload);
	const int flags = payload[n_fixed - 1];
	const int known = version > 1 && h->gates == MOE_GATES_F32 ? FLAG_WIDE | FLAG_PLAIN : FLAG_WIDE;
	if (flags & ~known)
		return moe_err_set(err, MOE_EFORMAT, "%s: run flags: expected 0 to %d, found %d", where, known, flags);
	if (n < 1 || n > (int64_t)n_bytes || n > MOE_TRACE_CHOICES_MAX / ((int64_t)h->top_k * h->n_layers) ||
	    n_segments < 1 || n_segments > n)
		return moe_err_set(err, MOE_EFORMAT, "%s: a run of %lld tokens does not have %zu bytes", where,
		                   (long long)n, n_bytes);
	const size_t n_expected = moe_run_bytes(h, version, n_segments, n, flags & FLAG_WIDE);
	if (n_expected != n_bytes)
		return moe_err_set(err, MOE_EFORMAT, "%s: a run of %lld tokens does not have %zu bytes, but %zu", where,
		                   (long long)n, n_bytes, n_expected);
	const uint8_t *p = version == 1 ? payload : payload + N_FIXED;
	int64_t n_left = n;
	enum moe_status status = MOE_OK;
	segments->n = 0;
	for (int64_t i = 0; i < n_segments && !status; i++, p += N_SEGMENT) {
		status = get_segment(p, segments, where, err);
		if (!status && segments->at[i].n_tokens < 1)
			status = moe_err_set(err, MOE_EFORMAT, "%s: a run of 0 tokens", where);
		n_left -= status ? 0 : segments->at[i].n_tokens;
	}
	if (!status && n_left != 0)
		status = moe_err_set(err, MOE_EFORMAT, "%s: runs of %lld tokens in a record of %lld", where,
		                     (long long)(n - n_left), (long long)n);
	if (!status)
		status = moe_run_space_fit(space, h, n, err);
	if (status)
		return status;
	p = payload + n_fixed + (version == 1 ? 0 : (size_t)(N_SEGMENT * n_segments));
	return version == 1 ? moe_run_get_v1(h, p, n, flags & FLAG_WIDE, space, where, err)
	                    : get_v2(h, p, n, flags, space, pool, where, err);
}
