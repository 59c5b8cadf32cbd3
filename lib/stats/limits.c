/* Verdicts: metrics of layers that exceed what they may be. */
#include <stdlib.h>
#include <string.h>

#include "stats/report.h"

enum moe_status moe_stats_limits_add(struct moe_stats_limits *limits, const char *text, struct moe_err *err)
{
	struct moe_str rest = moe_str_of(text), item;

	while (moe_str_next(&rest, ',', &item)) {
		const char *equals = memchr(item.p, '=', item.n);
		const struct moe_metric *metric = NULL;
		double limit;

		if (!equals || !moe_parse_f64((struct moe_str){equals + 1, item.n - (size_t)(equals + 1 - item.p)},
		                              &limit))
			return moe_err_set(err, MOE_EUSAGE, "--max: expected METRIC=NUMBER, found '%.*s'",
			                   (int)(item.n < 80 ? item.n : 80), item.p);
		item.n = (size_t)(equals - item.p);
		for (size_t i = 0; (metric = moe_metric_at(i)) && !moe_str_eq(item, metric->name);)
			i++;
		if (!metric || !metric->layer)
			return moe_err_set(err, MOE_EUSAGE,
			                   "--max: expected a metric with a number per layer, found '%.*s'; --list "
			                   "shows which there are", (int)(item.n < 80 ? item.n : 80), item.p);
		if (limits->n == MOE_STATS_LIMITS)
			return moe_err_set(err, MOE_EUSAGE, "--max: more than %d limits", MOE_STATS_LIMITS);
		limits->metrics[limits->n] = metric;
		limits->limits[limits->n++] = limit;
	}
	return limits->n ? MOE_OK : moe_err_set(err, MOE_EUSAGE, "--max is empty: expected METRIC=NUMBER");
}

static enum moe_status check(const struct moe_stats_report *report, const struct moe_metric *metric, double limit,
                             struct moe_err *err)
{
	const struct moe_gather *gather = report->gather;
	double worst = 0;
	size_t worst_source = 0;
	int32_t worst_layer = 0, n_over = 0;

	for (size_t s = 0; s < gather->n; s++) {
		const struct moe_load *load = &gather->loads[s];
		double *values;
		enum moe_status status =
			moe_metric_values(metric, load, metric->stream ? gather->feeds[s] : NULL, &values, err);

		if (status)
			return status;
		for (int32_t l = 0; l < load->n_layers; l++) {
			if (!(values[l] > limit))
				continue;
			if (n_over++ == 0 || values[l] > worst) {
				worst = values[l];
				worst_layer = load->layers[l];
				worst_source = s;
			}
		}
		free(values);
	}
	if (n_over == 0)
		return MOE_OK;
	if (moe_by_label(report->by))
		return moe_err_set(err, MOE_ECHECK, "%s '%.400s', layer %d: %s is %.4g, more than %g (%d %s too high)",
		                   moe_by_label(report->by), gather->sources[worst_source], worst_layer, metric->name,
		                   worst, limit, n_over, n_over == 1 ? "layer is" : "layers are");
	return moe_err_set(err, MOE_ECHECK, "layer %d: %s is %.4g, more than %g (%d of %d layers too high)",
	                   worst_layer, metric->name, worst, limit, n_over, gather->loads[0].n_layers);
}

enum moe_status moe_stats_report_limits(const struct moe_stats_report *report, const struct moe_stats_limits *limits,
                                        struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	for (int i = 0; i < limits->n && !status; i++)
		status = check(report, limits->metrics[i], limits->limits[i], err);
	return status;
}
