/* Traces written and read back: every gate type, expert counts from 1 to 70,000, absent choices, logits, margins; the
 * same bytes whatever the threads and the cutting of runs; parts joined; ordinary gzip. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "../tap.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/rng.h"
#include "tensor/half.h"
#include "trace/record.h"
#include "trace/trace.h"

static char dir[256];

static const char *path_of(const char *name)
{
	static char paths[4][300];
	static int next;
	char *path = paths[next++ % 4];
	snprintf(path, sizeof paths[0], "%s/%s", dir, name);
	return path;
}

/* A run of made-up decisions, whose arrays the caller frees with free_run. */
struct made {
	struct moe_run_space space;
	struct moe_trace_run run;
};

static void make_run(struct made *made, const struct moe_trace_header *h, int64_t seq, int64_t n, bool absent)
{
	struct moe_trace_header all = *h;
	struct moe_err err = {0};
	all.logits = all.margins = true;
	all.gates = MOE_GATES_F32;
	memset(made, 0, sizeof *made);
	if (moe_run_space_fit(&made->space, &all, n, &err))
		exit(1);
	uint64_t at = 0, key = (uint64_t)seq * 1000003 + (uint64_t)n;
	int64_t n_choices = n * h->top_k * h->n_layers;
	for (int64_t i = 0; i < n; i++)
		made->space.tokens[i] = (int32_t)(moe_rng_u64(1, key, at++) % 100000) - 1;
	for (int64_t i = 0; i < n_choices; i++) {
		made->space.ids[i] = (int32_t)(moe_rng_u64(2, key, at++) % (uint64_t)h->n_experts);
		made->space.weights[i] = (float)moe_rng_f64(3, key, at++);
		if (absent && moe_rng_u64(4, key, at++) % 4 == 0) {
			made->space.ids[i] = -1;
			made->space.weights[i] = 0;
		}
	}
	for (int64_t i = 0; i < n * h->n_layers * h->n_experts; i++)
		made->space.logits[i] = (float)moe_rng_f64(5, key, at++) - 0.5f;
	for (int64_t i = 0; i < n * h->n_layers; i++)
		made->space.margins[i] = i % 7 == 0 ? INFINITY : (float)moe_rng_f64(6, key, at++);
	made->run = (struct moe_trace_run) {
		.seq = seq, .pos = 3, .source = seq % 2 ? "odd \t \xff name" : "", .n_tokens = n,
		.tokens = made->space.tokens, .layers = made->space.layers,
	};
}

/* Writes tokens [from, to) of a run. */
static enum moe_status write_part(struct moe_trace_out *out, const struct moe_trace_header *h, const struct made *made,
                                  int64_t from, int64_t to, struct moe_err *err)
{
	struct moe_routing layers[8];
	struct moe_trace_run run = made->run;
	for (int32_t l = 0; l < h->n_layers; l++) {
		struct moe_routing *r = &layers[l];
		*r = made->run.layers[l];
		r->n_tokens = to - from;
		r->ids += from * h->top_k;
		r->weights += from * h->top_k;
		r->logits += from * h->n_experts;
		r->margins += from;
	}
	run.n_tokens = to - from;
	run.pos += from;
	run.tokens += from;
	run.layers = layers;
	return moe_trace_write(out, &run, err);
}

enum { N_RUNS = 5 };

static const int64_t run_tokens[N_RUNS] = { 1, 37, 2, 5, 300 };

/* A trace of N_RUNS runs, handed over by `chunk` tokens. */
static bool write_trace(const char *path, const struct moe_trace_header *h, int n_threads, int64_t chunk, bool absent)
{
	struct moe_err err = {0};
	struct moe_pool *pool = NULL;
	struct moe_trace_out *out = NULL;
	if (moe_pool_new(&pool, n_threads, &err) ||
	    moe_trace_create(&out, path, MOE_OUT_FORCE, h, pool, NULL, &err))
		goto fail;
	for (int64_t seq = 0; seq < N_RUNS; seq++) {
		struct made made;
		int64_t n = h->n_experts > 1000 && seq == 4 ? 20 : run_tokens[seq];
		make_run(&made, h, seq, n, absent && seq != 1);
		for (int64_t from = 0; from < n; from += chunk)
			if (write_part(out, h, &made, from, from + chunk < n ? from + chunk : n, &err))
				goto fail;
		moe_run_space_free(&made.space);
	}
	if (moe_trace_commit(out, &err))
		goto fail;
	moe_pool_free(pool);
	return true;
fail:
	printf("# %s\n", err.text);
	return false;
}

/* How far a gate may be from what was written. */
static float tolerance(enum moe_gate_type gates, float gate, float max)
{
	switch (gates) {
	case MOE_GATES_F32: return 0;
	case MOE_GATES_F16: return gate * 0x1p-11f + 0x1p-25f;
	case MOE_GATES_8BIT: return max * 0x1p-11f + max / 509;
	case MOE_GATES_NONE: break;
	}
	return 0;
}

/* Counts what differs between a piece of a run as read and the run as made. */
static int64_t compare(const struct moe_trace_header *h, const struct moe_trace_run *run, const struct made *made)
{
	int64_t n_bad = 0, from = run->pos - made->run.pos, k = h->top_k, e = h->n_experts;
	if (from < 0 || from + run->n_tokens > made->run.n_tokens || strcmp(run->source, made->run.source) != 0)
		return 1;
	n_bad += memcmp(run->tokens, made->run.tokens + from, (size_t)run->n_tokens * 4) != 0;
	for (int32_t l = 0; l < h->n_layers; l++) {
		const struct moe_routing *r = &run->layers[l], *m = &made->run.layers[l];
		n_bad += r->layer != h->layers[l] || r->n_experts != e || r->top_k != k || r->n_tokens != run->n_tokens;
		n_bad += memcmp(r->ids, m->ids + from * k, (size_t)(r->n_tokens * k) * 4) != 0;
		n_bad += (r->weights != NULL) != (h->gates != MOE_GATES_NONE);
		n_bad += (r->logits != NULL) != h->logits || (r->margins != NULL) != h->margins;
		if (r->logits)
			n_bad += memcmp(r->logits, m->logits + from * e, (size_t)(r->n_tokens * e) * 4) != 0;
		if (r->margins)
			n_bad += memcmp(r->margins, m->margins + from, (size_t)r->n_tokens * 4) != 0;
		for (int64_t t = 0; r->weights && t < r->n_tokens; t++) {
			float max = 0;
			const float *was = m->weights + (from + t) * k;
			for (int64_t i = 0; i < k; i++)
				max = was[i] > max ? was[i] : max;
			for (int64_t i = 0; i < k; i++)
				n_bad += !(fabsf(r->weights[t * k + i] - was[i]) <= tolerance(h->gates, was[i], max));
		}
	}
	return n_bad;
}

/* Reads a trace of n_parts copies and counts differences; -1 at an error. */
static int64_t check_trace(const char *path, const struct moe_trace_header *h, int n_threads, int64_t n_parts,
                           bool absent)
{
	struct moe_err err = {0};
	struct moe_pool *pool = NULL;
	struct moe_trace_in *in = NULL;
	const struct moe_trace_run *run = NULL;
	int64_t n_bad = 0, part = 0, seq = 0, n_seen = 0;
	if (moe_pool_new(&pool, n_threads, &err) || moe_trace_open(&in, path, pool, NULL, &err))
		goto fail;
	n_bad += strcmp(moe_trace_head(in)->model, h->model) != 0 || moe_trace_head(in)->scale != h->scale;
	n_bad += strcmp(moe_trace_head(in)->command, h->command) != 0 || moe_trace_head(in)->normalize != h->normalize;
	for (;;) {
		if (moe_trace_next(in, &run, &err))
			goto fail;
		if (!run)
			break;
		if (run->part != part || run->seq != seq) {   /* the one before must be whole */
			n_bad += n_seen == 0;
			n_seen = 0;
			n_bad += run->part != part ? run->part != part + 1 || seq != N_RUNS - 1 || run->seq != 0
			                           : run->seq != seq + 1;
			part = run->part;
			seq = run->seq;
		}
		struct made made;
		make_run(&made, h, seq, h->n_experts > 1000 && seq == 4 ? 20 : run_tokens[seq], absent && seq != 1);
		n_bad += run->pos != made.run.pos + n_seen;
		n_bad += compare(h, run, &made);
		n_seen += run->n_tokens;
		moe_run_space_free(&made.space);
	}
	n_bad += part != n_parts - 1 || seq != N_RUNS - 1;
	uint64_t n_read, n_total;
	moe_trace_progress(in, &n_read, &n_total);
	n_bad += n_read != n_total || n_total == 0;
	moe_trace_close(in);
	moe_pool_free(pool);
	return n_bad;
fail:
	printf("# %s\n", err.text);
	moe_trace_close(in);
	moe_pool_free(pool);
	return -1;
}

static struct moe_buf slurp(const char *path)
{
	struct moe_buf buf = {0};
	struct moe_err err = {0};
	if (moe_read_all(path, 0, &buf, &err))
		printf("# %s\n", err.text);
	return buf;
}

static void spill(const char *path, const void *a, size_t n_a, const void *b, size_t n_b)
{
	FILE *f = fopen(path, "wb");
	if (!f || fwrite(a, 1, n_a, f) != n_a || (n_b && fwrite(b, 1, n_b, f) != n_b) || fclose(f))
		exit(1);
}

static bool same_bytes(const char *a, const char *b)
{
	struct moe_buf x = slurp(a), y = slurp(b);
	bool same = x.n == y.n && x.n > 0 && memcmp(x.p, y.p, x.n) == 0;
	moe_buf_free(&x);
	moe_buf_free(&y);
	return same;
}

/* The unpacked stream by zlib's own gzip reader, as zcat would give it. */
static struct moe_buf unpack(const char *path)
{
	struct moe_buf buf = {0};
	char piece[1 << 16];
	int n;
	gzFile f = gzopen(path, "rb");
	while (f && (n = gzread(f, piece, sizeof piece)) > 0)
		moe_buf_add(&buf, piece, (size_t)n);
	if (!f || gzclose(f) != Z_OK)
		exit(1);
	return buf;
}

static void test_joined(const struct moe_trace_header *h, const char *path)
{
	struct moe_buf bytes = slurp(path), plain = unpack(path);
	const char *twice = path_of("twice.trace"), *gz = path_of("plain.gz");
	spill(twice, bytes.p, bytes.n, bytes.p, bytes.n);
	is_i64(check_trace(twice, h, 2, 2, true), 0, "two traces joined are two parts");
	gzFile f = gzopen(gz, "wb6");
	if (!f || gzwrite(f, plain.p, (unsigned)plain.n) != (int)plain.n || gzclose(f) != Z_OK)
		exit(1);
	is_i64(check_trace(gz, h, 2, 1, true), 0, "a trace packed again by gzip is read");
	struct moe_buf again = slurp(gz);
	spill(twice, again.p, again.n, bytes.p, bytes.n);
	is_i64(check_trace(twice, h, 1, 2, true), 0, "both kinds joined are read");
	ok(moe_trace_probe(path) && moe_trace_probe(gz), "both are known by their first bytes");
	spill(gz, plain.p, plain.n, NULL, 0);
	ok(!moe_trace_probe(gz) && !moe_trace_probe(dir) && !moe_trace_probe("/nowhere") && !moe_trace_probe("-"),
	   "other things are not");
	ok(plain.n > 16 && memcmp(plain.p, "MOETRACE\2\0\0\0", 12) == 0,
	   "the unpacked stream begins with magic and version");
	moe_buf_free(&bytes);
	moe_buf_free(&plain);
	moe_buf_free(&again);
}

/* Every block but the last of a record that is larger than one begins at a record or is filled. */
static void test_blocks(const char *path)
{
	struct moe_buf bytes = slurp(path), plain = unpack(path);
	const uint8_t *p = (uint8_t *)bytes.p;
	size_t at = 0, start = 0, n_straddled = 0, n_blocks = 0, next = 16 + moe_load_u32((uint8_t *)plain.p + 12),
	       first = 0;
	while (at < bytes.n) {
		size_t size = (size_t)moe_load_u16(p + at + 16) + 1, n = moe_load_u32(p + at + size - 4);
		/* [first, next) is the record that holds `start` or begins there */
		while (next <= start && next + 5 <= plain.n) {
			first = next;
			next += 5 + moe_load_u32((uint8_t *)plain.p + next + 1);
		}
		if (n > 0 && first != start && next - first <= 65280)
			n_straddled++;
		start += n;
		at += size;
		n_blocks++;
	}
	ok(at == bytes.n && start == plain.n && n_blocks > 3, "blocks tell their sizes (%zu blocks)", n_blocks);
	is_i64((int64_t)n_straddled, 0, "no record that fits in a block is in two");
	moe_buf_free(&bytes);
	moe_buf_free(&plain);
}

/* Ids as u16 and gates as f16, [tokens][layers][top_k] each, through zlib: never smaller than a trace with both, and
 * one of 8-bit gates is smaller still. Ids evenly or unevenly spread, gates that fall from choice to choice. */
static void test_size(int32_t n_experts, double skew)
{
	enum { TOKENS = 3000, LAYERS = 3, TOP_K = 6, CHOICES = TOKENS * LAYERS * TOP_K };
	static const int32_t layers[] = { 0, 1, 2 };
	static uint16_t arrays[2][CHOICES];
	struct moe_trace_header h = { .n_layers = LAYERS, .layers = layers, .n_experts = n_experts, .top_k = TOP_K,
		                      .scale = 1, .gates = MOE_GATES_F16 };
	struct made made;
	struct moe_err err = { 0 };
	make_run(&made, &h, 0, TOKENS, false);
	for (int64_t c = 0; c < CHOICES; c++) {
		const int64_t row = c / TOP_K, i = row % TOKENS * LAYERS * TOP_K + row / TOKENS * TOP_K + c % TOP_K;
		const double u = pow(moe_rng_f64(7, 1, (uint64_t)c), skew);
		const float last = c % TOP_K ? made.space.weights[c - 1] : 1;
		made.space.ids[c] = (int32_t)(u * n_experts);
		made.space.weights[c] = last * (float)(.5 + .5 * moe_rng_f64(7, 2, (uint64_t)c));
		arrays[0][i] = (uint16_t)made.space.ids[c];
		arrays[1][i] = moe_f16_from_f32(made.space.weights[c]);
	}
	uLongf n_packed = compressBound(sizeof arrays);
	uint8_t *packed = malloc(n_packed);
	if (!packed || compress2(packed, &n_packed, (const uint8_t *)arrays, sizeof arrays, 6) != Z_OK)
		exit(1);
	free(packed);
	size_t n_bytes[2];
	for (int i = 0; i < 2; i++) {
		struct moe_trace_out *out = NULL;
		h.gates = i ? MOE_GATES_8BIT : MOE_GATES_F16;
		if (moe_trace_create(&out, path_of("s"), MOE_OUT_FORCE, &h, NULL, NULL, &err) ||
		    moe_trace_write(out, &made.run, &err) || moe_trace_commit(out, &err))
			exit(1);
		struct moe_buf bytes = slurp(path_of("s"));
		n_bytes[i] = bytes.n;
		moe_buf_free(&bytes);
	}
	ok(n_bytes[0] < n_packed && n_bytes[1] < n_bytes[0],
	   "%d experts, skew %g: %zu bytes, %zu with 8-bit gates; arrays through zlib %lu", n_experts, skew, n_bytes[0],
	   n_bytes[1], (unsigned long)n_packed);
	moe_run_space_free(&made.space);
}

static void test_refusals(void)
{
	static const int32_t layers[] = { 1, 2 };
	struct moe_trace_header h = { .n_layers = 2, .layers = layers, .n_experts = 4, .top_k = 2, .scale = 1 };
	struct moe_trace_header bad[] = { h, h, h, h, h, h, h, h };
	static int32_t many[1 << 12];
	static const int32_t twice[] = { 2, 2 };
	bad[0].top_k = 5;
	bad[1].n_experts = 0;
	bad[2].layers = twice;
	bad[3].scale = NAN;
	bad[4].n_experts = INT32_MAX;
	bad[4].logits = true;
	bad[5].n_experts = (1 << 20) + 1;
	bad[6].n_experts = (1 << 10) + 1;
	bad[6].n_layers = 1 << 12;
	bad[6].layers = many;
	for (int32_t i = 0; i < 1 << 12; i++)
		many[i] = i;
	bad[7].scale = 1e39;
	for (int i = 0; i < 8; i++) {
		struct moe_err err = {0};
		struct moe_trace_out *out = NULL;
		ok(moe_trace_create(&out, path_of("bad"), 0, &bad[i], NULL, NULL, &err) == MOE_EFORMAT && err.text[0],
		   "a header that makes no sense is refused: %s", err.text);
	}
	const float wrong[][2] = { { 70000, 1 }, { -1, 1 }, { 1, NAN } };
	for (int i = 0; i < 4; i++) {
		struct moe_err err = {0};
		struct moe_trace_out *out = NULL;
		struct made made;
		h.gates = i == 0 ? MOE_GATES_F16 : MOE_GATES_8BIT;
		make_run(&made, &h, 0, 1, false);
		if (i < 3)
			memcpy(made.space.weights, wrong[i], sizeof wrong[i]);
		else
			made.space.ids[0] = 4;
		ok(!moe_trace_create(&out, path_of("bad"), 0, &h, NULL, NULL, &err), "created");
		enum moe_status status = moe_trace_write(out, &made.run, &err);
		if (!status) {
			status = moe_trace_commit(out, &err);
			out = NULL;
		}
		moe_trace_abort(out);
		ok(status == MOE_EFORMAT && err.text[0] && !moe_is_file(path_of("bad")),
		   "what a trace cannot hold is refused and leaves no file: %s", err.text);
		moe_run_space_free(&made.space);
	}
}

int main(void)
{
	const char *tmp = getenv("TMPDIR");
	snprintf(dir, sizeof dir, "%.200s/test_trace.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return 1;
	static const int32_t layers[] = { 0, 3, 4 };
	static const int32_t experts[] = { 1, 6, 64, 384, 70000 };
	const char *a = path_of("a.trace"), *b = path_of("b.trace");
	for (int e = 0; e < 5; e++) {
		for (int gates = MOE_GATES_F32; gates <= MOE_GATES_NONE; gates++) {
			struct moe_trace_header h = {
				.model = "a/\"model\"",
				.command = "x \\ y",
				.n_layers = 3,
				.layers = layers,
				.n_experts = experts[e],
				.top_k = experts[e] < 6 ? 1 : 6,
				.scale = 2.446,
				.normalize = true,
				.gates = (enum moe_gate_type)gates,
				.logits = gates % 2 == 0 && experts[e] < 1000,
				.margins = gates < 2,
			};
			bool absent = gates != MOE_GATES_8BIT;
			ok(write_trace(a, &h, 1, 1000, absent) && write_trace(b, &h, 2, 7, absent),
			   "%d experts, gates %s: written", h.n_experts, moe_gate_type_name(h.gates));
			ok(same_bytes(a, b), "the same bytes with other threads and chunks");
			is_i64(check_trace(a, &h, 2, 1, absent), 0, "reads back");
			if (e == 3 && gates == MOE_GATES_F32) {
				test_joined(&h, a);
				test_blocks(a);
			}
		}
	}
	static const int32_t sizes[] = { 8, 60, 64, 160, 256, 257, 384, 1000, 65535 };
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		test_size(sizes[i], 1);
		test_size(sizes[i], 3);
	}
	test_refusals();
	char command[300];
	snprintf(command, sizeof command, "rm -r %s", dir);
	ok(system(command) == 0, "cleaned up");
	return done();
}
