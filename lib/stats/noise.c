/* The largest of binomial counts. */
#include "stats/noise.h"

#include <math.h>
#include <stdbool.h>

enum { SIGMAS = 12, FEW = 60 };   /* how far from the mean counts are looked at: so many sigmas, and so many choices */
#define EXACT_MAX 1e4   /* above this standard deviation a normal distribution takes the place of the binomial */

/* Walks over the counts that the largest may be. At each, `below` is P(largest <= count). */
struct walk {
	double n, p, sigma, mean;
	double count, step, end;
	double mass, sum, total;   /* of a count = count, <= count, all: in a unit of their own */
	double below;
	int n_experts;
	bool exact;
};

static void update(struct walk *w)
{
	double part = w->exact ? w->sum / w->total
	                       : 0.5 * erfc((w->mean - w->count - 0.5 * w->step) / w->sigma / sqrt(2.0));

	w->below = pow(fmin(part, 1), w->n_experts);
}

/* From the probability of a count to that of the next. */
static void advance(struct walk *w)
{
	if (w->exact) {
		w->mass *= (w->n - w->count) / (w->count + 1) * w->p / (1 - w->p);
		w->sum += w->mass;
	}
	w->count += w->step;
}

static void begin(struct walk *w, double n_choices, int n_experts)
{
	*w = (struct walk){.n = n_choices, .p = 1.0 / n_experts, .n_experts = n_experts, .step = 1};
	w->mass = w->sum = 1;
	w->mean = w->n * w->p;
	w->sigma = sqrt(w->mean * (1 - w->p));
	w->exact = w->sigma <= EXACT_MAX;
	if (!w->exact)
		w->step = w->sigma / 1000;
	w->count = fmax(0, floor(w->mean - SIGMAS * w->sigma));
	w->end = fmin(w->n, w->mean + SIGMAS * w->sigma + FEW);
	/* Probabilities are multiples of that of the first count until their sum is known. */
	for (struct walk all = *w; w->exact; advance(&all)) {
		w->total = all.sum;
		if (all.count >= w->end)
			break;
	}
	update(w);
}

static void step(struct walk *w)
{
	advance(w);
	update(w);
}

static bool is_over(const struct walk *w) { return w->count >= w->end; }

double moe_noise_mean(double n_choices, int n_experts)
{
	struct walk w;
	double largest;

	if (!(n_choices > 0))
		return (double)NAN;
	if (n_experts == 1)
		return 0;
	begin(&w, n_choices, n_experts);
	/* E max = sum over m >= 0 of P(max > m). */
	largest = w.count;
	for (; !is_over(&w); step(&w))
		largest += (1 - w.below) * w.step;
	return (largest - w.mean) / w.mean;
}

double moe_noise_quantile(double n_choices, int n_experts, double q)
{
	struct walk w;

	if (!(n_choices > 0))
		return (double)NAN;
	if (n_experts == 1)
		return 0;
	begin(&w, n_choices, n_experts);
	while (!is_over(&w) && w.below < q)
		step(&w);
	return (w.count - w.mean) / w.mean;
}
