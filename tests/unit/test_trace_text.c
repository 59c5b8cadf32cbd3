/* Runs as text, and the second reader (tests/ref/read_trace.pl, written from moe-trace(5) alone), which must print the
 * same for every kind of trace. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../tap.h"
#include "base/file.h"
#include "base/rng.h"
#include "trace/text.h"
#include "trace/trace.h"

enum { N_TOKENS = 700, N_LAYERS = 3 };

struct arrays {
	int32_t tokens[N_TOKENS];
	int32_t ids[N_LAYERS][N_TOKENS * 6];
	float weights[N_LAYERS][N_TOKENS * 6];
	float margins[N_LAYERS][N_TOKENS];
	struct moe_routing layers[N_LAYERS];
};

static const int32_t layer_list[N_LAYERS] = { 1, 2, 60 };

static void fill(struct arrays *a, const struct moe_trace_header *h, int64_t n_tokens, float *logits)
{
	for (int64_t t = 0; t < n_tokens; t++)
		a->tokens[t] = t % 5 == 0 ? -1 : (int32_t)(t * 977);
	for (int32_t l = 0; l < h->n_layers; l++) {
		for (int64_t i = 0; i < n_tokens * h->top_k; i++) {
			bool absent = h->n_experts % 2 == 0 && moe_rng_u64(1, (uint64_t)l, (uint64_t)i) % 5 == 0;
			a->ids[l][i] =
				absent ? -1
				       : (int32_t)(moe_rng_u64(2, (uint64_t)l, (uint64_t)i) % (uint64_t)h->n_experts);
			a->weights[l][i] = absent ? 0 : (float)(moe_rng_f64(3, (uint64_t)l, (uint64_t)i) * 2.5);
		}
		for (int64_t t = 0; t < n_tokens; t++)
			a->margins[l][t] =
				t % 9 == 0 ? INFINITY : (float)moe_rng_f64(4, (uint64_t)l, (uint64_t)t) * 1e-6f;
		a->layers[l] = (struct moe_routing) {
			.layer = layer_list[l], .n_experts = h->n_experts, .top_k = h->top_k, .n_tokens = n_tokens,
			.ids = a->ids[l], .weights = a->weights[l], .margins = a->margins[l], .logits = logits,
		};
	}
}

static void check(enum moe_status status, const struct moe_err *err)
{
	if (status) {
		printf("Bail out! %s\n", err->text);
		exit(1);
	}
}

/* The output of a command. */
static struct moe_buf output_of(const char *command)
{
	struct moe_buf buf = {0};
	char piece[4096];
	FILE *f = popen(command, "r");
	for (size_t n; f && (n = fread(piece, 1, sizeof piece, f)) > 0;)
		moe_buf_add(&buf, piece, n);
	if (!f || pclose(f) != 0)
		buf.failed = true;
	return buf;
}

static void test_lines(void)
{
	struct moe_trace_header h = { .n_layers = 2, .layers = layer_list, .n_experts = 4, .top_k = 2 };
	int32_t ids[] = { 3, 0, 2, -1 }, tokens[] = { 17, -1 };
	float weights[] = { 0.1f, 0, 1e-9f, 0 }, margins[] = { 0.25f, INFINITY };
	struct moe_routing layers[] = {
		{ .layer = 1,
		  .n_experts = 4,
		  .top_k = 2,
		  .n_tokens = 2,
		  .ids = ids,
		  .weights = weights,
		  .margins = margins },
		{ .layer = 2, .n_experts = 4, .top_k = 2, .n_tokens = 2, .ids = ids },
	};
	struct moe_trace_run run = {
		.seq = 7, .pos = 40, .source = "a\tb\\c\n\xff", .n_tokens = 2, .tokens = tokens, .layers = layers,
	};
	struct moe_buf buf = {0};
	moe_trace_print_head(true, &buf);
	moe_trace_print_run(&run, &h, true, &buf);
	is_str(buf.p,
	       "source\tseq\tpos\ttoken\tlayer\tchoice\texpert\tweight\tmargin\n"
	       "a\\tb\\\\c\\n\xff\t7\t40\t17\t1\t0\t3\t0.100000001\t0.25\n"
	       "a\\tb\\\\c\\n\xff\t7\t40\t17\t1\t1\t0\t0\t0.25\n"
	       "a\\tb\\\\c\\n\xff\t7\t40\t17\t2\t0\t3\t\t\n"
	       "a\\tb\\\\c\\n\xff\t7\t40\t17\t2\t1\t0\t\t\n"
	       "a\\tb\\\\c\\n\xff\t7\t41\t-1\t1\t0\t2\t9.99999972e-10\tinf\n"
	       "a\\tb\\\\c\\n\xff\t7\t41\t-1\t2\t0\t2\t\t\n", "lines with margins, without a choice that was not made");
	buf.n = 0;
	moe_trace_print_head(false, &buf);
	run.n_tokens = 1;
	moe_trace_print_run(&run, &h, false, &buf);
	is_str(buf.p,
	       "source\tseq\tpos\ttoken\tlayer\tchoice\texpert\tweight\n"
	       "a\\tb\\\\c\\n\xff\t7\t40\t17\t1\t0\t3\t0.100000001\n"
	       "a\\tb\\\\c\\n\xff\t7\t40\t17\t1\t1\t0\t0\n"
	       "a\\tb\\\\c\\n\xff\t7\t40\t17\t2\t0\t3\t\n"
	       "a\\tb\\\\c\\n\xff\t7\t40\t17\t2\t1\t0\t\n", "lines without");
	moe_buf_free(&buf);
}

/* Writes a trace of three runs, twice joined if asked, and compares the two readers. */
static void test_reader(const char *script, struct moe_trace_header h, bool twice, struct arrays *a, float *logits)
{
	char path[512], command[4096];
	const char *tmp = getenv("TMPDIR");
	struct moe_err err = {0};
	struct moe_trace_out *out = NULL;
	struct moe_trace_in *in = NULL;
	const struct moe_trace_run *got = NULL;
	int64_t n_tokens = h.logits ? 3 : N_TOKENS;
	snprintf(path, sizeof path, "%.400s/test_trace_text.%d", tmp ? tmp : "/tmp", (int)getpid());
	fill(a, &h, n_tokens, logits);
	check(moe_trace_create(&out, path, MOE_OUT_FORCE, &h, NULL, NULL, &err), &err);
	for (int64_t seq = 0; seq < 3; seq++) {
		struct moe_trace_run run = {
			.seq = seq,
			.source = seq == 1 ? "tab\there" : "other",
			.n_tokens = n_tokens,
			.tokens = a->tokens,
			.layers = a->layers,
		};
		check(moe_trace_write(out, &run, &err), &err);
	}
	check(moe_trace_commit(out, &err), &err);
	if (twice) {
		snprintf(command, sizeof command,
		         "cat '%s' '%s' >'%s.2' && zcat '%s' | gzip >>'%s.2' && mv '%s.2' '%s'", path, path, path, path,
		         path, path, path);
		if (system(command) != 0)
			exit(1);
	}
	struct moe_buf ours = {0};
	moe_trace_print_head(true, &ours);
	check(moe_trace_open(&in, path, NULL, NULL, &err), &err);
	for (;;) {
		check(moe_trace_next(in, &got, &err), &err);
		if (!got)
			break;
		moe_trace_print_run(got, moe_trace_head(in), true, &ours);
	}
	moe_trace_close(in);
	snprintf(command, sizeof command, "perl '%s' -m '%s'", script, path);
	struct moe_buf theirs = output_of(command);
	ok(!ours.failed && !theirs.failed && ours.n > 1000 && ours.n == theirs.n &&
	           memcmp(ours.p, theirs.p, ours.n) == 0,
	   "%d experts, gates %s%s: the second reader prints the same (%zu bytes)", h.n_experts,
	   moe_gate_type_name(h.gates), twice ? ", three parts" : "", ours.n);
	moe_buf_free(&ours);
	moe_buf_free(&theirs);
	remove(path);
}

int main(void)
{
	const char *top = getenv("TOP");
	char script[512];
	test_lines();
	snprintf(script, sizeof script, "%.400s/tests/ref/read_trace.pl", top ? top : ".");
	struct arrays *a = calloc(1, sizeof *a);
	float *logits = calloc(3 * 70000, sizeof *logits);
	if (!a || !logits)
		return 1;
	static const int32_t experts[] = { 1, 5, 64, 70000 };
	for (int e = 0; e < 4; e++) {
		for (int gates = MOE_GATES_F32; gates <= MOE_GATES_NONE; gates++) {
			struct moe_trace_header h = {
				.n_layers = N_LAYERS,
				.layers = layer_list,
				.n_experts = experts[e],
				.top_k = experts[e] < 6 ? 1 : 6,
				.scale = 1,
				.gates = (enum moe_gate_type)gates,
				.margins = gates != MOE_GATES_F16,
				.logits = gates == MOE_GATES_8BIT && e == 1,
			};
			h.top_k = e == 1 ? 5 : h.top_k;
			test_reader(script, h, e == 2, a, logits);
		}
	}
	free(a);
	free(logits);
	return done();
}
