/* Plans judged on loads, side by side. */
#include <stdio.h>
#include <stdlib.h>

#include "moe-split/split.h"

/* Everything of one --evaluate. */
struct judged {
	struct moe_plan *plans;             /* [n] completed */
	struct moe_batch_cost *batches;     /* [n][n_layers], or NULL */
	int n;
};

static enum moe_status read_plan(struct moe_plan *plan, const char *path, const struct moe_load *load,
                                 struct moe_err *err)
{
	struct moe_err inner = {0};
	int32_t n_added;
	enum moe_status status = moe_plan_read(plan, path, err);

	if (status)
		return status;
	status = moe_plan_complete(plan, load->layers, load->n_layers, load->n_experts, &n_added, &inner);
	return status ? moe_err_set(err, status, "%s: %s", path, inner.text) : MOE_OK;
}

static void put_row(struct moe_rows *rows, const char *layer, const char *path, double peak, double bound,
                    const struct moe_batch_cost *batch)
{
	moe_rows_str(rows, layer);
	moe_rows_str(rows, path);
	moe_rows_f64(rows, peak);
	moe_rows_f64(rows, bound);
	if (batch) {
		moe_rows_f64(rows, batch->mean);
		moe_rows_f64(rows, batch->worst);
	}
}

/* Rows of one plan. batches: of this plan [n_layers], or NULL. */
static enum moe_status put_plan(const struct moe_plan *plan, const char *path, const struct moe_load *load,
                                const struct moe_batch_cost *batches, struct moe_rows *rows,
                                struct moe_cost_sum *sum, struct moe_err *err)
{
	struct moe_batch_cost all = {0};
	struct moe_err inner = {0};
	enum moe_status status = moe_cost_plan(plan, load, sum, NULL, &inner);

	for (int32_t l = 0; l < load->n_layers && !status; l++) {
		struct moe_cost cost;
		char layer[16];

		status = moe_cost_layer(plan, load, l, &cost, &inner);
		if (status)
			break;
		snprintf(layer, sizeof layer, "%d", load->layers[l]);
		put_row(rows, layer, path, cost.peak_to_average, cost.bound, batches ? &batches[l] : NULL);
		if (batches) {
			all.mean += batches[l].mean / load->n_layers;
			all.worst = batches[l].worst > all.worst ? batches[l].worst : all.worst;
		}
	}
	if (status)
		return moe_err_set(err, status, "%s: %s", path, inner.text);
	put_row(rows, "all", path, sum->mean, sum->bound, batches ? &all : NULL);
	return MOE_OK;
}

enum moe_status split_batches(struct tool_ctx *ctx, const struct config *cfg, const struct moe_load *load,
                              const struct moe_plan *plans, int n_plans, char *const *paths, int n_paths,
                              struct moe_batch_cost **batches, struct moe_err *err)
{
	struct moe_pool *pool;
	int64_t n_batches;
	enum moe_status status = tool_pool(ctx, &pool, err);

	*batches = NULL;
	if (status || !cfg->batch_tokens)
		return status;
	if (!n_paths)
		return moe_err_set(err, MOE_EUSAGE, "--batch-tokens reads traces twice: name them, stdin cannot be");
	*batches = calloc((size_t)n_plans * (size_t)load->n_layers + 1, sizeof **batches);
	if (!*batches)
		return moe_err_nomem(err, (size_t)n_plans * (size_t)load->n_layers * sizeof **batches, "batches");
	return moe_batches_judge(paths, n_paths, plans, n_plans, cfg->batch_tokens, load->n_layers, *batches,
	                         &n_batches, pool, ctx->watch, err);
}

static enum moe_status evaluate(struct tool_ctx *ctx, const struct config *cfg, const struct moe_load *load,
                                struct judged *j, struct moe_rows *rows, struct moe_err *verdict,
                                struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	j->plans = calloc((size_t)cfg->evaluate.n, sizeof *j->plans);
	if (!j->plans)
		return moe_err_nomem(err, (size_t)cfg->evaluate.n * sizeof *j->plans, "plans");
	for (; j->n < cfg->evaluate.n && !status; j->n++)
		status = read_plan(&j->plans[j->n], cfg->evaluate.items[j->n], load, err);
	if (!status)
		status = split_batches(ctx, cfg, load, j->plans, j->n, ctx->operands, ctx->n_operands, &j->batches,
		                       err);
	for (int i = 0; i < j->n && !status; i++) {
		struct moe_cost_sum sum;

		status = put_plan(&j->plans[i], cfg->evaluate.items[i], load,
		                  j->batches ? j->batches + (int64_t)i * load->n_layers : NULL, rows, &sum, err);
		if (!status && !verdict->status)
			verdict->status = split_check_imbalance(cfg, &sum, cfg->evaluate.items[i], verdict);
	}
	return status;
}

enum moe_status split_evaluate(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err)
{
	static const char *const columns[] = {"layer", "plan", "peak_to_average", "bound", "batch_mean", "batch_worst"};
	struct moe_gather gather = {0};
	struct moe_err verdict = {0};
	struct moe_buf text = {0};
	struct judged j = {0};
	struct moe_rows rows;
	enum moe_status status = split_gather(ctx, false, &gather, err);

	moe_rows_begin(&rows, &text, ctx->common.json, columns, cfg->batch_tokens ? 6 : 4);
	if (!status)
		status = evaluate(ctx, cfg, &gather.loads[0], &j, &rows, &verdict, err);
	if (!status && !ctx->common.dry_run)
		status = split_write(ctx, &text, ctx->common.output, err);
	if (!status && verdict.status)
		status = moe_err_set(err, verdict.status, "%s", verdict.text);
	for (int i = 0; i < j.n; i++)
		moe_plan_free(&j.plans[i]);
	free(j.plans);
	free(j.batches);
	moe_buf_free(&text);
	moe_gather_free(&gather);
	return status;
}
