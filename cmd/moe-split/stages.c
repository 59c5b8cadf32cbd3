/* --stages: layers onto the stages of a pipeline. */
#include <math.h>
#include <stdlib.h>

#include "moe-split/split.h"
#include "placement/stages.h"

/* A backward pass costs two forward ones, half of it for weights: matrices are multiplied once forwards, and once each
 * for the inputs and the weights. */
static void note_bubbles(struct tool_ctx *ctx, int32_t n_stages, int32_t n_batches, double forward)
{
	const double b = 2 * forward, w = forward;

	for (size_t i = 0; moe_schedule_at(i); i++) {
		const struct moe_schedule *s = moe_schedule_at(i);
		const double idle = s->bubble(n_stages, forward, b, w), busy = n_batches * (forward + b);

		if (s->even && n_stages % 2)
			tool_note(ctx, "%s: not with an odd number of stages", s->name);
		else
			tool_note(ctx, "%s: bubble %s = %.6g, %.2f %% of a step of %d micro-batches", s->name,
			          s->formula, idle, busy + idle > 0 ? 100 * idle / (busy + idle) : 0, n_batches);
	}
}

static void put_stages(const struct moe_costs *costs, const int32_t *begin, int32_t n_stages, double total,
                       struct moe_rows *rows, double *most)
{
	for (int32_t s = 0; s < n_stages; s++) {
		double sum = 0;

		for (int32_t i = begin[s]; i < begin[s + 1]; i++)
			sum += costs->costs[i];
		moe_rows_u64(rows, (uint64_t)s);
		moe_rows_u64(rows, (uint64_t)costs->layers[begin[s]]);
		moe_rows_u64(rows, (uint64_t)costs->layers[begin[s + 1] - 1]);
		moe_rows_f64(rows, sum);
		moe_rows_f64(rows, total > 0 ? sum / total : 1.0 / n_stages);
		*most = fmax(*most, sum);
	}
}

enum moe_status split_stages(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err)
{
	static const char *const columns[] = {"stage", "first_layer", "last_layer", "cost", "share"};
	const int32_t n_batches = cfg->micro_batches ? cfg->micro_batches : 2 * cfg->stages;
	struct moe_costs costs = {0};
	struct moe_buf text = {0};
	struct moe_rows rows;
	double total = 0, most = 0;
	int32_t *begin = NULL;
	enum moe_status status;

	if (ctx->n_operands != 1)
		return moe_err_set(err, MOE_EUSAGE, "--stages reads one table of costs, found %d", ctx->n_operands);
	status = moe_costs_read(&costs, ctx->operands[0], cfg->cost ? cfg->cost : "cost", err);
	if (status)
		return status;
	begin = calloc((size_t)cfg->stages + 1, sizeof *begin);
	if (!begin)
		status = moe_err_nomem(err, (size_t)cfg->stages * sizeof *begin, "stages");
	else
		status = moe_stages_cut(&costs, cfg->stages, begin, err);
	if (!status) {
		for (int32_t i = 0; i < costs.n; i++)
			total += costs.costs[i];
		moe_rows_begin(&rows, &text, ctx->common.json, columns, 5);
		put_stages(&costs, begin, cfg->stages, total, &rows, &most);
		tool_note(ctx, "%d layers on %d stages: the costliest takes %.6g, %.4f of the mean", costs.n,
		          cfg->stages, most, total > 0 ? most * cfg->stages / total : 1);
		note_bubbles(ctx, cfg->stages, n_batches, most);
		if (!ctx->common.dry_run)
			status = split_write(ctx, &text, ctx->common.output, err);
	}
	free(begin);
	moe_buf_free(&text);
	moe_costs_free(&costs);
	return status;
}
