/* Traces that were cut, changed in one bit, or made wrong: always an error, or the same content, never a crash; and
 * sentences that say where, and how much came before. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "../tap.h"
#include "base/bytes.h"
#include "base/file.h"
#include "trace/text.h"
#include "trace/trace.h"

static char path[512];
static struct moe_err err;

static void check(enum moe_status status)
{
	if (status) {
		printf("Bail out! %s\n", err.text);
		exit(1);
	}
}

static void spill(const void *bytes, size_t n)
{
	remove(path);   /* some file systems write a file out at once when it replaces another */
	FILE *f = fopen(path, "wb");
	if (!f || fwrite(bytes, 1, n, f) != n || fclose(f))
		exit(1);
}

/* Three runs of 2, 3 and 1 tokens, two layers of 5 experts. */
static struct moe_buf make_trace(void)
{
	static const int32_t layer_list[] = { 1, 4 };
	struct moe_trace_header h = {
		.model = "m",
		.n_layers = 2,
		.layers = layer_list,
		.n_experts = 5,
		.top_k = 2,
		.scale = 1,
		.margins = true,
	};
	struct moe_trace_out *out = NULL;
	check(moe_trace_create(&out, path, MOE_OUT_FORCE, &h, NULL, NULL, &err));
	for (int64_t seq = 0; seq < 3; seq++) {
		const int32_t tokens[] = { 5, 6, -1 }, ids[] = { 4, 0, 1, 2, 3, seq == 1 ? -1 : 2 };
		const float weights[] = { .5f, .25f, .125f, 1, .75f, 0 }, margins[] = { 1, 2, 3 };
		struct moe_routing layers[2];
		int64_t n = seq == 0 ? 2 : seq == 1 ? 3 : 1;
		for (int l = 0; l < 2; l++)
			layers[l] = (struct moe_routing){
				.layer = layer_list[l],
				.n_experts = 5,
				.top_k = 2,
				.n_tokens = n,
				.ids = ids,
				.weights = weights,
				.margins = margins,
			};
		struct moe_trace_run run = {
			.seq = seq, .source = seq ? "b" : "a", .n_tokens = n, .tokens = tokens, .layers = layers
		};
		check(moe_trace_write(out, &run, &err));
	}
	check(moe_trace_commit(out, &err));
	struct moe_buf bytes = {0};
	check(moe_read_all(path, 0, &bytes, &err));
	return bytes;
}

/* All the trace says, as text; the status of the first failure. */
static enum moe_status read_text(struct moe_buf *text)
{
	struct moe_trace_in *in = NULL;
	const struct moe_trace_run *run = NULL;
	err = (struct moe_err) {0};
	text->n = 0;
	enum moe_status status = moe_trace_open(&in, path, NULL, NULL, &err);
	while (!status) {
		status = moe_trace_next(in, &run, &err);
		if (status || !run)
			break;
		moe_trace_print_run(run, moe_trace_head(in), true, text);
	}
	moe_trace_close(in);
	return status;
}

/* The stream in plain gzip. */
static void spill_plain(const char *stream, size_t n)
{
	remove(path);
	gzFile f = gzopen(path, "wb1");
	if (!f || (n && gzwrite(f, stream, (unsigned)n) != (int)n) || gzclose(f) != Z_OK)
		exit(1);
}

static void test_cut(const struct moe_buf *bytes)
{
	struct moe_buf text = {0};
	int64_t n_taken = 0, n_silent = 0, n_counted = 0;
	for (size_t n = 0; n < bytes->n; n++) {
		spill(bytes->p, n);
		enum moe_status status = read_text(&text);
		n_taken += status == MOE_OK;
		n_silent += status != MOE_OK && !strstr(err.text, path);
		n_counted += strstr(err.text, "complete runs") != NULL;
	}
	is_i64(n_taken, 0, "cut at any of %zu bytes, it is refused", bytes->n);
	is_i64(n_silent, 0, "and the sentence names the file");
	ok(n_counted >= 28, "and how many runs came before, once it was opened (%d times)", (int)n_counted);
	spill(bytes->p, bytes->n - 28);
	read_text(&text);
	is_like(err.text, "; 3 complete runs, 6 tokens before it", "the end block alone is missed");
	moe_buf_free(&text);
}

static void test_bits(struct moe_buf *bytes, const struct moe_buf *plain)
{
	struct moe_buf text = {0}, whole = {0};
	int64_t n_other = 0, n_same = 0;
	spill(bytes->p, bytes->n);
	check(read_text(&whole));
	for (size_t bit = 0; bit < 8 * bytes->n; bit++) {
		bytes->p[bit / 8] ^= (char)(1 << bit % 8);
		spill(bytes->p, bytes->n);
		bytes->p[bit / 8] ^= (char)(1 << bit % 8);
		if (read_text(&text) != MOE_OK)
			continue;
		n_same++;
		n_other += text.n != whole.n || memcmp(text.p, whole.p, text.n) != 0;
	}
	is_i64(n_other, 0, "with any of %zu bits flipped, it is refused or says the same (%d times)", 8 * bytes->n,
	       (int)n_same);
	ok(n_same < (int64_t)bytes->n, "few bits do not matter");
	/* behind the checksum: any flip of the stream itself must be survived */
	int64_t n_refused = 0;
	for (size_t bit = 0; bit < 8 * plain->n; bit++) {
		plain->p[bit / 8] ^= (char)(1 << bit % 8);
		spill_plain(plain->p, plain->n);
		plain->p[bit / 8] ^= (char)(1 << bit % 8);
		n_refused += read_text(&text) != MOE_OK;
	}
	ok(n_refused > 64 * 8, "the stream with any bit flipped is read or refused (%d times)", (int)n_refused);
	moe_buf_free(&text);
	moe_buf_free(&whole);
}

/* A stream changed by the caller is refused, with these words. */
static void expect(const char *stream, size_t n, const char *part, const char *name)
{
	struct moe_buf text = {0};
	spill_plain(stream, n);
	enum moe_status status = read_text(&text);
	ok(status == MOE_EFORMAT, "%s is refused", name);
	is_like(err.text, part, "  and told");
	moe_buf_free(&text);
}

/* The stream with one thing wrong. */
static void test_records(const struct moe_buf *plain)
{
	struct moe_buf s = {0};
	size_t n = plain->n, n_head = 16 + moe_load_u32((const uint8_t *)plain->p + 12), end = n - 21,
	       run = n_head + 20, segment = run + 5 + 9, ids = segment + 3 * 24 + 6 * 4;
#define WITH(...) do { s.n = 0; moe_buf_add(&s, plain->p, n); __VA_ARGS__; } while (0)
	WITH((void)0);
	ok(s.p[n_head] == 'S' && s.p[run] == 'R' && s.p[end] == 'E', "the stream is start, source, run, ..., end");
	WITH(s.p[0] = 'm');
	expect(s.p, n, "expected the start of a trace", "another magic");
	WITH(s.p[8] = 3);
	expect(s.p, n, "version 3 of the trace format; this program knows 1 to 2", "a later version");
	WITH(s.p[8] = 0);
	expect(s.p, n, "version 0 of the trace format", "version 0");
	WITH(moe_store_u32((uint8_t *)s.p + 12, 1u << 30));
	expect(s.p, n, "a header of 1073741824 bytes", "an endless header");
	WITH(s.p[16] = '[');
	expect(s.p, n, path, "a header that is no object");
	expect(plain->p, 0, "expected a trace, found nothing", "nothing in gzip");
	expect(plain->p, end,
	       "cut short: expected 5 bytes of a record or the end record of this part, found 0; 3 complete runs, "
	       "6 tokens before it",
	       "a stream without end record");
	WITH(s.p[end + 5] = 4);
	expect(s.p, n, "the part ends with 3 runs and 6 tokens, but states 4 and 6", "a wrong count of runs");
	WITH(s.p[end + 13] = 7);
	expect(s.p, n, "states 3 and 7", "a wrong count of tokens");
	WITH(s.p[run] = 'Q');
	expect(s.p, n, "found type 0x51; 0 complete runs", "a record of unknown type");
	WITH(moe_store_u32((uint8_t *)s.p + run + 1, 0xffffffff));
	expect(s.p, n, "a record of 4294967295 bytes", "an endless record");
	WITH(moe_store_u32((uint8_t *)s.p + run + 1, 1u << 28));
	expect(s.p, n, "cut short: expected", "a record longer than the file");
	WITH(moe_store_u32((uint8_t *)s.p + run + 5 + 4, 1u << 31));
	expect(s.p, n, "a run of 2147483648 tokens does not have", "a record of more tokens than bytes");
	WITH(moe_store_u32((uint8_t *)s.p + run + 5 + 4, 0));
	expect(s.p, n, "a run of 0 tokens", "a record of nothing");
	WITH(moe_store_u32((uint8_t *)s.p + run + 5, 2));
	expect(s.p, n, "does not have", "a record of fewer segments");
	expect(s.p, n, " bytes, but ", "and how many it should have");
	WITH(moe_store_u32((uint8_t *)s.p + run + 5, 0));
	expect(s.p, n, "does not have", "a record without segments");
	WITH(moe_store_u32((uint8_t *)s.p + run + 5, 0xffffffff));
	expect(s.p, n, "does not have", "a record of more segments than tokens");
	WITH(moe_store_u32((uint8_t *)s.p + segment + 20, 3));
	expect(s.p, n, "runs of 7 tokens in a record of 6", "a segment that is too long");
	WITH(moe_store_u32((uint8_t *)s.p + segment + 20, 0));
	expect(s.p, n, "a run of 0 tokens", "an empty segment");
	WITH(s.p[run + 5 + 8] = 4);
	expect(s.p, n, "run flags: expected 0 to 3, found 4", "an unknown flag");
	WITH(s.p[segment + 24 + 16] = 9);
	expect(s.p, n, "a run of source 9, but 2 sources are known", "an unknown source");
	WITH(s.p[ids] = 7);
	expect(s.p, n, "layer 1: expected an expert from 0 to 4, found 7", "an expert that is not there");
	WITH(s.p[segment + 7] = (char)0xff);
	expect(s.p, n, "too large", "a negative sequence");
	WITH(s.p[n_head + 5] = 1);
	expect(s.p, n, "expected source label 0", "a source out of order");
	WITH(s.p[n_head + 9] = 0);
	expect(s.p, n, "NUL", "a source with a NUL");
	WITH(s.n = end, moe_buf_add(&s, plain->p, n));
	expect(s.p, s.n, "expected a record, found a new part: the one before it was cut short; 3 complete runs",
	       "a cut part");
	WITH(moe_buf_adds(&s, "x"));
	expect(s.p, s.n, "expected the start of a part or the end of the file", "a letter behind the end");
	moe_buf_free(&s);
}

/* A part of another shape behind the first. */
static void test_parts(const struct moe_buf *plain)
{
	static const char *const changes[][3] = {
		{ "\"n_experts\":5", "\"n_experts\":6",
		  "part 1 has 2 MoE layers, 6 experts, top_k 2; part 0 has 2, 5, 2" },
		{ "\"top_k\":2", "\"top_k\":1", "part 1 has 2 MoE layers, 5 experts, top_k 1" },
		{ "[1,4]", "[1,5]", "part 1 has layer 5 where part 0 has layer 4" },
		{ "\"model\":\"m\"", "\"model\":\"n\"", "part 1 is of model 'n' (), part 0 of 'm' ()" },
	};
	for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
		struct moe_buf s = {0};
		moe_buf_add(&s, plain->p, plain->n);
		moe_buf_add(&s, plain->p, plain->n);
		char *at = strstr(s.p + plain->n + 16, changes[i][0]);
		if (at)
			memcpy(at, changes[i][1], strlen(changes[i][1]));
		ok(at != NULL, "the header holds %s", changes[i][0]);
		expect(s.p, s.n, changes[i][2], changes[i][1]);
		moe_buf_free(&s);
	}
}

/* Records of lower-case types are passed over. */
static void test_unknown(const struct moe_buf *plain)
{
	struct moe_buf s = {0}, text = {0}, whole = {0};
	size_t at = 16 + moe_load_u32((const uint8_t *)plain->p + 12);
	spill_plain(plain->p, plain->n);
	check(read_text(&whole));
	moe_buf_add(&s, plain->p, at);
	moe_buf_add(&s, "x\3\0\0\0abc", 8);
	moe_buf_add(&s, "y\0\0\0\0", 5);
	moe_buf_add(&s, plain->p + at, plain->n - at);
	spill_plain(s.p, s.n);
	ok(read_text(&text) == MOE_OK && text.n == whole.n && text.n > 0 && memcmp(text.p, whole.p, text.n) == 0,
	   "records that may be passed over are");
	moe_buf_free(&s);
	moe_buf_free(&text);
	moe_buf_free(&whole);
}

static void test_not_traces(void)
{
	struct moe_buf text = {0};
	spill("", 0);
	ok(read_text(&text) == MOE_EFORMAT, "an empty file is refused: %s", err.text);
	spill("layer\texpert\n", 13);
	ok(read_text(&text) == MOE_EFORMAT, "a table is refused: %s", err.text);
	remove(path);
	ok(read_text(&text) == MOE_EIO, "a missing file is refused: %s", err.text);
	moe_buf_free(&text);
}

int main(void)
{
	const char *tmp = getenv("TMPDIR");
	snprintf(path, sizeof path, "%.400s/test_trace_damage.%d", tmp ? tmp : "/tmp", (int)getpid());
	struct moe_buf bytes = make_trace(), plain = {0};
	char piece[1 << 16];
	gzFile f = gzopen(path, "rb");
	for (int n; f && (n = gzread(f, piece, sizeof piece)) > 0;)
		moe_buf_add(&plain, piece, (size_t)n);
	if (!f || gzclose(f) != Z_OK)
		return 1;
	test_cut(&bytes);
	test_bits(&bytes, &plain);
	test_records(&plain);
	test_parts(&plain);
	test_unknown(&plain);
	test_not_traces();
	moe_buf_free(&bytes);
	moe_buf_free(&plain);
	return done();
}
