/* Metrics: worked examples, what they hold for any counts, and the row `all`. */
#include "stats/stats.h"

#include "base/rng.h"
#include "../tap.h"

static double value_of(const char *name, const uint64_t *counts, int32_t n)
{
	struct moe_load load = {.n_layers = 1, .n_experts = n, .counts = (uint64_t *)(uintptr_t)counts};
	const struct moe_metric *metric = moe_metric_by_name(name);
	struct moe_err err = {0};
	double *values = NULL, value;

	if (!ok(metric && !moe_metric_values(metric, &load, NULL, &values, &err), "%s: values %s", name, err.text))
		return (double)NAN;
	value = values[0];
	free(values);
	return value;
}

/* 4 experts with 8 0 4 4: mean 4, shares 1/2 0 1/4 1/4. */
static void check_worked(void)
{
	static const uint64_t counts[] = {8, 0, 4, 4};
	static const struct {
		const char *name;
		double value;
	} wanted[] = {
		{"maxvio", 1},
		{"peak_to_average", 2},
		{"entropy", 1.5},
		{"entropy_norm", 0.75},
		{"dead", 1},
		{"count", 8},
		{"share", 0.5},
		{"gini", 0.375}, /* ordered differences 2 (8 + 4 + 4 + 4 + 4 + 0) = 48, over 2 x 4 x 16 */
		{"cv", 0.70710678118654752}, /* variance (16 + 16 + 0 + 0) / 4 = 8 */
		{"effective_experts", 2.8284271247461903},
	};

	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
		is_close(value_of(wanted[i].name, counts, 4), wanted[i].value, 1e-15, "%s of 8 0 4 4",
		         wanted[i].name);
}

/* The same with gates 4 0 1 3: their mean is 2, and their variance (4 + 4 + 1 + 1) / 4. */
static void check_gates(void)
{
	uint64_t counts[] = {8, 0, 4, 4};
	struct moe_gate_sum weights[4] = {{0}};
	struct moe_load load = {.n_layers = 1, .n_experts = 4, .counts = counts, .weights = weights};
	static const struct {
		const char *name;
		double value;
	} wanted[] = {{"loss_importance", 0.625}, {"loss_load", 0.5}, {"gate_mass", 0.5}};
	static const double gates[] = {4, 0, 1, 3};

	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < 3; i++) {
			const struct moe_metric *metric = moe_metric_by_name(wanted[i].name);
			struct moe_err err = {0};
			double *values = NULL;

			if (!ok(metric && !moe_metric_values(metric, &load, NULL, &values, &err), "%s %s",
			        wanted[i].name, err.text))
				continue;
			is_close(values[0], pass || i == 1 ? wanted[i].value : (double)NAN, 1e-15,
			         "%s, with gates or without", wanted[i].name);
			free(values);
		}
		for (int e = 0; e < 4; e++)
			moe_gate_sum_set(&weights[e], gates[e]);
	}
}

static void check_ends(void)
{
	static const uint64_t even[] = {5, 5, 5, 5, 5, 5, 5, 5}, one[] = {0, 0, 0, 0, 0, 0, 0, 9}, none[8] = {0};
	static const struct {
		const char *name;
		double even, one, none;
	} wanted[] = {
		{"maxvio", 0, 7, (double)NAN},
		{"peak_to_average", 1, 8, (double)NAN},
		{"cv", 0, 2.6457513110645906, (double)NAN},
		{"gini", 0, 0.875, (double)NAN},
		{"entropy", 3, 0, (double)NAN},
		{"entropy_norm", 1, 0, (double)NAN},
		{"effective_experts", 8, 1, (double)NAN},
		{"dead", 0, 7, 8},
		{"count", 5, 0, 0},
		{"share", 0.125, 0, (double)NAN},
	};

	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		is_close(value_of(wanted[i].name, even, 8), wanted[i].even, 0, "%s: even", wanted[i].name);
		is_close(value_of(wanted[i].name, one, 8), wanted[i].one, 1e-15, "%s: one takes all", wanted[i].name);
		is_close(value_of(wanted[i].name, none, 8), wanted[i].none, 0, "%s: nothing", wanted[i].name);
	}
	is_close(value_of("entropy_norm", one + 7, 1), (double)NAN, 0, "one expert has no evenness");
}

/* The definition of gini, as written; and scale does not matter. */
static void check_gini(void)
{
	uint64_t counts[300], tenfold[300];
	double pairs = 0, total = 0;

	for (int i = 0; i < 300; i++) {
		counts[i] = moe_rng_u64(1, 2, (uint64_t)i) % 10000;
		tenfold[i] = 10 * counts[i];
		total += (double)counts[i];
	}
	for (int i = 0; i < 300; i++)
		for (int j = 0; j < 300; j++)
			pairs += fabs((double)counts[i] - (double)counts[j]);
	is_close(value_of("gini", counts, 300), pairs / (2 * 300 * total), 1e-13,
	         "gini of 300 counts by its definition");
	for (size_t i = 0; moe_metric_at(i); i++)
		/* What chance does depends on how often it was tried. */
		if (moe_metric_at(i)->all == MOE_ALL_MEAN && !moe_metric_at(i)->stream && !moe_metric_at(i)->needs &&
		    strcmp(moe_metric_at(i)->name, "maxvio_noise") && strcmp(moe_metric_at(i)->name, "maxvio_bound"))
			is_close(value_of(moe_metric_at(i)->name, tenfold, 300),
			         value_of(moe_metric_at(i)->name, counts, 300), 1e-12, "%s does not depend on scale",
			         moe_metric_at(i)->name);
}

static void check_all(void)
{
	uint64_t counts[] = {1, 3, 0, 0, 2, 2}; /* three layers of two experts; the second is never asked */
	struct moe_load load = {.n_layers = 3, .n_experts = 2, .counts = counts};
	struct moe_err err = {0};
	double *values = NULL;

	if (ok(!moe_metric_values(moe_metric_by_name("maxvio"), &load, NULL, &values, &err), "maxvio")) {
		is_close(values[1], (double)NAN, 0, "a layer without load");
		is_close(values[3], 0.25, 0, "all: the mean over the layers that have a value");
		free(values);
	}
	if (ok(!moe_metric_values(moe_metric_by_name("dead"), &load, NULL, &values, &err), "dead")) {
		is_close(values[3], 2, 0, "all: a sum");
		free(values);
	}
	if (ok(!moe_metric_values(moe_metric_by_name("count"), &load, NULL, &values, &err), "count")) {
		is_close(values[6], 3, 0, "all of expert 0");
		is_close(values[7], 5, 0, "all of expert 1");
		free(values);
	}
}

static void check_table(void)
{
	const struct moe_metric *m, *before = NULL;
	struct moe_buf out = {0};
	int n = 0;

	for (size_t i = 0; (m = moe_metric_at(i)); i++, n++) {
		ok(!!m->layer + !!m->expert + !!m->rows == 1, "%s has one kind of value", m->name);
		ok(!m->rows == !m->columns && (!m->rows || m->all == MOE_ALL_POOL || m->all == MOE_ALL_NONE),
		   "%s: a table has columns, and sums up by merging or not at all", m->name);
		ok(!(m->needs & (MOE_NEEDS_LOGITS | MOE_NEEDS_MARGINS | MOE_NEEDS_GROUPS)) || m->stream,
		   "%s: what is not in counts comes through a stream", m->name);
		ok(!m->stream || (!m->brief && !m->is_imbalance), "%s: summaries are made of counts", m->name);
		ok(m->unit && m->help && m->formula && m->source, "%s says what it is", m->name);
		ok(moe_metric_by_name(m->name) == m, "%s is found", m->name);
	}
	ok(n >= 10, "ten metrics");
	ok(!moe_metric_by_name("nothing"), "an unknown name");
	for (n = 0; (m = moe_metric_brief(before)); before = m, n++)
		ok(m->layer && (!before || m->position > before->position), "summary: %s", m->brief);
	ok(n > 0, "the summary has columns");
	is_str(moe_metric_imbalance()->name, "peak_to_average", "what --max-imbalance limits");

	moe_stats_number(1e6, &out);
	moe_buf_addc(&out, ' ');
	moe_stats_number(-0.0, &out);
	moe_buf_addc(&out, ' ');
	moe_stats_number((double)NAN, &out);
	moe_buf_addc(&out, ' ');
	moe_stats_number(0.1, &out);
	is_str(out.p, "1000000 0 nan 0.1", "numbers as tables show them");
	moe_buf_free(&out);
}

int main(void)
{
	check_worked();
	check_gates();
	check_ends();
	check_gini();
	check_all();
	check_table();
	return done();
}
