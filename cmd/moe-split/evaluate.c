/* Plans judged on loads, side by side. */
#include <stdio.h>
#include <stdlib.h>

#include "moe-split/split.h"

static enum moe_status evaluate_one(const struct config *cfg, const char *path, const struct moe_load *load,
                                    struct moe_rows *rows, struct moe_err *verdict, struct moe_err *err)
{
	double *peaks = calloc((size_t)load->n_layers, sizeof *peaks);
	struct moe_plan plan = {0};
	struct moe_err inner = {0};
	struct moe_cost_sum v;
	char layer[16];
	int32_t n_added;
	enum moe_status status;

	if (!peaks)
		return moe_err_nomem(err, (size_t)load->n_layers * sizeof *peaks, "costs");
	status = moe_plan_read(&plan, path, err);
	if (status)
		goto out;
	status = moe_plan_complete(&plan, load->layers, load->n_layers, load->n_experts, &n_added, &inner);
	if (!status)
		status = moe_cost_plan(&plan, load, &v, peaks, &inner);
	if (status) {
		moe_err_set(err, status, "%s: %s", path, inner.text);
		goto out;
	}
	for (int32_t l = 0; l <= load->n_layers; l++) {
		snprintf(layer, sizeof layer, "%d", l < load->n_layers ? load->layers[l] : 0);
		moe_rows_str(rows, l < load->n_layers ? layer : "all");
		moe_rows_str(rows, path);
		moe_rows_f64(rows, l < load->n_layers ? peaks[l] : v.mean);
	}
	if (!verdict->status)
		verdict->status = split_check_imbalance(cfg, &v, path, verdict);
out:
	moe_plan_free(&plan);
	free(peaks);
	return status;
}

enum moe_status split_evaluate(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err)
{
	static const char *const columns[] = {"layer", "plan", "peak_to_average"};
	struct moe_gather gather = {0};
	struct moe_err verdict = {0};
	struct moe_buf text = {0};
	struct moe_rows rows;
	enum moe_status status = split_gather(ctx, false, &gather, err);

	moe_rows_begin(&rows, &text, ctx->common.json, columns, 3);
	for (int i = 0; i < cfg->evaluate.n && !status; i++)
		status = evaluate_one(cfg, cfg->evaluate.items[i], &gather.loads[0], &rows, &verdict, err);
	if (!status && !ctx->common.dry_run)
		status = split_write(ctx, &text, ctx->common.output, err);
	if (!status && verdict.status)
		status = moe_err_set(err, verdict.status, "%s", verdict.text);
	moe_buf_free(&text);
	moe_gather_free(&gather);
	return status;
}

