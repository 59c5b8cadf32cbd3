/* Groups behind a policy, on runs of a trace, against ids, dropped choices and weights computed in double precision
 * by plain formulas (tests/golden/routers/capacity.safetensors): every order of dropping, GShard, expert choice, C
 * given and as a factor, groups that are sequences and groups of tokens, runs cut anywhere; sequences that come
 * in pieces are refused. Balanced assignments against every other one of small groups, and against their own prices. */
#include <stdlib.h>

#include "../tap.h"
#include "base/json.h"
#include "base/rng.h"
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
	int32_t ids[8 * N];
	float weights[8 * N];
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

/* How a case is routed. */
struct way {
	const struct moe_policy *policy;
	struct moe_policy_params params;
	struct moe_capacity capacity;
};

/* One layer and its logits [N][n_experts], in so many sequences, runs of `cut` tokens. */
static enum moe_status route(const struct way *way, const float *logits, int rows, int64_t cut, struct got *got,
                             struct moe_limit_counts *counts, struct moe_err *err)
{
	static const int32_t layer = 3, tokens[N];
	static const int32_t chosen[8 * N];   /* all tokens are routed: what by does not matter */
	const int32_t n_experts = way->params.n_experts,
	              most = way->policy->most ? way->policy->most(&way->params) : way->params.top_k;
	const struct moe_trace_header header = { .n_layers = 1, .layers = &layer, .n_experts = n_experts,
		                                 .top_k = most };
	const struct moe_run_sink sink = { got, on_run };
	const struct moe_reroute_opts opts = { .params = way->params, .keep_logits = true };
	const struct moe_limit_opts limits = { .capacity = way->capacity, .policy = way->policy,
		                               .params = way->params };
	struct moe_pool *pool = NULL;
	struct moe_reroute *reroute = NULL;
	struct moe_limit *limit = NULL;
	*got = (struct got){ .top_k = most };
	if (moe_pool_new(&pool, 2, err) || moe_reroute_new(&reroute, way->policy, &opts, pool, err) ||
	    moe_limit_new(&limit, &limits, &header, &sink, pool, err))
		bail(err->text);
	enum moe_status status = MOE_OK;
	for (int64_t row = 0; row < rows && !status; row++)
		for (int64_t t = 0; t < N / rows && !status; t += cut) {
			const int64_t n = N / rows - t < cut ? N / rows - t : cut, at = row * (N / rows) + t;
			const struct moe_routing routing = { .layer = layer, .n_experts = n_experts,
				                             .top_k = way->params.top_k, .n_tokens = n,
				                             .ids = chosen, .logits = logits + at * n_experts };
			const struct moe_trace_run run = { .seq = row, .pos = t, .source = "x", .n_tokens = n,
				                           .tokens = tokens, .layers = &routing };
			const struct moe_trace_run *out = NULL;
			status = moe_reroute_run(reroute, &run, 1, &out, err);
			if (!status)
				status = moe_limit_run(limit, out, err);
		}
	if (!status)
		status = moe_limit_finish(limit, err);
	moe_limit_count(limit, counts);
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
		/* one that was never sent has no id here */
		n_wrong += got->ids[i] != (int32_t)ids[i] && !(got->ids[i] < 0 && kept[i] == 0);
		n_unlike += (got->weights[i] != 0) != (kept[i] != 0);
		n_dropped += kept[i] == 0;
		error = fmax(error, kept[i] != 0 ? fabs(got->weights[i] - weights[i]) : 0);
	}
	ok(got->n_tokens == N && n_wrong == 0 && n_unlike == 0 && error <= 1e-6,
	   "%s: %d ids, %d differ; %d dropped, %d unlike; weights %.2g", what, N * got->top_k, n_wrong, n_dropped,
	   n_unlike, error);
}

static bool is_text(const json_t *c, const char *key, const char *text)
{
	const char *value = json_string_value(json_object_get(c, key));
	return value && strcmp(value, text) == 0;
}

/* Policy, parameters and orders of a case. */
static struct way way_of(const json_t *c, const float *uniform)
{
	const bool gshard = is_text(c, "policy", "gshard"), chosen = is_text(c, "policy", "topk_capacity");
	const char *policy = json_string_value(json_object_get(c, "policy"));
	struct way way = { .policy = moe_policy_by_name(chosen ? "softmax_topk" : policy) };
	if (!way.policy)
		bail(policy);
	way.params = (struct moe_policy_params){ .top_k = gshard || chosen ? 2 : 1, .n_groups = 1, .top_groups = 1,
		                                 .scale = 1, .uniform = uniform };
	way.params.n_experts = (int32_t)json_integer_value(json_object_get(c, "n_experts"));
	way.params.normalize = json_is_true(json_object_get(c, "normalize_before_dropping"));
	if (is_text(c, "second_expert", "random"))
		way.params.second = is_text(c, "compares", "2*p2 > uniform") ? MOE_SECOND_RANDOM
		                                                             : MOE_SECOND_RANDOM_PAIR;
	way.capacity.drop = is_text(c, "drop", "choice") ? MOE_DROP_CHOICE
	                    : is_text(c, "drop", "prob") ? MOE_DROP_PROB
	                                                 : way.policy->drop;
	way.capacity.rescale = way.policy->rescale && !way.params.normalize;
	way.capacity.priority = json_is_true(json_object_get(c, "batch_prioritized")) ? MOE_PRIORITY_BATCH
	                                                                              : MOE_PRIORITY_TOKEN;
	return way;
}

/* What experts took, as what tokens got. */
static void turn(const float *taken, const float *weights, int32_t n_experts, int64_t choices, float *ids, float *gates)
{
	for (int i = 0; i < N * n_experts; i++) {
		ids[i] = -1;
		gates[i] = 0;
	}
	for (int64_t i = 0; i < n_experts * choices; i++) {
		const int64_t t = (int64_t)taken[i];
		int32_t at = n_experts - 1;
		while (at > 0 && gates[t * n_experts + at - 1] < weights[i])
			at--;
		for (int32_t j = n_experts - 1; j > at; j--) {
			ids[t * n_experts + j] = ids[t * n_experts + j - 1];
			gates[t * n_experts + j] = gates[t * n_experts + j - 1];
		}
		ids[t * n_experts + at] = (float)(i / choices);
		gates[t * n_experts + at] = weights[i];
	}
}

static void check_case(const struct moe_ckpt *ckpt, const json_t *c)
{
	const char *name = json_string_value(json_object_get(c, "case"));
	static const int64_t cuts[] = { 1, 7, N };
	int32_t choices = 0, rows = 1;
	double factor = 0;
	struct moe_err err = { 0 };
	(void)!moe_json_i32(c, "capacity", name, 1, 1000, &choices, &err);
	(void)!moe_json_i32(c, "rows", name, 1, 2, &rows, &err);
	(void)!moe_json_f64(c, "capacity_factor", name, &factor, &err);
	float *logits = values(ckpt, "", "logits"), *ids = values(ckpt, name, "ids"),
	      *uniform = values(ckpt, "", "uniform"), *weights = values(ckpt, name, "weights"),
	      *kept = is_text(c, "policy", "expert_choice") ? NULL : values(ckpt, name, "kept");
	struct way way = way_of(c, uniform);
	if (!kept) {   /* expert choice: tokens of experts */
		const size_t n = (size_t)(N * way.params.n_experts);
		float *turned = calloc(n, sizeof *turned), *gates = calloc(n, sizeof *gates);
		turn(ids, weights, way.params.n_experts, choices, turned, gates);
		free(ids);
		free(weights);
		ids = turned;
		weights = kept = gates;
		factor = 2;
	}
	const struct moe_capacity ways[] = {
		{ .choices = choices },
		{ .choices = choices, .group = N / rows },
		{ .factor = factor },
		{ .factor = factor, .group = N / rows },
	};
	for (size_t w = 0; w < (factor > 0 ? 4 : 2); w++)
		for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
			struct got got;
			struct moe_limit_counts counts;
			char what[160];
			const bool random = json_object_get(c, "second_expert");
			way.capacity.choices = ways[w].choices;
			way.capacity.group = ways[w].group;
			way.capacity.factor = ways[w].factor;
			if (random && cuts[i] < N)
				continue;   /* the numbers given are those of one piece */
			if (route(&way, logits, rows, cuts[i], &got, &counts, &err))
				bail(err.text);
			snprintf(what, sizeof what, "%s, runs of %d, %s, groups of %s", name, (int)cuts[i],
			         ways[w].choices ? "C given" : "C by a factor", ways[w].group ? "tokens" : "sequences");
			compare(&got, ids, weights, kept, what);
			is_i64(got.n_runs, rows * ((N / rows + cuts[i] - 1) / cuts[i]), "%s: as many runs", what);
			int64_t n_dropped = 0;
			for (int j = 0; j < N * got.top_k; j++)
				n_dropped += got.ids[j] >= 0 && kept[j] == 0;
			is_i64(counts.n_dropped, n_dropped, "%s: as many dropped", what);
		}
	free(logits);
	free(ids);
	free(uniform);
	free(weights);
	if (kept != weights)
		free(kept);
}

/* The best balanced assignment of the tokens from t on, by trying all. */
static double best_of(const float *a, int64_t n_tokens, int32_t n, int64_t t, int64_t *room, int64_t *spare)
{
	double best = -INFINITY;
	if (t == n_tokens)
		return 0;
	for (int32_t e = 0; e < n; e++) {
		const bool over = room[e] == 0;
		if (room[e] < 0 || (over && *spare == 0))
			continue;
		room[e]--;
		*spare -= over;
		best = fmax(best, (double)a[t * n + e] + best_of(a, n_tokens, n, t + 1, room, spare));
		*spare += over;
		room[e]++;
	}
	return best;
}

/* BASE: balanced, no worse than any other assignment, its prices prove it. */
static void assignments(void)
{
	static float affinities[300 * 16], weights[300 * 4];
	static int32_t ids[300 * 4];
	const struct moe_policy *base = moe_policy_by_name("base");
	static const int64_t sizes[][3] = { { 7, 3, 1 }, { 6, 3, 1 }, { 2, 5, 1 }, { 8, 4, 1 }, { 1, 4, 1 },
		                            { 300, 16, 1 }, { 299, 16, 3 }, { 128, 16, 4 }, { 5, 3, 3 } };
	struct moe_err err = { 0 };
	for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
		for (uint64_t seed = 0; seed < 12; seed++) {
			const int64_t n_tokens = sizes[s][0];
			const int32_t n = (int32_t)sizes[s][1], k = (int32_t)sizes[s][2];
			const struct moe_policy_params p = { .n_experts = n, .top_k = k };
			struct moe_certificate certificate = { 0 };
			/* a popular expert; every third draw full of ties */
			for (int64_t i = 0; i < n_tokens * n; i++) {
				const double u = moe_rng_f64(seed, s, (uint64_t)i) * 6 - 3 + (i % n == 1 ? 2 : 0);
				affinities[i] = (float)(seed % 3 == 0 ? round(u) : u);
			}
			if (base->group(&p, affinities, n_tokens, ids, weights, &certificate, &err))
				bail(err.text);
			int64_t load[16] = { 0 }, room[16], spare = n_tokens * k % n, wrong = 0;
			double sum = 0;
			for (int64_t i = 0; i < n_tokens * k; i++) {
				load[ids[i]]++;
				sum += (double)affinities[i / k * n + ids[i]];
				for (int64_t j = i / k * k; j < i; j++)
					wrong += ids[j] == ids[i];
			}
			for (int32_t e = 0; e < n; e++) {
				room[e] = n_tokens * k / n;
				wrong += load[e] < room[e] || load[e] > room[e] + (spare > 0);
			}
			ok(wrong == 0 && fabs(sum - certificate.value) < 1e-9 * n_tokens &&
			   certificate.bound == certificate.value,
			   "%d tokens, %d of %d experts, draw %d: even, %.9g of %.9g", (int)n_tokens,
			   (int)k, (int)n, (int)seed, certificate.value, certificate.bound);
			if (k == 1 && n_tokens < 9)
				is_close(sum, best_of(affinities, n_tokens, n, 0, room, &spare), 1e-6,
				         "no other assignment is better");
		}
}

/* Tokens that choose nothing in a layer are no part of its groups; a sequence in pieces has no known place. */
static void edges(void)
{
	static const int32_t layers[2] = { 0, 1 }, tokens[6];
	static const int32_t ids[2][6] = { { 0, 0, -1, 0, 0, -1 }, { -1, -1, 0, -1, -1, 0 } };
	static const float ones[6] = { 1, 1, 1, 1, 1, 1 };
	const struct moe_trace_header header = { .n_layers = 2, .layers = layers, .n_experts = 2, .top_k = 1 };
	const struct moe_limit_opts half = { .capacity = { .factor = 1 } }, three = { .capacity = { .choices = 3 } };
	struct got got = { .top_k = 1 };
	const struct moe_run_sink sink = { &got, on_run };
	struct moe_routing routing[2];
	struct moe_limit *limit = NULL;
	struct moe_err err = { 0 };
	for (int l = 0; l < 2; l++)
		routing[l] = (struct moe_routing){ .layer = l, .n_experts = 2, .top_k = 1, .n_tokens = 6,
			                           .ids = ids[l], .weights = ones };
	struct moe_trace_run run = { .source = "x", .n_tokens = 6, .tokens = tokens, .layers = routing };
	if (moe_limit_new(&limit, &half, &header, &sink, NULL, &err) || moe_limit_run(limit, &run, &err) ||
	    moe_limit_finish(limit, &err))
		bail(err.text);
	/* four tokens chose in the first layer, and C = 1 4 / 2 */
	static const float want[6] = { 1, 1, 1, 0, 0, 1 };
	ok(got.n_tokens == 6 && memcmp(got.weights, want, sizeof want) == 0, "T counts the tokens that chose");
	moe_limit_free(limit);
	limit = NULL;
	if (moe_limit_new(&limit, &three, &header, &sink, NULL, &err) || moe_limit_run(limit, &run, &err))
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
	assignments();
	json_decref(cases);
	moe_buf_free(&text);
	moe_ckpt_close(ckpt);
	return done();
}
