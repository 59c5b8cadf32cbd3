/* Routing policies against ids, weights and margins computed in double precision by plain formulas
 * (tests/golden/routers), and against the worked vector of the DeepSeek-V3 and V2 routers. */
#include <stdlib.h>

#include "../tap.h"
#include "base/json.h"
#include "base/rng.h"
#include "checkpoint/checkpoint.h"
#include "route/route.h"

/* What the cases call a policy. */
static const struct moe_policy *policy_of(const char *name)
{
	static const char *const names[][2] = { { "softmax", "softmax_topk" }, { "v2", "group_limited" },
		                                   { "softmax_bias", "longcat" }, { "sigmoid_1e6", "lfm2" } };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(names[i][0], name) == 0)
			return moe_policy_by_name(names[i][1]);
	return moe_policy_by_name(name);
}

static float *values(const struct moe_ckpt *ckpt, const char *prefix, const char *name)
{
	char full[128];
	size_t n;
	snprintf(full, sizeof full, "%s%s%s", prefix, *prefix ? "." : "", name);
	const struct moe_tensor *t = moe_ckpt_find(ckpt, full);
	if (!t || !moe_dims_elems(t->dims, t->n_dims, &n))
		return NULL;
	float *out = malloc((n + 1) * sizeof *out);
	t->codec->decode(t->data, out, n);
	return out;
}

enum { ROWS = 64 };

/* The table of a hashed case: random, made from counts, or of V4. */
static void find_table(const struct moe_ckpt *ckpt, const json_t *c, struct moe_policy_params *p,
                       struct moe_token_table *table, int32_t tokens[ROWS])
{
	const char *name = json_string_value(json_object_get(c, "case"));
	const bool random = strcmp(name, "hash_random") == 0, balanced = strcmp(name, "hash_balanced") == 0;
	if (!random && !balanced && !json_object_get(c, "table"))
		return;
	struct moe_err err = { 0 };
	float *ids = values(ckpt, "", random || balanced ? "token_ids" : "tokens");
	const struct moe_tensor *shape = moe_ckpt_find(ckpt, random || balanced ? "random_table" : "table");
	*table = (struct moe_token_table){ .n_experts = p->n_experts, .top_k = p->top_k,
		                           .n_tokens = (int64_t)shape->dims[0] };
	const size_t n = (size_t)table->n_tokens * (size_t)p->top_k;
	for (int t = 0; t < ROWS; t++)
		tokens[t] = (int32_t)ids[t];
	if (balanced) {
		float *read = values(ckpt, "", "counts"), *want = values(ckpt, "", "balanced_table");
		int64_t *counts = calloc(n, sizeof *counts);
		int unlike = 0;
		for (size_t i = 0; i < n; i++)
			counts[i] = (int64_t)read[i];
		ok(moe_token_table_from_counts(table, counts, (int64_t)n, p->n_experts, 1, &err) == MOE_OK,
		   "a table from counts %s", err.text);
		for (size_t i = 0; i < n; i++)
			unlike += table->experts[i] != (int32_t)want[i];
		is_i64(unlike, 0, "balanced: the table of %zu tokens", n);
		free(read);
		free(want);
		free(counts);
	} else {
		float *experts = values(ckpt, "", random ? "random_table" : "table");
		table->experts = calloc(n, sizeof *table->experts);
		for (size_t i = 0; i < n; i++)
			table->experts[i] = (int32_t)experts[i];
		free(experts);
	}
	p->table = table;
	p->tokens = tokens;
	free(ids);
}

/* Of a file without logits: the products of hidden states and centroids. */
static float *find_logits(const struct moe_ckpt *ckpt, const struct moe_policy_params *p)
{
	float *logits = values(ckpt, "", "logits"), *hidden = logits ? NULL : values(ckpt, "", "hidden"),
	      *centroids = logits ? NULL : values(ckpt, "", "centroids");
	if (logits)
		return logits;
	const int d = 16;
	logits = calloc((size_t)(ROWS * p->n_experts), sizeof *logits);
	for (int t = 0; t < ROWS; t++)
		for (int e = 0; e < p->n_experts; e++) {
			double sum = 0;
			for (int i = 0; i < d; i++)
				sum += (double)hidden[t * d + i] * (double)centroids[e * d + i];
			logits[t * p->n_experts + e] = (float)sum;
		}
	free(hidden);
	free(centroids);
	return logits;
}

/* One step of loss-free balancing behind these choices. */
static void check_steps(const struct moe_ckpt *ckpt, const char *name, const float *bias, const int32_t *ids,
                        const struct moe_policy_params *p)
{
	static const char *const names[] = { "bias_next", "bias_next_centred" };
	static const int32_t rules[] = { MOE_ADAPT_SIGN, MOE_ADAPT_CENTRED };
	const size_t n = (size_t)p->n_experts;
	int64_t *counts = calloc(n, sizeof *counts);
	float *next = calloc(n, sizeof *next);
	for (int64_t i = 0; i < (int64_t)ROWS * p->top_k; i++)
		counts[ids[i]]++;
	for (int rule = 0; rule < 2; rule++) {
		float *want = values(ckpt, name, names[rule]);
		double error = 0, moved = 0;
		if (!want)   /* longcat's has none */
			continue;
		memcpy(next, bias, n * sizeof *next);
		moe_bias_adapt(next, counts, p->n_experts, rules[rule], 1e-3);
		for (size_t e = 0; e < n; e++) {
			error = fmax(error, fabs(next[e] - want[e]));
			moved = fmax(moved, fabs(next[e] - bias[e]));
		}
		ok(error < 1e-6 && moved > 5e-4, "%s: %s, %.2g off", name, names[rule], error);
		free(want);
	}
	memcpy(next, bias, n * sizeof *next);
	moe_bias_adapt(next, counts, p->n_experts, MOE_ADAPT_PROPORTIONAL, 0.5);
	double error = 0;
	const double mean = (double)ROWS * p->top_k / p->n_experts;
	for (size_t e = 0; e < n; e++)
		error = fmax(error, fabs(next[e] - bias[e] - 0.5 * (mean - (double)counts[e]) / mean));
	is_close(error, 0, 1e-6, "%s: proportional", name);
	free(counts);
	free(next);
}

static void check_case(const char *dir, const json_t *c)
{
	const struct moe_policy *policy = policy_of(json_string_value(json_object_get(c, "policy")));
	const char *name = json_string_value(json_object_get(c, "case")),
		   *file = json_string_value(json_object_get(c, "file"));
	/* tests/unit/test_trace_limit.c has the capacities */
	if (strcmp(file, "capacity.safetensors") == 0)
		return;
	if (!ok(policy, "%s/%s: there is such a policy", file, name))
		return;
	struct moe_err err = { 0 };
	struct moe_ckpt *ckpt = NULL;
	char path[4096];
	snprintf(path, sizeof path, "%s/%s", dir, file);
	if (moe_ckpt_open(&ckpt, path, NULL, &err)) {
		ok(false, "%s", err.text);
		return;
	}
	struct moe_policy_params p = {
		.top_k = 1, .n_groups = 1, .top_groups = 1, .scale = 1, .group_score = policy->group_score
	};
	(void)!moe_json_i32(c, "n_experts", name, 1, INT32_MAX, &p.n_experts, &err);
	(void)!moe_json_i32(c, "top_k", name, 1, INT32_MAX, &p.top_k, &err);
	(void)!moe_json_i32(c, "groups", name, 1, INT32_MAX, &p.n_groups, &err);
	(void)!moe_json_i32(c, "top_groups", name, 1, INT32_MAX, &p.top_groups, &err);
	(void)!moe_json_f64(c, "scale", name, &p.scale, &err);
	(void)!moe_json_f64(c, "eps", name, &p.eps, &err);
	(void)!moe_json_f64(c, "p_norm", name, &p.p_norm, &err);
	(void)!moe_json_bool(c, "norm", name, &p.normalize, &err);
	float *bias = json_is_true(json_object_get(c, "bias")) ? values(ckpt, "", "bias") : NULL;
	p.bias = bias;
	struct moe_token_table table = { 0 };
	int32_t tokens[ROWS];
	find_table(ckpt, c, &p, &table, tokens);

	float *logits = find_logits(ckpt, &p), *ids = values(ckpt, name, "ids"),
	      *weights = values(ckpt, name, "weights"), *margins = values(ckpt, name, "margin");
	const size_t n = ROWS * (size_t)p.top_k;
	int32_t *got_ids = calloc(n, sizeof *got_ids);
	float *got = calloc(n, sizeof *got), *scratch = calloc(policy->scratch(&p) + 1, sizeof *scratch),
	      got_margins[ROWS];
	ok(moe_policy_check(policy, &p, &err) == MOE_OK, "%s/%s: the parameters make sense %s", file, name, err.text);
	if (policy->rows)
		policy->rows(&p, logits, ROWS, got_ids, got, got_margins, scratch);
	for (int t = 0; t < ROWS && !policy->rows; t++) {   /* BASE, one token a group: as at inference */
		struct moe_certificate certificate = { 0 };
		got_margins[t] = margins ? margins[t] : 0;
		ok(policy->group(&p, logits + t * p.n_experts, 1, got_ids + t, got + t, &certificate, &err) == MOE_OK,
		   "%s: a group of one token", name);
	}
	int wrong = 0;
	double weight_error = 0, margin_error = 0;
	for (int t = 0; t < ROWS; t++) {
		double largest = 0;
		for (int32_t k = 0; k < p.top_k; k++)
			largest = fmax(largest, weights ? fabs(weights[t * p.top_k + k]) : 1);
		for (int32_t k = 0; k < p.top_k; k++) {
			wrong += got_ids[t * p.top_k + k] != (int32_t)ids[t * p.top_k + k];
			if (!weights) {   /* of a hashed layer: 1 */
				weight_error = fmax(weight_error, fabs(got[t * p.top_k + k] - 1));
				continue;
			}
			weight_error =
			    fmax(weight_error, fabs(got[t * p.top_k + k] - weights[t * p.top_k + k]) / largest);
		}
		if (!margins)
			continue;
		if (isfinite(margins[t]) || isfinite(got_margins[t]))
			margin_error = fmax(margin_error, fabs(got_margins[t] - margins[t]));
	}
	is_i64(wrong, 0, "%s/%s: ids", file, name);
	is_close(weight_error, 0, 1e-6, "%s/%s: weights", file, name);
	/* sparsemixer's golden margins also measure how near a score is to the threshold of its mask */
	if (margins && strcmp(policy->name, "sparsemixer") != 0)
		is_close(margin_error, 0, 1e-6, "%s/%s: margins", file, name);
	if (bias)
		check_steps(ckpt, name, bias, got_ids, &p);
	moe_token_table_free(&table);
	free(bias);
	free(logits);
	free(ids);
	free(weights);
	free(margins);
	free(got_ids);
	free(got);
	free(scratch);
	moe_ckpt_close(ckpt);
}

static void worked_vector(void)
{
	static const float logits[8] = { .3f, -1.2f, 2, .1f, -.5f, 1.4f, .9f, -2 };
	static const float bias[8] = { .05f, .4f, -.3f, 0, .2f, 0, -.1f, .6f };
	static const struct {
		const char *policy;
		double scale;
		bool normalize;
		int32_t ids[3];
		double weights[3];
	} wanted[] = {
		{ "noaux_tc", 2.5, true, { 5, 7, 6 }, { 1.228582, 0.182565, 1.088853 } },
		{ "group_limited", 16, false, { 2, 5, 3 }, { 6.793773, 3.728502, 1.016135 } },
	};
	for (size_t i = 0; i < 2; i++) {
		const struct moe_policy *policy = moe_policy_by_name(wanted[i].policy);
		const struct moe_policy_params p = { .n_experts = 8,
			                             .top_k = 3,
			                             .n_groups = 4,
			                             .top_groups = 2,
			                             .group_score = policy->group_score,
			                             .scale = wanted[i].scale,
			                             .normalize = wanted[i].normalize,
			                             .bias = bias };
		int32_t ids[3];
		float weights[3], scratch[64];
		policy->rows(&p, logits, 1, ids, weights, NULL, scratch);
		for (int k = 0; k < 3; k++) {
			is_i64(ids[k], wanted[i].ids[k], "worked vector, %s: choice %d", wanted[i].policy, k);
			is_close(weights[k], wanted[i].weights[k], 1e-6, "worked vector, %s: weight %d",
			         wanted[i].policy, k);
		}
	}
}

/* Every expert chosen, one expert, 384 experts, outputs that are not numbers. */
static void edges(void)
{
	static float logits[384], weights[384], margin, scratch[1200];
	static int32_t ids[384];
	for (size_t i = 0; moe_policy_at(i); i++) {
		const struct moe_policy *policy = moe_policy_at(i);
		if (!policy->rows || (policy->reads & (MOE_NEEDS_TOKENS | MOE_NEEDS_PLACE)))
			continue;
		struct moe_policy_params p = {
			.n_experts = 384, .top_k = 384, .n_groups = 1, .top_groups = 1, .scale = 1
		};
		for (int e = 0; e < 384; e++)
			logits[e] = (float)((e * 7) % 384) / 384;
		policy->rows(&p, logits, 1, ids, weights, &margin, scratch);
		int64_t sum = 0;
		for (int e = 0; e < 384; e++)
			sum += ids[e];
		ok(sum == 383 * 384 / 2 && margin > 0, "%s: 384 of 384 experts, nothing left out", policy->name);
		p.n_experts = p.top_k = 1;
		policy->rows(&p, logits, 1, ids, weights, &margin, scratch);
		is_i64(ids[0], 0, "%s: one expert", policy->name);
		p.n_experts = 4;
		p.top_k = 2;
		for (int e = 0; e < 4; e++)
			logits[e] = NAN;
		policy->rows(&p, logits, 1, ids, weights, &margin, scratch);
		ok(ids[0] == -1 && ids[1] == -1 && weights[0] == 0, "%s: no choice among NaN", policy->name);
	}
	struct moe_err err = { 0 };
	struct moe_policy_params p = { .n_experts = 8, .top_k = 9, .n_groups = 1, .top_groups = 1 };
	ok(moe_policy_check(moe_policy_by_name("noaux_tc"), &p, &err) == MOE_EUSAGE, "top_k above the experts: %s",
	   err.text);
	p = (struct moe_policy_params){
		.n_experts = 8, .top_k = 3, .n_groups = 8, .top_groups = 4, .group_score = MOE_GROUP_TOP2
	};
	ok(moe_policy_check(moe_policy_by_name("noaux_tc"), &p, &err) == MOE_EUSAGE, "groups of one: %s", err.text);
}

/* The k largest against a plain search, on draws full of ties, of numbers that are none, and of -infinity. */
static void top_k(void)
{
	enum { MOST = 300 };
	float x[MOST];
	int32_t ids[MOST];
	int wrong = 0, n_draws = 0;
	for (uint64_t draw = 0; draw < 6000; draw++) {
		const int32_t n = 1 + (int32_t)(moe_rng_u64(draw, 1, 0) % MOST);
		const int32_t k = 1 + (int32_t)(moe_rng_u64(draw, 2, 0) % (draw % 2 ? 24 : MOST)) % n;
		const double steps = draw % 3 == 0 ? 1e9 : draw % 3 == 1 ? 40 : 3;
		bool taken[MOST] = { false };
		for (int32_t i = 0; i < n; i++) {
			const double u = moe_rng_f64(draw, 3, (uint64_t)i), odd = moe_rng_f64(draw, 4, (uint64_t)i);
			x[i] = (float)(floor(u * steps) / steps - 0.5);
			if (draw % 5 == 0 && odd < 0.3)
				x[i] = odd < 0.1 ? NAN : -INFINITY;
		}
		moe_top_k(x, n, k, ids);
		for (int32_t c = 0; c < k; c++) {
			int32_t best = -1;
			for (int32_t i = 0; i < n; i++)
				if (!taken[i] && x[i] > -INFINITY && (best < 0 || x[i] > x[best]))
					best = i;
			wrong += ids[c] != best;
			if (best >= 0)
				taken[best] = true;
		}
		n_draws++;
	}
	is_i64(wrong, 0, "the k largest of %d draws", n_draws);
}

int main(void)
{
	char dir[4000];
	snprintf(dir, sizeof dir, "%s/tests/golden/routers", getenv("MOE_TOP") ? getenv("MOE_TOP") : ".");
	static const char *const files[] = { "cases.json", "cases-2026.json" };
	for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
		char path[4096];
		snprintf(path, sizeof path, "%s/%s", dir, files[f]);
		struct moe_err err = { 0 };
		json_t *cases = NULL;
		if (ok(moe_json_load(&cases, path, 1 << 20, &err) == MOE_OK, "%s %s", files[f], err.text)) {
			size_t i;
			json_t *c;
			json_array_foreach(cases, i, c) check_case(dir, c);
		}
		json_decref(cases);
	}
	worked_vector();
	edges();
	top_k();
	return done();
}
