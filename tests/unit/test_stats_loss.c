/* Balance losses of traces: against values computed in double precision by plain formulas (tests/golden/routers), and
 * that nothing depends on how a trace is cut, in what order its parts come, and on threads. */
#include <stdlib.h>
#include <unistd.h>

#include "../tap.h"
#include "base/json.h"
#include "base/rng.h"
#include "checkpoint/checkpoint.h"
#include "stats/gather.h"

enum { N = 64, MAX_E = 256, MAX_K = 8 };

static char dir[200];

__attribute__((noreturn)) static void bail(const char *text)
{
	printf("Bail out! %s\n", text);
	exit(1);
}

static char *in_dir(char path[300], const char *name)
{
	snprintf(path, 300, "%s/%s", dir, name);
	return path;
}

/* Tokens of a trace: [n_layers][n_tokens][...]. */
struct tokens {
	int32_t n_layers, n_experts, top_k, n_tokens;
	const char *scoring;
	int32_t n_groups, top_groups;
	bool logits;
	float *x;
	int32_t *ids;
	float *margins;
};

/* What is to be written of them: a sequence after another, of `length` tokens each, from `first` to `end`, in runs of
 * `piece`; alternate: the runs of all sequences in turn. */
struct cut {
	int32_t first, end, length, piece;
	bool alternate;
};

static enum moe_status write_run(struct moe_trace_out *out, const struct tokens *t, const struct cut *cut, int32_t seq,
                                 int32_t pos, struct moe_err *err)
{
	static int32_t unknown[4096];
	struct moe_routing routing[4];
	struct moe_trace_run run = {.seq = seq, .pos = pos, .source = "s", .tokens = unknown, .layers = routing};
	const int32_t at = cut->first + seq * cut->length + pos, left = cut->length - pos;

	run.n_tokens = left < cut->piece ? left : cut->piece;
	for (int32_t l = 0; l < t->n_layers; l++) {
		const size_t row = (size_t)l * (size_t)t->n_tokens + (size_t)at;

		routing[l] = (struct moe_routing){.layer = l, .n_experts = t->n_experts, .top_k = t->top_k,
		                                  .n_tokens = run.n_tokens, .ids = t->ids + row * (size_t)t->top_k,
		                                  .logits = t->logits ? t->x + row * (size_t)t->n_experts : NULL,
		                                  .margins = t->margins ? t->margins + row : NULL};
	}
	return moe_trace_write(out, &run, err);
}

static bool write_trace(const char *path, const struct tokens *t, const struct cut *cut)
{
	static const int32_t layers[] = {0, 1, 2, 3};
	struct moe_trace_header head = {
		.model = "m", .model_hash = "", .tokenizer_hash = "", .family = "", .policy = "", .math = "",
		.command = "", .version = "", .scoring = t->scoring, .n_layers = t->n_layers, .layers = layers,
		.n_experts = t->n_experts, .top_k = t->top_k, .n_groups = t->n_groups,
		.top_groups = t->top_groups, .scale = 1,
		.gates = MOE_GATES_NONE, .logits = t->logits, .margins = t->margins != NULL};
	const int32_t n_seqs = (cut->end - cut->first) / cut->length;
	struct moe_trace_out *out;
	struct moe_err err = {0};
	enum moe_status status = moe_trace_create(&out, path, MOE_OUT_FORCE, &head, NULL, NULL, &err);

	if (status)
		bail(err.text);
	for (int32_t pos = 0; cut->alternate && pos < cut->length && !status; pos += cut->piece)
		for (int32_t s = 0; s < n_seqs && !status; s++)
			status = write_run(out, t, cut, s, pos, &err);
	for (int32_t s = 0; !cut->alternate && s < n_seqs && !status; s++)
		for (int32_t pos = 0; pos < cut->length && !status; pos += cut->piece)
			status = write_run(out, t, cut, s, pos, &err);
	if (!status)
		return !moe_trace_commit(out, &err);
	moe_trace_abort(out);
	bail(err.text);
}

/* The values of a metric: [n_layers + 1]; the caller frees. NULL, and the sentence in err, if it is refused. */
static double *values_of(const char *name, char *const *paths, int n, const struct moe_metric_params *params,
                         struct moe_pool *pool, struct moe_err *err)
{
	const struct moe_metric *metric = moe_metric_by_name(name);
	struct moe_gather_opts opts = {
		.metrics = &metric, .n_metrics = 1, .params = params, .pool = pool, .no_weights = true};
	struct moe_gather gather;
	double *values = NULL;

	if (!metric)
		bail(name);
	*err = (struct moe_err){0};
	if (moe_gather_files(&gather, paths, n, &opts, err))
		return NULL;
	if (moe_metric_values(metric, &gather.loads[0], gather.feeds[0], &values, err))
		bail(err->text);
	moe_gather_free(&gather);
	return values;
}

/* ---- against the values of the formulas ---- */

static const char *const names[][2] = {
	{"v1_expert", "loss_v1_expert"},       {"v1_device", "loss_v1_device"},
	{"rc_seq_aux", "loss_rc_seq_aux"},     {"v2_expert", "loss_v2_expert"},
	{"v2_device", "loss_v2_device"},       {"v2_communication", "loss_v2_comm"},
	{"v3_sequence", "loss_v3_seq"},        {"max_violation", "maxvio"},
	{"switch", "loss_switch"},             {"gshard", "loss_gshard"},
	{"nllb", "loss_nllb"},                 {"z_loss", "z_loss"},
	{"flaxformer_topk", "loss_flaxformer_topk"}, {"megatron", "loss_megatron"},
	{"hf_load_balancing", "loss_hf"},
};

static void read_floats(const struct moe_ckpt *ckpt, const char *prefix, const char *name, float **out, size_t *n)
{
	char full[128];
	const struct moe_tensor *t;

	snprintf(full, sizeof full, "%s%s%s", prefix, *prefix ? "." : "", name);
	t = moe_ckpt_find(ckpt, full);
	if (!t || !moe_dims_elems(t->dims, t->n_dims, n))
		bail(full);
	*out = malloc((*n + 1) * sizeof **out);
	t->codec->decode(t->data, *out, *n);
}

static int32_t number(const json_t *entry, const char *key, int32_t otherwise)
{
	const json_t *value = json_object_get(entry, key);

	return value ? (int32_t)json_integer_value(value) : otherwise;
}

/* The tokens of a case: stored choices, or the top_k largest logits where none are named. Two layers: the second has
 * the experts in reverse order. */
static void read_case(const char *path, const json_t *entry, int32_t n_layers, struct tokens *t)
{
	const char *name = json_string_value(json_object_get(entry, "case"));
	struct moe_ckpt *ckpt = NULL;
	struct moe_err err = {0};
	float *logits, *ids = NULL;
	size_t n, n_ids = 0;

	if (moe_ckpt_open(&ckpt, path, NULL, &err))
		bail(err.text);
	read_floats(ckpt, "", "logits", &logits, &n);
	t->n_experts = (int32_t)(n / N);
	t->n_tokens = N;
	t->n_layers = n_layers;
	t->logits = true;
	if (*name)
		read_floats(ckpt, name, "ids", &ids, &n_ids);
	t->top_k = ids ? (int32_t)(n_ids / N) : number(entry, "k", 2);
	t->x = calloc((size_t)n_layers * n, sizeof *t->x);
	t->ids = calloc((size_t)n_layers * N * (size_t)t->top_k, sizeof *t->ids);
	for (int32_t row = 0; row < n_layers * N; row++) {
		float *x = t->x + (int64_t)row * t->n_experts;

		for (int32_t e = 0; e < t->n_experts; e++)
			x[e] = logits[row % N * t->n_experts + (row < N ? e : t->n_experts - 1 - e)];
		moe_top_k(x, t->n_experts, t->top_k, t->ids + (int64_t)row * t->top_k);
		for (int32_t k = 0; k < t->top_k && ids; k++)
			t->ids[row * t->top_k + k] = (int32_t)ids[row % N * t->top_k + k];
	}
	free(logits);
	free(ids);
	moe_ckpt_close(ckpt);
}

static void check_entry(const char *golden, const json_t *entry)
{
	const char *loss = json_string_value(json_object_get(entry, "loss")), *name = NULL,
		   *file = json_string_value(json_object_get(entry, "file")),
		   *note = json_string_value(json_object_get(entry, "note"));
	const double want = json_real_value(json_object_get(entry, "value"));
	const bool two = note && strncmp(note, "two layers", 10) == 0;
	const struct moe_metric_params params = {.n_groups = number(entry, "devices", 0),
		                                 .top_groups = number(entry, "top_groups", 0)};
	struct cut cut = {.end = N, .length = N / number(entry, "sequences", 1), .piece = 7};
	struct tokens t = {.n_groups = 1, .top_groups = 1};
	struct moe_err err;
	char path[300], full[4200], *paths[] = {path};
	double *got, *again;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(names[i][0], loss) == 0)
			name = names[i][1];
	if (!ok(name != NULL, "%s is a metric", loss))
		return;
	snprintf(full, sizeof full, "%s/%s", golden, file);
	t.scoring = strcmp(loss, "v3_sequence") == 0 ? "sigmoid" : "softmax";
	read_case(full, entry, two ? 2 : 1, &t);
	write_trace(in_dir(path, "golden.trace"), &t, &cut);
	got = values_of(name, paths, 1, &params, NULL, &err);
	if (ok(got != NULL, "%s of %s: %s", name, file, err.text)) {
		printf("# %s %s: relative error %.2g\n", name, file, fabs(got[t.n_layers] / want - 1));
		is_close(got[t.n_layers], want, 1e-12 * want, "%s of %s%s", name, file, two ? ", two layers" : "");
		/* V3's score is the sigmoid where a trace does not say; that of the others is the softmax. */
		t.scoring = "";
		write_trace(path, &t, &cut);
		again = values_of(name, paths, 1, &params, NULL, &err);
		ok(again && *again == *got, "%s: the same where the trace names no scoring", name);
		free(again);
	}
	free(got);
	free(t.x);
	free(t.ids);
}

/* ---- cuts, orders, threads ---- */

enum { LONG = 3840, LAYERS = 3, EXPERTS = 12, TOP = 3 };

static void make_tokens(struct tokens *t)
{
	*t = (struct tokens){.n_layers = LAYERS, .n_experts = EXPERTS, .top_k = TOP, .n_tokens = LONG,
		             .scoring = "sigmoid", .n_groups = 4, .top_groups = 2, .logits = true};
	t->x = calloc((size_t)LAYERS * LONG * EXPERTS, sizeof *t->x);
	t->ids = calloc((size_t)LAYERS * LONG * TOP, sizeof *t->ids);
	t->margins = calloc((size_t)LAYERS * LONG, sizeof *t->margins);
	for (size_t i = 0; i < (size_t)LAYERS * LONG; i++) {
		float *x = t->x + i * EXPERTS;

		for (size_t e = 0; e < EXPERTS; e++)
			x[e] = (float)(moe_rng_u64(5, i, e) % 4001) / 700 - 2 + 0.1f * (float)e;
		moe_top_k(x, EXPERTS, TOP, t->ids + i * TOP);
		t->margins[i] = (float)(moe_rng_u64(6, i, 0) % 1000) / 1e5f;
	}
}

static void check_same(const char *name, const double *a, const double *b, const char *what)
{
	ok(a && b && memcmp(a, b, (LAYERS + 1) * sizeof *a) == 0, "%s: %s", name, what);
}

static void check_cuts(struct moe_pool *pool)
{
	const struct cut whole = {.end = LONG, .length = 60, .piece = 60}, cuts[] = {
		{.first = 0, .end = 1200, .length = 60, .piece = 7, .alternate = true},
		{.first = 1200, .end = 1260, .length = 60, .piece = 1},
		{.first = 1260, .end = LONG, .length = 60, .piece = 64},
	};
	char path[5][300], *paths[] = {path[0], path[1], path[2]}, *turned[] = {path[2], path[0], path[1]},
	     *one[] = {path[3]};
	struct moe_metric_params params = {.batch_tokens = 60};
	const struct moe_metric *m;
	struct moe_err err;
	struct tokens t;

	make_tokens(&t);
	for (int i = 0; i < 3; i++) {
		char name[20];

		snprintf(name, sizeof name, "%d.trace", i);
		write_trace(in_dir(path[i], name), &t, &cuts[i]);
	}
	write_trace(in_dir(path[3], "whole.trace"), &t, &whole);
	for (size_t i = 0; (m = moe_metric_at(i)); i++) {
		if (!m->stream || !m->layer || (m->needs & (MOE_NEEDS_AGAINST | MOE_NEEDS_PLAN)))
			continue;
		/* Batches follow the order of a part: they are not those of sequences that alternate. */
		bool batches = strcmp(m->name, "maxvio_batch") == 0;
		double *a = values_of(m->name, one, 1, &params, NULL, &err),
		       *b = values_of(m->name, one, 1, &params, pool, &err),
		       *c = values_of(m->name, paths, 3, &params, pool, &err),
		       *d = values_of(m->name, turned, 3, &params, NULL, &err);

		check_same(m->name, a, b, "threads");
		check_same(m->name, c, d, "the order of files");
		if (!batches)
			check_same(m->name, a, c, "the stats of parts merged are those of the whole");
		/* There is one source, which experts cannot tell from others. */
		if (strcmp(m->name, "specialisation_bits") == 0)
			ok(a && a[LAYERS] == 0, "%s: nothing", m->name);
		else
			ok(a && isfinite(a[LAYERS]) && a[LAYERS] > 0, "%s: a number", m->name);
		free(a);
		free(b);
		free(c);
		free(d);
	}
	free(t.x);
	free(t.ids);
	free(t.margins);
}

/* ---- worked by hand ---- */

/* One layer of 4 experts, top-1: 0 0 1 | 2 2 2 | 3. */
static void check_worked(void)
{
	static int32_t ids[] = {0, 0, 1, 2, 2, 2, 3};
	static float margins[] = {0.5f, 0.25f, 0.0001f, INFINITY, 0.25f, 0, 0.25f};
	struct tokens t = {.n_layers = 1, .n_experts = 4, .top_k = 1, .n_tokens = 7, .scoring = "softmax",
		           .n_groups = 1, .top_groups = 1, .ids = ids, .margins = margins};
	const struct cut cut = {.end = 7, .length = 7, .piece = 2};
	static const struct {
		const char *name;
		double value;
	} wanted[] = {
		/* Batches of 3: 4 x 2/3 - 1, 4 - 1, and one of a single choice, 4 - 1: (3 x 5/3 + 3 x 3 + 3) / 7. */
		{"maxvio_batch", 17.0 / 7},
		{"overlap", 3.0 / 6},
		{"margin", 1.2501 / 6},
		{"flip_risk", 2.0 / 6},
	};
	const struct moe_metric_params params = {.batch_tokens = 3};
	char path[300], *paths[] = {in_dir(path, "worked.trace")};
	struct moe_err err;

	write_trace(path, &t, &cut);
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		double *got = values_of(wanted[i].name, paths, 1, &params, NULL, &err);

		if (ok(got != NULL, "%s %s", wanted[i].name, err.text))
			is_close(got[0], wanted[i].value, 1e-9, "%s, worked by hand", wanted[i].name);
		free(got);
	}
}

/* ---- what is refused ---- */

static void refuse(const char *name, const struct tokens *t, const struct moe_metric_params *params,
                   const char *part)
{
	const struct cut cut = {.end = t->n_tokens, .length = t->n_tokens, .piece = 64};
	char path[300], *paths[] = {in_dir(path, "refused.trace")};
	struct moe_err err;
	double *got;

	write_trace(path, t, &cut);
	got = values_of(name, paths, 1, params, NULL, &err);
	ok(!got, "%s is refused", name);
	is_like(err.text, part, "and why: %s", err.text);
	free(got);
}

static void check_refused(void)
{
	struct tokens t, bare;
	struct moe_metric_params five = {.n_groups = 5}, many = {.n_groups = 4, .top_groups = 5};
	const struct cut all = {.end = LONG, .length = LONG, .piece = LONG};
	char path[2][300], *paths[] = {in_dir(path[0], "a.trace"), in_dir(path[1], "b.trace")};
	struct moe_err err;

	make_tokens(&t);
	bare = t;
	bare.logits = false;
	bare.margins = NULL;
	bare.n_groups = bare.top_groups = 1;
	refuse("loss_switch", &bare, NULL, "moe-route --logits");
	refuse("flip_risk", &bare, NULL, "moe-route --margin");
	refuse("loss_importance", &bare, NULL, "--gates none");
	refuse("loss_v1_device", &t, &five, "--groups 5 does not divide the 12 experts");
	refuse("loss_v2_comm", &t, &many, "--top-groups 5 of 4 groups");
	bare.logits = true;
	refuse("loss_v2_comm", &bare, NULL, "--groups D");
	t.x[17 * EXPERTS + 3] = (float)NAN;
	refuse("loss_v3_seq", &t, NULL, "sequence 0, position 17, layer 0");
	refuse("z_loss", &t, NULL, "position 17");
	t.x[17 * EXPERTS + 3] = 1e8f;
	refuse("z_loss", &t, NULL, "beyond 2^20");
	t.x[17 * EXPERTS + 3] = INFINITY;
	refuse("loss_hf", &t, NULL, "position 17");
	t.x[17 * EXPERTS + 3] = 0;
	write_trace(path[0], &t, &all);
	t.scoring = "softmax";
	write_trace(path[1], &t, &all);
	ok(!values_of("loss_hf", paths, 2, NULL, NULL, &err), "two scorings");
	is_like(err.text, "b.trace: its scores are 'softmax'", "are told: %s", err.text);
	free(t.x);
	free(t.ids);
	free(t.margins);
}

/* As many sequences may alternate as are kept open; one more, and the first to go on is refused. */
static void check_alternating(void)
{
	enum { E = 4096, OPEN = 2050 };
	struct tokens t = {.n_layers = 1, .n_experts = E, .top_k = 1, .n_tokens = 2 * OPEN, .scoring = "softmax",
		           .n_groups = 1, .top_groups = 1, .logits = true};
	char path[300], *paths[] = {in_dir(path, "many.trace")};
	const struct moe_metric *metric = moe_metric_by_name("loss_v2_expert");
	struct moe_feeder *feeder = NULL;
	struct moe_feed *feed = NULL;
	struct moe_err err = {0};
	static const int32_t layer = 0;
	struct moe_trace_header head = {.scoring = "", .n_layers = 1, .layers = &layer, .n_experts = E, .top_k = 1};
	struct cut cut = {.length = 2, .piece = 1, .alternate = true};
	double *got;
	int32_t max;

	if (moe_feeder_new(&feeder, &metric, 1, NULL, &head, NULL, NULL, &err) || moe_feed_new(&feed, feeder, &err))
		bail(err.text);
	max = (int32_t)moe_feed_open_max(feed);
	moe_feed_free(feed);
	moe_feeder_free(feeder);
	if (!ok(max > 64 && max < OPEN, "%d sequences are kept open", max))
		return;
	t.x = calloc((size_t)t.n_tokens * E, sizeof *t.x);
	t.ids = calloc((size_t)t.n_tokens, sizeof *t.ids);
	cut.end = 2 * max;
	write_trace(path, &t, &cut);
	got = values_of("loss_v2_expert", paths, 1, NULL, NULL, &err);
	if (ok(got != NULL, "so many alternate %s", err.text))
		is_close(got[0], 1, 1e-12, "and each has its loss");
	free(got);
	cut.end = 2 * (max + 1);
	write_trace(path, &t, &cut);
	ok(!values_of("loss_v2_expert", paths, 1, NULL, NULL, &err), "one more is refused");
	is_like(err.text, "sequence 0 goes on after more than", "%s", err.text);
	free(t.x);
	free(t.ids);
}

int main(void)
{
	char golden[4000], path[4096];
	struct moe_pool *pool = NULL;
	struct moe_err err = {0};
	json_t *entries = NULL, *entry;
	size_t i;

	snprintf(dir, sizeof dir, "%s/moe-loss-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	if (!mkdtemp(dir) || moe_pool_new(&pool, 4, &err))
		bail("no folder or no threads");
	snprintf(golden, sizeof golden, "%s/tests/golden/routers", getenv("MOE_TOP") ? getenv("MOE_TOP") : ".");
	snprintf(path, sizeof path, "%s/losses.json", golden);
	if (ok(!moe_json_load(&entries, path, 1 << 20, &err), "losses.json %s", err.text)) {
		is_i64((int64_t)json_array_size(entries), 19, "all entries");
		json_array_foreach(entries, i, entry) check_entry(golden, entry);
	}
	json_decref(entries);
	check_cuts(pool);
	check_worked();
	check_refused();
	check_alternating();
	moe_pool_free(pool);
	snprintf(path, sizeof path, "rm -r '%s'", dir);
	ok(system(path) == 0, "the folder is gone");
	return done();
}
