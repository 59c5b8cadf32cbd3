/* Gathering loads from traces and tables, with and without threads. */
#include "stats/gather.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rng.h"
#include "trace/trace.h"
#include "../tap.h"

enum { N_LAYERS = 3, N_EXPERTS = 10, TOP_K = 2, N_TOKENS = 3000 };

static const int32_t layers[N_LAYERS] = {1, 2, 5};
static const char *const labels[] = {"b", "a\tb", "b", "c"}; /* of the runs, in turn */
static char dir[200];

/* A decision as a function of its place. */
static int32_t id_at(uint64_t seed, int64_t token, int32_t layer, int32_t k)
{
	int32_t first = (int32_t)(moe_rng_u64(seed, (uint64_t)layer, (uint64_t)token) % N_EXPERTS);

	return (first + 3 * k) % N_EXPERTS;
}

static char *in_dir(char *path, const char *name)
{
	snprintf(path, 300, "%s/%s", dir, name);
	return path;
}

/* A trace of N_TOKENS tokens in runs of `piece`; the label changes every 500 tokens. */
static bool write_trace(const char *path, uint64_t seed, const char *model, int64_t piece, enum moe_gate_type gates)
{
	struct moe_trace_header head = {
		.model = model,
		.model_hash = "",
		.tokenizer_hash = "",
		.family = "",
		.policy = "imported",
		.scoring = "",
		.math = "",
		.command = "test",
		.version = "0",
		.n_layers = N_LAYERS,
		.layers = layers,
		.n_experts = N_EXPERTS,
		.top_k = TOP_K,
		.n_groups = 1,
		.top_groups = 1,
		.scale = 1,
		.gates = gates,
	};
	static int32_t ids[N_LAYERS][N_TOKENS * TOP_K], tokens[N_TOKENS];
	static float weights[N_LAYERS][N_TOKENS * TOP_K];
	struct moe_trace_out *out;
	struct moe_err err = {0};

	for (int32_t l = 0; l < N_LAYERS; l++)
		for (int64_t i = 0; i < N_TOKENS * TOP_K; i++) {
			ids[l][i] = id_at(seed, i / TOP_K, l, (int32_t)(i % TOP_K));
			weights[l][i] = 0.1f + 0.01f * (float)(i % 7);
		}
	memset(tokens, 0xff, sizeof tokens);
	if (moe_trace_create(&out, path, MOE_OUT_FORCE, &head, NULL, NULL, &err)) {
		printf("# %s\n", err.text);
		return false;
	}
	for (int64_t at = 0; at < N_TOKENS;) {
		int64_t end = at + piece;
		struct moe_routing routing[N_LAYERS];
		struct moe_trace_run run = {
			.seq = at / 500, .pos = at % 500, .source = labels[at / 500 % 4], .layers = routing};

		if (end > (at / 500 + 1) * 500)
			end = (at / 500 + 1) * 500;
		run.n_tokens = end - at;
		run.tokens = tokens + at;
		for (int32_t l = 0; l < N_LAYERS; l++)
			routing[l] = (struct moe_routing){
				.layer = layers[l],
				.n_experts = N_EXPERTS,
				.top_k = TOP_K,
				.n_tokens = end - at,
				.ids = ids[l] + at * TOP_K,
				.weights = gates == MOE_GATES_NONE ? NULL : weights[l] + at * TOP_K,
			};
		if (moe_trace_write(out, &run, &err)) {
			printf("# %s\n", err.text);
			moe_trace_abort(out);
			return false;
		}
		at = end;
	}
	return !moe_trace_commit(out, &err);
}

/* The counts of the tokens of one label (NULL: all), made here. */
static bool counts_are(const struct moe_load *load, uint64_t seed, const char *label, uint64_t times)
{
	uint64_t wanted[N_LAYERS * N_EXPERTS] = {0};

	for (int64_t t = 0; t < N_TOKENS; t++)
		for (int32_t i = 0; i < N_LAYERS * TOP_K; i++)
			if (!label || strcmp(label, labels[t / 500 % 4]) == 0)
				wanted[i / TOP_K * N_EXPERTS + id_at(seed, t, i / TOP_K, i % TOP_K)] += times;
	return memcmp(wanted, load->counts, sizeof wanted) == 0;
}

static void check_threads(struct moe_pool *pool)
{
	char path[300], other[300], *paths[] = {in_dir(path, "a.trace"), in_dir(other, "pieces.trace")};
	struct moe_gather_opts alone = {0}, many = {.pool = pool};
	struct moe_gather a, b, both;
	struct moe_err err = {0};

	ok(write_trace(paths[0], 1, "m", 500, MOE_GATES_F32) && write_trace(paths[1], 1, "m", 7, MOE_GATES_F32),
	   "two traces of the same tokens, cut differently");
	if (!ok(!moe_gather_files(&a, paths, 1, &alone, &err), "one thread: %s", err.text) ||
	    !ok(!moe_gather_files(&b, paths + 1, 1, &many, &err), "four threads: %s", err.text))
		return;
	is_i64((int64_t)a.n, 1, "one load");
	is_str(a.sources[0], "", "of no source");
	is_str(a.loads[0].model, "m", "of the model");
	is_i64((int64_t)a.loads[0].n_tokens, N_TOKENS, "of all tokens");
	ok(counts_are(&a.loads[0], 1, NULL, 1), "counts");
	ok(memcmp(a.loads[0].counts, b.loads[0].counts, sizeof(uint64_t) * N_LAYERS * N_EXPERTS) == 0 &&
	           memcmp(a.loads[0].weights, b.loads[0].weights,
	                  sizeof *a.loads[0].weights * N_LAYERS * N_EXPERTS) == 0,
	   "counts and gates do not depend on threads and runs");
	ok(!moe_gather_files(&both, paths, 2, &many, &err), "two files: %s", err.text);
	ok(both.n == 1 && counts_are(&both.loads[0], 1, NULL, 2), "their loads add");
	is_i64((int64_t)both.loads[0].n_tokens, 2 * N_TOKENS, "and their tokens");
	ok(!a.no_gates, "gates were kept");
	moe_gather_free(&a);
	moe_gather_free(&b);
	moe_gather_free(&both);
}

static void check_sources(struct moe_pool *pool)
{
	char path[300], *paths[] = {in_dir(path, "a.trace")};
	struct moe_gather_opts opts = {.pool = pool, .by_source = true};
	struct moe_gather g;
	struct moe_err err = {0};

	if (!ok(!moe_gather_files(&g, paths, 1, &opts, &err), "by source: %s", err.text))
		return;
	if (is_i64((int64_t)g.n, 3, "three sources")) {
		is_str(g.sources[0], "b", "in order of appearance");
		is_str(g.sources[1], "a\tb", "any bytes");
		ok(counts_are(&g.loads[0], 1, "b", 1), "counts of a source in two places");
		ok(counts_are(&g.loads[1], 1, "a\tb", 1), "counts of another");
		is_i64((int64_t)g.loads[1].n_tokens, 1000, "tokens of it");
	}
	moe_gather_free(&g);
	opts = (struct moe_gather_opts){.quarters = true};
	if (ok(!moe_gather_files(&g, paths, 1, &opts, &err), "in quarters: %s", err.text)) {
		uint64_t even = 0, odd = 0, other = 0;

		for (int i = 0; i < N_LAYERS * N_EXPERTS; i++) {
			even += g.quarters[0][0].counts[i];
			odd += g.quarters[0][1].counts[i];
			other += g.quarters[1][0].counts[i] + g.quarters[1][1].counts[i];
		}
		is_i64((int64_t)even, 1500 * N_LAYERS * TOP_K, "choices of even sequences");
		is_i64((int64_t)odd, 1500 * N_LAYERS * TOP_K, "choices of odd sequences");
		is_i64((int64_t)other, 0, "there is no second part");
		ok(!g.has_table, "and no table");
		moe_gather_free(&g);
	}
	opts = (struct moe_gather_opts){.source = "c"};
	if (ok(!moe_gather_files(&g, paths, 1, &opts, &err), "one source: %s", err.text)) {
		ok(g.n == 1 && counts_are(&g.loads[0], 1, "c", 1), "its counts");
		moe_gather_free(&g);
	}
	opts.source = "d";
	is_i64(moe_gather_files(&g, paths, 1, &opts, &err), MOE_EFORMAT, "a source that is not there");
	is_like(err.text, "'d'", "is named");
}

static void check_refused(void)
{
	char path[300], other[300], table[300], *paths[] = {in_dir(path, "a.trace"), in_dir(other, "b.trace")};
	struct moe_gather_opts opts = {0};
	struct moe_gather g;
	struct moe_err err = {0};
	struct stat st;
	FILE *f;

	ok(write_trace(paths[1], 2, "other", 100, MOE_GATES_NONE), "a trace of another model, without gates");
	is_i64(moe_gather_files(&g, paths, 2, &opts, &err), MOE_EFORMAT, "two models");
	is_like(err.text, "b.trace", "the file is named");
	is_like(err.text, "'m' and 'other'", "both models are named");
	ok(!g.loads && g.n == 0, "nothing is left");
	if (ok(!moe_gather_files(&g, paths + 1, 1, &opts, &err), "without gates")) {
		ok(g.no_gates && moe_gate_sum_value(&g.loads[0].weights[0]) == 0, "is told");
		moe_gather_free(&g);
	}

	paths[1] = in_dir(table, "t.tsv");
	f = fopen(paths[1], "w");
	fputs("layer\texpert\tcount\tweight\n", f);
	for (int i = 0; i < N_LAYERS * N_EXPERTS; i++)
		fprintf(f, "%d\t%d\t%d\t0.5\n", layers[i / N_EXPERTS], i % N_EXPERTS, i);
	fclose(f);
	err = (struct moe_err){0};
	if (ok(!moe_gather_files(&g, paths, 2, &opts, &err), "a trace and a table: %s", err.text)) {
		for (int i = 0; i < N_LAYERS * N_EXPERTS; i++)
			g.loads[0].counts[i] -= (uint64_t)i;
		ok(counts_are(&g.loads[0], 1, NULL, 1), "add");
		ok(g.has_table, "that there was a table is told");
		is_i64((int64_t)g.loads[0].n_tokens, 0, "tokens are unknown if one does not say");
		moe_gather_free(&g);
	}
	opts.by_source = true;
	is_i64(moe_gather_files(&g, paths, 2, &opts, &err), MOE_EUSAGE, "a table has no sources");

	stat(paths[0], &st);
	opts.by_source = false;
	for (int part = 1; part < 8; part++) {
		ok(!truncate(paths[0], st.st_size * (8 - part) / 8), "cut to %d/8", 8 - part);
		err = (struct moe_err){0};
		is_i64(moe_gather_files(&g, paths, 1, &opts, &err), MOE_EFORMAT, "a cut trace");
		is_like(err.text, "a.trace", "is named");
	}
	ok(!truncate(paths[0], 0), "cut to nothing");
	is_i64(moe_gather_files(&g, paths, 1, &opts, &err), MOE_EFORMAT, "an empty file");
	paths[0] = in_dir(path, "absent");
	is_i64(moe_gather_files(&g, paths, 1, &opts, &err), MOE_EIO, "no such file");
	paths[0] = dir;
	ok(moe_gather_files(&g, paths, 1, &opts, &err) != MOE_OK, "a directory");
}

/* What is in pipes is told apart without taking a byte from them. */
static void check_pipes(void)
{
	char path[300], command[800], *paths[] = {in_dir(path, "fifo")};
	struct moe_gather_opts opts = {0};
	static const char *const kinds[] = {"p.trace", "t.tsv"};
	char file[300];

	in_dir(file, kinds[0]);
	ok(write_trace(file, 3, "m", 100, MOE_GATES_F16), "a trace");
	ok(!mkfifo(paths[0], 0600), "a pipe");
	for (int i = 0; i < 2; i++) {
		struct moe_gather g;
		struct moe_err err = {0};

		snprintf(command, sizeof command, "cat '%s/%s' > '%s' &", dir, kinds[i], path);
		ok(!system(command), "somebody writes %s into it", kinds[i]);
		if (!ok(!moe_gather_files(&g, paths, 1, &opts, &err), "it is read: %s", err.text))
			continue;
		ok(i == 0 ? counts_are(&g.loads[0], 3, NULL, 1) : g.loads[0].counts[7] == 7, "%s: counts", kinds[i]);
		moe_gather_free(&g);
	}
}

static void check_layers(void)
{
	char path[300], *paths[] = {in_dir(path, "t.tsv")};
	struct moe_gather_opts opts = {0};
	struct moe_err err = {0};
	struct moe_gather g;
	static const char *const bad[] = {"", "x", "3", "2-1", "-1", "1-", "1,,2", "1-2-3"};

	if (moe_gather_files(&g, paths, 1, &opts, &err)) {
		ok(false, "%s", err.text);
		return;
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		is_i64(moe_gather_keep_layers(&g, bad[i], &err), MOE_EUSAGE, "layers '%s'", bad[i]);
	is_i64(g.loads[0].n_layers, 3, "nothing was taken away");
	ok(!moe_gather_keep_layers(&g, "5,0-1", &err), "layers 5,0-1");
	is_i64(g.loads[0].n_layers, 2, "two are left");
	is_i64(g.loads[0].layers[1], 5, "in their order");
	is_i64((int64_t)g.loads[0].counts[10], 20, "with their counts");
	moe_gather_free(&g);
}

int main(void)
{
	const char *tmp = getenv("TMPDIR");
	struct moe_pool *pool;
	struct moe_err err = {0};
	char command[300];

	snprintf(dir, sizeof dir, "%s/test_stats_gather.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir) || moe_pool_new(&pool, 4, &err))
		return 1;
	check_threads(pool);
	check_sources(pool);
	check_refused();
	check_pipes();
	check_layers();
	moe_pool_free(pool);
	snprintf(command, sizeof command, "rm -r '%s'", dir);
	return system(command) | done();
}
