/* Capacity behind a policy, on runs of a trace, against ids, dropped choices and weights computed in double precision
 * by plain formulas (tests/golden/routers/capacity.safetensors): C given and as a factor, groups that are sequences
 * and groups of tokens, runs cut anywhere; sequences that come in pieces are refused. */
#include <stdlib.h>

#include "../tap.h"
#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "trace/limit.h"
#include "trace/reroute.h"

enum { N = 64 };

__attribute__((noreturn)) static void bail(const char *text)
{
	printf("Bail out! %s\n", text);
	exit(1);
}

static float *values(const struct moe_ckpt *ckpt, const char *prefix, const char *name)
{
	char full[128];
	size_t n;
	snprintf(full, sizeof full, "%s%s%s", prefix, *prefix ? "." : "", name);
	const struct moe_tensor *t = moe_ckpt_find(ckpt, full);
	if (!t || !moe_dims_elems(t->dims, t->n_dims, &n))
		bail(full);
	float *out = malloc((n + 1) * sizeof *out);
	t->codec->decode(t->data, out, n);
	return out;
}

/* What came out, in the order of the tokens. */
struct got {
	int32_t ids[2 * N];
	float weights[2 * N];
	int64_t n_tokens, n_runs;
	int32_t top_k;
};

static enum moe_status on_run(void *arg, const struct moe_trace_run *run, struct moe_err *err)
{
	(void)err;
	struct got *got = arg;
	const int64_t n = run->n_tokens * got->top_k, at = got->n_tokens * got->top_k;
	memcpy(got->ids + at, run->layers[0].ids, (size_t)n * sizeof *got->ids);
	memcpy(got->weights + at, run->layers[0].weights, (size_t)n * sizeof *got->weights);
	got->n_tokens += run->n_tokens;
	got->n_runs++;
	return MOE_OK;
}

/* One layer and its logits [N][n_experts], in so many sequences, runs of `cut` tokens. */
static enum moe_status route(const struct moe_capacity *capacity, const char *policy, int32_t n_experts, int32_t top_k,
                             const float *logits, int rows, int64_t cut, struct got *got, struct moe_err *err)
{
	static const int32_t layer = 3, tokens[N];
	int32_t chosen[2 * N] = { 0 };   /* all tokens are routed: what by does not matter */
	const struct moe_policy_params params = { .n_experts = n_experts, .top_k = top_k, .n_groups = 1,
		                                  .top_groups = 1, .scale = 1 };
	const struct moe_trace_header header = { .n_layers = 1, .layers = &layer, .n_experts = n_experts,
		                                 .top_k = top_k };
	const struct moe_run_sink sink = { got, on_run };
	struct moe_pool *pool = NULL;
	struct moe_reroute *reroute = NULL;
	struct moe_limit *limit = NULL;
	*got = (struct got){ .top_k = top_k };
	if (moe_pool_new(&pool, 2, err) ||
	    moe_reroute_new(&reroute, moe_policy_by_name(policy), &params, NULL, false, false, pool, err) ||
	    moe_limit_new(&limit, capacity, &header, &sink, err))
		bail(err->text);
	enum moe_status status = MOE_OK;
	for (int64_t row = 0; row < rows && !status; row++)
		for (int64_t t = 0; t < N / rows && !status; t += cut) {
			const int64_t n = N / rows - t < cut ? N / rows - t : cut, at = row * (N / rows) + t;
			const struct moe_routing routing = { .layer = layer, .n_experts = n_experts, .top_k = top_k,
				                             .n_tokens = n, .ids = chosen,
				                             .logits = logits + at * n_experts };
			const struct moe_trace_run run = { .seq = row, .pos = t, .source = "x", .n_tokens = n,
				                           .tokens = tokens, .layers = &routing };
			const struct moe_trace_run *out = NULL;
			status = moe_reroute_run(reroute, &run, 1, &out, err);
			if (!status)
				status = moe_limit_run(limit, out, err);
		}
	if (!status)
		status = moe_limit_finish(limit, err);
	moe_limit_free(limit);
	moe_reroute_free(reroute);
	moe_pool_free(pool);
	return status;
}

static void compare(const struct got *got, const float *ids, const float *weights, const float *kept, const char *what)
{
	int n_wrong = 0, n_unlike = 0, n_dropped = 0;
	double error = 0;
	for (int i = 0; i < N * got->top_k; i++) {
		n_wrong += got->ids[i] != (int32_t)ids[i];
		n_unlike += (got->weights[i] != 0) != (kept[i] != 0);
		n_dropped += kept[i] == 0;
		error = fmax(error, kept[i] != 0 ? fabs(got->weights[i] - weights[i]) : 0);
	}
	ok(got->n_tokens == N && n_wrong == 0 && n_unlike == 0 && error <= 1e-6 && n_dropped > 0,
	   "%s: %d ids, %d differ; %d dropped, %d unlike; weights %.2g", what, N * got->top_k, n_wrong, n_dropped,
	   n_unlike, error);
}

static void check_case(const struct moe_ckpt *ckpt, const json_t *c)
{
	const char *name = json_string_value(json_object_get(c, "case")),
		   *policy = json_string_value(json_object_get(c, "policy")),
		   *drop = json_string_value(json_object_get(c, "drop"));
	const bool switches = strcmp(policy, "switch") == 0;
	if (!switches && (strcmp(policy, "topk_capacity") != 0 || strcmp(drop, "position") != 0))
		return;
	static const int64_t cuts[] = { 1, 7, N };
	int32_t n_experts = 0, choices = 0, top_k = 1, rows = 1;
	double factor = 0;
	struct moe_err err = { 0 };
	(void)!moe_json_i32(c, "n_experts", name, 1, 1000, &n_experts, &err);
	(void)!moe_json_i32(c, "capacity", name, 1, 1000, &choices, &err);
	(void)!moe_json_i32(c, "k", name, 1, 1000, &top_k, &err);
	(void)!moe_json_i32(c, "rows", name, 1, 2, &rows, &err);
	(void)!moe_json_f64(c, "capacity_factor", name, &factor, &err);
	float *logits = values(ckpt, "", "logits"), *ids = values(ckpt, name, "ids"),
	      *weights = values(ckpt, name, "weights"), *kept = values(ckpt, name, "kept");
	const struct moe_capacity ways[] = {
		{ .choices = choices },
		{ .choices = choices, .group = N / rows },
		{ .factor = factor },
		{ .factor = factor, .group = N / rows },
	};
	for (size_t w = 0; w < (factor > 0 ? 4 : 2); w++)
		for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
			struct got got;
			char what[160];
			if (route(&ways[w], switches ? "switch" : "softmax_topk", n_experts, top_k, logits, rows,
			          cuts[i], &got, &err))
				bail(err.text);
			snprintf(what, sizeof what, "%s, runs of %d, %s, groups of %s", name, (int)cuts[i],
			         ways[w].choices ? "C given" : "C by a factor", ways[w].group ? "tokens" : "sequences");
			compare(&got, ids, weights, kept, what);
			is_i64(got.n_runs, rows * ((N / rows + cuts[i] - 1) / cuts[i]), "%s: as many runs", what);
		}
	free(logits);
	free(ids);
	free(weights);
	free(kept);
}

/* Tokens that choose nothing in a layer are no part of its groups; a sequence in pieces has no known place. */
static void edges(void)
{
	static const int32_t layers[2] = { 0, 1 }, tokens[6];
	static const int32_t ids[2][6] = { { 0, 0, -1, 0, 0, -1 }, { -1, -1, 0, -1, -1, 0 } };
	static const float ones[6] = { 1, 1, 1, 1, 1, 1 };
	const struct moe_trace_header header = { .n_layers = 2, .layers = layers, .n_experts = 2, .top_k = 1 };
	const struct moe_capacity half = { .factor = 1 }, three = { .choices = 3 };
	struct got got = { .top_k = 1 };
	const struct moe_run_sink sink = { &got, on_run };
	struct moe_routing routing[2];
	struct moe_limit *limit = NULL;
	struct moe_err err = { 0 };
	for (int l = 0; l < 2; l++)
		routing[l] = (struct moe_routing){ .layer = l, .n_experts = 2, .top_k = 1, .n_tokens = 6,
			                           .ids = ids[l], .weights = ones };
	struct moe_trace_run run = { .source = "x", .n_tokens = 6, .tokens = tokens, .layers = routing };
	if (moe_limit_new(&limit, &half, &header, &sink, &err) || moe_limit_run(limit, &run, &err) ||
	    moe_limit_finish(limit, &err))
		bail(err.text);
	/* four tokens chose in the first layer, and C = 1 4 / 2 */
	static const float want[6] = { 1, 1, 1, 0, 0, 1 };
	ok(got.n_tokens == 6 && memcmp(got.weights, want, sizeof want) == 0, "T counts the tokens that chose");
	moe_limit_free(limit);
	limit = NULL;
	if (moe_limit_new(&limit, &three, &header, &sink, &err) || moe_limit_run(limit, &run, &err))
		bail(err.text);
	run.pos = 7;
	ok(moe_limit_run(limit, &run, &err) == MOE_EFORMAT && strstr(err.text, "position 6 next, found 7"),
	   "a gap is refused: %s", err.text);
	run.seq = 1;
	ok(moe_limit_run(limit, &run, &err) == MOE_EFORMAT && strstr(err.text, "position 0 next, found 7"),
	   "a sequence without its beginning is: %s", err.text);
	moe_limit_free(limit);
	is_i64(moe_capacity_choices(&(struct moe_capacity){ .factor = 1e9 }, 1 << 20, 1, INT64_MAX), INT64_MAX,
	       "C has no overflow");
}

int main(void)
{
	const char *top = getenv("MOE_TOP") ? getenv("MOE_TOP") : ".";
	char path[4096];
	struct moe_err err = { 0 };
	struct moe_ckpt *ckpt = NULL;
	struct moe_buf text = { 0 };
	json_t *cases = NULL, *c;
	size_t i;
	snprintf(path, sizeof path, "%s/tests/golden/routers/capacity.safetensors", top);
	if (moe_ckpt_open(&ckpt, path, NULL, &err))
		bail(err.text);
	snprintf(path, sizeof path, "%s/tests/golden/routers/cases.json", top);
	if (moe_read_all(path, 0, &text, &err) || moe_json_parse(&cases, text.p, text.n, path, &err))
		bail(err.text);
	json_array_foreach(cases, i, c)
		if (strcmp(json_string_value(json_object_get(c, "file")), "capacity.safetensors") == 0)
			check_case(ckpt, c);
	edges();
	json_decref(cases);
	moe_buf_free(&text);
	moe_ckpt_close(ckpt);
	return done();
}
