/* Drawing a token: which ones stay, how often each comes, and what a draw depends on. */
#include "forward/sample.h"

#include "../tap.h"

enum { N = 6, N_DRAWS = 20000 };

/* Probabilities of ids 0 .. 5 at temp 1: two are equal, and the largest is not the first. */
static const double probs[N] = { .05, .4, .2, .2, .1, .05 };

static void logits_of(float *logits)
{
	for (int i = 0; i < N; i++)
		logits[i] = (float)log(probs[i]) + 3;
}

/* Draws many times; `want` are the shares expected. */
static void check(struct moe_sampling s, const double *want, const char *what)
{
	float logits[N];
	int n_drawn[N] = { 0 };
	double sum = 0, chi = 0;
	struct moe_err err = { 0 };
	bool good = true;

	logits_of(logits);
	s.seed = 5;
	for (uint64_t k = 0; k < N_DRAWS && good; k++) {
		int32_t id = -1;
		good = !moe_sample(&s, logits, N, k / 100, k % 100, &id, &err) && id >= 0 && id < N;
		if (good)
			n_drawn[id]++;
	}
	for (int i = 0; i < N; i++)
		sum += want[i];
	for (int i = 0; i < N; i++) {
		const double expected = N_DRAWS * want[i] / sum;
		good = good && (want[i] > 0 || n_drawn[i] == 0);
		chi += want[i] > 0 ? pow(n_drawn[i] - expected, 2) / expected : 0;
	}
	/* The 1 - 1e-6 quantile of chi-squared with 5 degrees of freedom is 35.9; the draws are always the same. */
	if (!ok(good && chi < 36, "%s", what))
		printf("# chi-squared %.1f, drawn %d %d %d %d %d %d %s\n", chi, n_drawn[0], n_drawn[1], n_drawn[2],
		       n_drawn[3], n_drawn[4], n_drawn[5], err.text);
}

static void test_cuts(void)
{
	const struct moe_sampling all = { .temp = 1, .top_p = 1 };
	struct moe_sampling s = all;

	check(s, probs, "without cuts ids come as often as their probabilities say");
	s.temp = 2;
	check(s, (double[N]){ sqrt(.05), sqrt(.4), sqrt(.2), sqrt(.2), sqrt(.1), sqrt(.05) }, "temp divides logits");
	s = all;
	s.top_k = 2;
	check(s, (double[N]){ 0, .4, .2 }, "top_k keeps the largest, of equals the lower id");
	s.top_k = N + 1;
	check(s, probs, "top_k above the number of ids keeps all");
	s = all;
	s.top_p = .55;
	check(s, (double[N]){ 0, .4, .2 }, "top_p keeps the fewest that reach it");
	s.top_p = .65;
	check(s, (double[N]){ 0, .4, .2, .2 }, "and one more where they do not");
	s = all;
	s.min_p = .45;
	check(s, (double[N]){ 0, .4, .2, .2 }, "min_p is a share of the largest probability");
	s.min_p = 1;
	check(s, (double[N]){ 0, .4 }, "min_p 1 keeps the largest");
}

static void test_order(void)
{
	struct moe_sampling s = { .temp = 1, .top_p = .55, .top_k = 3 };

	/* .4 of the .8 that stay is .5: top_p before top_k would be the same here, .45 not. */
	check(s, (double[N]){ 0, .4, .2 }, "top_p is a share of what top_k left");
	s.top_p = .45;
	check(s, (double[N]){ 0, .4 }, "by which fewer may do");
	s = (struct moe_sampling){ .temp = 1, .top_p = .45, .min_p = .45 };
	check(s, (double[N]){ 0, .4 }, "top_p is a share of what min_p left");
	s = (struct moe_sampling){ .temp = .5, .top_p = .6, .min_p = 0 };
	check(s, (double[N]){ 0, .4 }, "top_p is taken after temp");
}

static void test_draws(void)
{
	const struct moe_sampling greedy = { .top_p = 1 }, s = { .temp = 1, .top_p = 1, .seed = 5 };
	struct moe_sampling other = s;
	float logits[N];
	int32_t a, b, c, id = -1;
	int n_same = 0, n_seed = 0, n_sequence = 0;
	struct moe_err err = { 0 };

	logits_of(logits);
	other.seed = 6;
	for (uint64_t k = 0; k < 200; k++) {
		if (moe_sample(&s, logits, N, 3, k, &a, &err) || moe_sample(&s, logits, N, 3, k, &b, &err))
			break;
		n_same += a == b;
		if (moe_sample(&other, logits, N, 3, k, &b, &err) || moe_sample(&s, logits, N, 4, k, &c, &err))
			break;
		n_seed += a == b;
		n_sequence += a == c;
	}
	ok(n_same == 200, "the same seed, sequence and position draw the same %s", err.text);
	ok(n_seed < 120 && n_sequence < 120, "another seed or sequence does not: %d, %d of 200", n_seed, n_sequence);
	logits[4] = logits[1];
	ok(!moe_sample(&greedy, logits, N, 0, 0, &id, &err) && id == 1, "temp 0 takes the lower of two equal logits");
	logits[2] = -INFINITY;
	ok(!moe_sample(&s, logits, N, 0, 0, &id, &err) && id != 2, "a logit may be minus infinity");
	logits[2] = NAN;
	ok(moe_sample(&s, logits, N, 0, 7, &id, &err) && strstr(err.text, "position 7"), "a NaN is an error: %s",
	   err.text);
}

int main(void)
{
	test_cuts();
	test_order();
	test_draws();
	return done();
}
