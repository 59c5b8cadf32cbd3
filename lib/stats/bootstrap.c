/* Resampling sequences. */
#include "stats/bootstrap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

#define STATES_MAX ((size_t)4 << 30)   /* bytes of the states of all resamples */
#define OPEN_BYTES ((size_t)256 << 20)
enum { MIN_OPEN = 8 };

static enum moe_status new_feeds(struct moe_bootstrap *b, struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	b->feeds = calloc(MOE_RESAMPLES, sizeof *b->feeds);
	if (!b->feeds)
		return moe_err_nomem(err, MOE_RESAMPLES * sizeof *b->feeds, "resamples");
	for (int i = 0; i < MOE_RESAMPLES && !status; i++) {
		status = moe_feed_new(&b->feeds[i], b->feeder, err);
		if (!status && moe_feed_bytes(b->feeds[i]) > STATES_MAX / MOE_RESAMPLES)
			status = moe_err_set(err, MOE_EUSAGE,
			                     "--ci: %d resamples of what these metrics keep are %.3g GiB, more than "
			                     "%zu; ask for fewer, or for fewer layers", MOE_RESAMPLES,
			                     (double)moe_feed_bytes(b->feeds[i]) * MOE_RESAMPLES * 0x1p-30,
			                     STATES_MAX >> 30);
	}
	return status;
}

enum moe_status moe_bootstrap_new(struct moe_bootstrap **out, const struct moe_bootstrap_opts *opts,
                                  struct moe_err *err)
{
	struct moe_bootstrap *b = calloc(1, sizeof *b);
	enum moe_status status = MOE_OK;

	*out = NULL;
	if (!b)
		return moe_err_nomem(err, sizeof *b, "resamples");
	b->seed = opts->seed;
	b->first_part = -1;
	b->n_layers = opts->n_layers;
	b->n_experts = opts->n_experts;
	b->n_pairs = (size_t)opts->n_layers * (size_t)opts->n_experts;
	b->counts = calloc(MOE_RESAMPLES, b->n_pairs * sizeof *b->counts);
	b->run = calloc(b->n_pairs, sizeof *b->run);
	if (opts->gates) {
		b->gates = calloc(MOE_RESAMPLES, b->n_pairs * sizeof *b->gates);
		b->run_gates = calloc(b->n_pairs, sizeof *b->run_gates);
	}
	if (!b->counts || !b->run || (opts->gates && (!b->gates || !b->run_gates)))
		status = moe_err_nomem(err, (MOE_RESAMPLES + 1) * b->n_pairs * sizeof *b->run, "resamples");
	b->feeder = opts->feeder;
	if (!status && b->feeder)
		status = new_feeds(b, err);
	if (status)
		moe_bootstrap_free(b);
	else
		*out = b;
	return status;
}

/* Poisson with mean 1, by inversion. */
static uint64_t weight_of(const struct moe_bootstrap *b, int resample, int64_t part, int64_t seq)
{
	uint64_t stream = moe_rng_u64(b->seed, (uint64_t)resample, (uint64_t)part);
	double u = moe_rng_f64(b->seed, stream, (uint64_t)seq), mass = exp(-1.0), sum = mass;
	uint64_t n = 0;

	while (u >= sum && n < 20) {
		mass /= (double)++n;
		sum += mass;
	}
	return n;
}

/* The sequence is over: it goes into the resamples as often as it counts there. */
static enum moe_status close_sequence(struct moe_bootstrap *b, struct moe_bootstrap_open *open, struct moe_err *err)
{
	enum moe_status status = moe_feed_end(open->feed, err);

	for (int i = 0; i < MOE_RESAMPLES && !status; i++)
		for (uint64_t w = weight_of(b, i, b->part, open->seq); w > 0 && !status; w--)
			status = moe_feed_merge(b->feeds[i], open->feed, err);
	moe_feed_free(open->feed);
	open->feed = NULL;
	return status;
}

static enum moe_status close_part(struct moe_bootstrap *b, struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	while (b->n_open > 0 && !status)
		status = close_sequence(b, &b->open[--b->n_open], err);
	moe_gone_clear(&b->gone);
	return status;
}

/* The place of a new sequence: one more, or that of the one that waited longest. */
static enum moe_status make_room(struct moe_bootstrap *b, size_t *index, struct moe_err *err)
{
	const size_t fit = OPEN_BYTES / (moe_feed_bytes(b->feeds[0]) + 256), max = fit > MIN_OPEN ? fit : MIN_OPEN;
	enum moe_status status;
	size_t oldest = 0;

	if (b->n_open == b->cap_open && b->cap_open < max) {
		const size_t cap = b->cap_open ? 2 * b->cap_open : MIN_OPEN;
		struct moe_bootstrap_open *grown = reallocarray(b->open, cap, sizeof *grown);

		if (!grown)
			return moe_err_nomem(err, cap * sizeof *grown, "open sequences");
		b->open = grown;
		b->cap_open = cap;
	}
	if (b->n_open < b->cap_open) {
		*index = b->n_open;
		return MOE_OK;
	}
	for (size_t i = 1; i < b->n_open; i++)
		if (b->open[i].tick < b->open[oldest].tick)
			oldest = i;
	status = close_sequence(b, &b->open[oldest], err);
	/* Where nothing of a sequence is kept, it may go on as if it were another. */
	if (!status && moe_feed_opens(b->feeds[0]))
		status = moe_gone_add(&b->gone, b->open[oldest].seq, err);
	b->open[oldest] = b->open[--b->n_open];
	*index = b->n_open;
	return status;
}

static enum moe_status feed_run(struct moe_bootstrap *b, const struct moe_trace_run *run,
                                const struct moe_routing *against, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	size_t i = 0;

	while (i < b->n_open && b->open[i].seq != run->seq)
		i++;
	if (i == b->n_open) {
		if (moe_gone_has(&b->gone, run->seq))
			return moe_err_set(err, MOE_EFORMAT,
			                   "sequence %jd goes on after many others: too many sequences alternate for "
			                   "--ci, which keeps the sums of each", run->seq);
		status = make_room(b, &i, err);
		if (!status)
			status = moe_feed_new(&b->open[i].feed, b->feeder, err);
		if (status)
			return status;
		b->open[i].seq = run->seq;
		b->n_open++;
	}
	b->open[i].tick = ++b->tick;
	return moe_feed_add(b->open[i].feed, b->part, run, against, err);
}

/* What the choices of the run come to. */
static void sum_run(struct moe_bootstrap *b, const struct moe_trace_run *run)
{
	memset(b->run, 0, b->n_pairs * sizeof *b->run);
	if (b->gates)
		memset(b->run_gates, 0, b->n_pairs * sizeof *b->run_gates);
	for (int32_t l = 0; l < b->n_layers; l++) {
		const struct moe_routing *r = &run->layers[l];

		for (int64_t i = 0; i < r->n_tokens * r->top_k; i++) {
			if (r->ids[i] < 0)
				continue;
			const size_t pair = (size_t)l * (size_t)b->n_experts + (size_t)r->ids[i];

			b->run[pair]++;
			if (b->gates && r->weights)
				moe_gate_sum_add(&b->run_gates[pair], r->weights[i]);
		}
	}
}

enum moe_status moe_bootstrap_add(struct moe_bootstrap *b, int64_t part, const struct moe_trace_run *run,
                                  const struct moe_routing *against, struct moe_err *err)
{
	enum moe_status status = part == b->part ? MOE_OK : close_part(b, err);

	if (status)
		return status;
	b->part = part;
	if (b->first_part < 0) {
		b->first_part = part;
		b->first_seq = run->seq;
	}
	b->several |= part != b->first_part || run->seq != b->first_seq;
	sum_run(b, run);
	for (int i = 0; i < MOE_RESAMPLES; i++) {
		const uint64_t weight = weight_of(b, i, part, run->seq);
		uint64_t *counts = b->counts + (size_t)i * b->n_pairs;

		for (size_t p = 0; p < b->n_pairs && weight > 0; p++)
			counts[p] += weight * b->run[p];
		for (uint64_t w = 0; w < weight && b->gates; w++)
			for (size_t p = 0; p < b->n_pairs; p++)
				moe_gate_sum_merge(&b->gates[(size_t)i * b->n_pairs + p], &b->run_gates[p]);
	}
	return b->feeder ? feed_run(b, run, against, err) : MOE_OK;
}

enum moe_status moe_bootstrap_end(struct moe_bootstrap *b, struct moe_err *err) { return close_part(b, err); }

void moe_bootstrap_keep(struct moe_bootstrap *b, const bool *marks)
{
	const size_t n = (size_t)b->n_experts;
	size_t to = 0;

	for (size_t i = 0; i < MOE_RESAMPLES; i++)
		for (size_t l = 0; l < (size_t)b->n_layers; l++)
			if (marks[l]) {
				memmove(b->counts + to, b->counts + i * b->n_pairs + l * n, n * sizeof *b->counts);
				if (b->gates)
					memmove(b->gates + to, b->gates + i * b->n_pairs + l * n, n * sizeof *b->gates);
				to += n;
			}
	b->n_pairs = to / MOE_RESAMPLES;
	b->n_layers = (int32_t)(b->n_pairs / n);
}

void moe_bootstrap_free(struct moe_bootstrap *b)
{
	if (!b)
		return;
	for (size_t i = 0; i < b->n_open; i++)
		moe_feed_free(b->open[i].feed);
	for (int i = 0; i < MOE_RESAMPLES && b->feeds; i++)
		moe_feed_free(b->feeds[i]);
	free(b->feeds);
	free(b->open);
	moe_gone_free(&b->gone);
	free(b->counts);
	free(b->run);
	free(b->gates);
	free(b->run_gates);
	free(b);
}

static int rising(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double quantile(const double *sorted, int n, double q)
{
	double at = q * (n - 1), below = floor(at);
	int i = (int)below;

	return i + 1 < n ? sorted[i] + (at - below) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

void moe_bootstrap_interval(double *values, int n, double *low, double *high)
{
	int n_known = 0;

	for (int i = 0; i < n; i++)
		if (!isnan(values[i]))
			values[n_known++] = values[i];
	qsort(values, (size_t)n_known, sizeof *values, rising);
	*low = n_known ? quantile(values, n_known, 0.025) : (double)NAN;
	*high = n_known ? quantile(values, n_known, 0.975) : (double)NAN;
}

void moe_bootstrap_correct(const double *values, int n, double value, double *low, double *high)
{
	double sum = 0;
	int n_known = 0;

	for (int i = 0; i < n; i++)
		if (!isnan(values[i])) {
			sum += values[i] - value;
			n_known++;
		}
	if (n_known == 0 || isnan(sum))
		return;
	*low = fmax(*low - 2 * sum / n_known, 0);
	*high = fmax(*high - 2 * sum / n_known, 0);
}
