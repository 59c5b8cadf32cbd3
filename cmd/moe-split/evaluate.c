/* Plans judged on loads, side by side. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "moe-split/split.h"

/* Everything of one --evaluate. */
struct judged {
	struct moe_plan *plans;             /* [n] completed */
	struct moe_topology *topologies;    /* [n] where bytes are asked for */
	struct moe_batch_cost *batches;     /* [n][n_layers], or NULL */
	struct moe_fan *fans;               /* [n][n_layers], or NULL */
	double (*interval)[2];              /* [n], or NULL */
	int n;
};

/* What stands in a row behind layer and plan. */
struct row {
	double peak, bound;
	const struct moe_batch_cost *batch;   /* NULL: not asked */
	const double *interval;               /* NULL: only known of all layers */
	const struct moe_fan *fans;           /* [n_fans]; NULL: not asked */
	int32_t n_fans;
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

/* The machine of a plan: that of --topology, else as many equal nodes as the plan names. */
static enum moe_status read_topology(const struct config *cfg, const struct moe_plan *plan, const char *path,
                                     struct moe_topology *topology, struct moe_err *err)
{
	enum moe_status status;

	if (!cfg->topology)
		return moe_topology_even(topology, plan->n_ranks, plan->n_nodes, err);
	status = moe_topology_read(topology, cfg->topology, err);
	if (!status && topology->n_ranks != plan->n_ranks)
		status = moe_err_set(err, MOE_EUSAGE, "%s has %d ranks, %s %d", cfg->topology, topology->n_ranks, path,
		                     plan->n_ranks);
	return status;
}

static void put_row(const struct config *cfg, struct moe_rows *rows, const char *layer, const char *path,
                    const struct row *r)
{
	moe_rows_str(rows, layer);
	moe_rows_str(rows, path);
	moe_rows_f64(rows, r->peak);
	moe_rows_f64(rows, r->bound);
	if (r->batch) {
		moe_rows_f64(rows, r->batch->mean);
		moe_rows_f64(rows, r->batch->worst);
	}
	if (cfg->ci) {
		moe_rows_f64(rows, r->interval ? r->interval[0] : NAN);
		moe_rows_f64(rows, r->interval ? r->interval[1] : NAN);
	}
	if (r->fans) {
		const struct split_bytes b = split_bytes_of(cfg, r->fans, r->n_fans);

		moe_rows_f64(rows, b.rank);
		moe_rows_f64(rows, b.node);
		moe_rows_f64(rows, b.once);
	}
}

/* Rows of one plan. */
static enum moe_status put_plan(const struct config *cfg, const struct judged *j, int i, const struct moe_load *load,
                                struct moe_rows *rows, struct moe_cost_sum *sum, struct moe_err *err)
{
	const struct moe_plan *plan = &j->plans[i];
	const char *path = cfg->evaluate.items[i];
	const struct moe_batch_cost *batches = j->batches ? j->batches + (int64_t)i * load->n_layers : NULL;
	const struct moe_fan *fans = j->fans ? j->fans + (int64_t)i * load->n_layers : NULL;
	struct moe_batch_cost all = {0};
	double total_ms = 0;
	struct moe_err inner = {0};
	enum moe_status status = moe_cost_plan(plan, load, sum, NULL, &inner);

	for (int32_t l = 0; l < load->n_layers && !status; l++) {
		struct moe_cost cost;
		char layer[16];

		status = moe_cost_layer(plan, load, l, &cost, &inner);
		if (status)
			break;
		snprintf(layer, sizeof layer, "%d", load->layers[l]);
		put_row(cfg, rows, layer, path,
		        &(struct row){cost.peak_to_average, cost.bound, batches ? &batches[l] : NULL, NULL,
		                      fans ? &fans[l] : NULL, 1});
		if (batches) {
			all.mean += batches[l].mean / load->n_layers;
			all.worst = batches[l].worst > all.worst ? batches[l].worst : all.worst;
		}
		if (cfg->flops > 0) {
			const struct split_bytes b = split_bytes_of(cfg, &fans[l], 1);

			moe_rows_f64(rows, split_step_seconds(cfg, cost.max_rank_load, plan->n_ranks, &b) * 1e3);
			total_ms += split_step_seconds(cfg, cost.max_rank_load, plan->n_ranks, &b) * 1e3;
		}
	}
	if (status)
		return moe_err_set(err, status, "%s: %s", path, inner.text);
	put_row(cfg, rows, "all", path,
	        &(struct row){sum->mean, sum->bound, batches ? &all : NULL, j->interval ? j->interval[i] : NULL, fans,
	                      load->n_layers});
	if (cfg->flops > 0)
		moe_rows_f64(rows, total_ms);
	return MOE_OK;
}

/* What bytes and intervals need is counted in a second reading. */
static enum moe_status judge_traffic(struct tool_ctx *ctx, const struct config *cfg, const struct moe_gather *gather,
                                     struct judged *j, struct moe_err *err)
{
	const struct moe_traffic traffic = {ctx->operands, ctx->n_operands, -1, false, ctx->pool, ctx->watch};
	const struct moe_load *load = &gather->loads[0];
	const size_t n = (size_t)j->n;
	enum moe_status status = MOE_OK;

	if (!cfg->ci && !cfg->hidden_size)
		return MOE_OK;
	if (gather->has_table)
		return moe_err_set(err, MOE_EUSAGE, "--ci and --hidden-size read traces, not load tables");
	if (!ctx->n_operands)
		return moe_err_set(err, MOE_EUSAGE,
		                   "--ci and --hidden-size read traces twice: name them, stdin cannot be");
	j->interval = cfg->ci ? calloc(n, sizeof *j->interval) : NULL;
	j->topologies = calloc(n, sizeof *j->topologies);
	j->fans = cfg->hidden_size ? calloc(n * (size_t)load->n_layers + 1, sizeof *j->fans) : NULL;
	if ((cfg->ci && !j->interval) || (cfg->hidden_size && !j->fans) || !j->topologies)
		return moe_err_nomem(err, n * (size_t)load->n_layers * sizeof *j->fans, "traffic");
	for (int i = 0; i < j->n && cfg->ci && !status; i++)
		status = split_interval(ctx, &traffic, &j->plans[i], load, &j->interval[i][0], &j->interval[i][1], err);
	for (int i = 0; i < j->n && cfg->hidden_size && !status; i++)
		status = read_topology(cfg, &j->plans[i], cfg->evaluate.items[i], &j->topologies[i], err);
	if (!status && cfg->hidden_size)
		status = moe_traffic_cross(&traffic, load, j->plans, j->topologies, j->n, j->fans, err);
	return status;
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

static enum moe_status evaluate(struct tool_ctx *ctx, const struct config *cfg, const struct moe_gather *gather,
                                struct judged *j, struct moe_rows *rows, struct moe_err *verdict,
                                struct moe_err *err)
{
	const struct moe_load *load = &gather->loads[0];
	enum moe_status status = MOE_OK;

	j->plans = calloc((size_t)cfg->evaluate.n, sizeof *j->plans);
	if (!j->plans)
		return moe_err_nomem(err, (size_t)cfg->evaluate.n * sizeof *j->plans, "plans");
	for (; j->n < cfg->evaluate.n && !status; j->n++)
		status = read_plan(&j->plans[j->n], cfg->evaluate.items[j->n], load, err);
	if (!status)
		status = split_batches(ctx, cfg, load, j->plans, j->n, ctx->operands, ctx->n_operands, &j->batches,
		                       err);
	if (!status)
		status = judge_traffic(ctx, cfg, gather, j, err);
	for (int i = 0; i < j->n && !status; i++) {
		struct moe_cost_sum sum;

		status = put_plan(cfg, j, i, load, rows, &sum, err);
		if (!status && !verdict->status)
			verdict->status = split_check_imbalance(cfg, &sum, cfg->evaluate.items[i], verdict);
	}
	return status;
}

enum moe_status split_evaluate(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err)
{
	const char *columns[16] = {"layer", "plan", "peak_to_average", "bound"};
	int n_columns = 4;
	struct moe_gather gather = {0};
	struct moe_err verdict = {0};
	struct moe_buf text = {0};
	struct judged j = {0};
	struct moe_rows rows;
	enum moe_status status = split_gather(ctx, false, &gather, err);

	if (cfg->batch_tokens) {
		columns[n_columns++] = "batch_mean";
		columns[n_columns++] = "batch_worst";
	}
	if (cfg->ci) {
		columns[n_columns++] = "peak_to_average_lo";
		columns[n_columns++] = "peak_to_average_hi";
	}
	if (cfg->hidden_size) {
		columns[n_columns++] = "rank_bytes";
		columns[n_columns++] = "node_bytes";
		columns[n_columns++] = "node_bytes_once";
	}
	if (cfg->flops > 0)
		columns[n_columns++] = "step_ms";
	moe_rows_begin(&rows, &text, ctx->common.json, columns, n_columns);
	if (!status)
		status = evaluate(ctx, cfg, &gather, &j, &rows, &verdict, err);
	if (!status && !ctx->common.dry_run)
		status = split_write(ctx, &text, ctx->common.output, err);
	if (!status && verdict.status)
		status = moe_err_set(err, verdict.status, "%s", verdict.text);
	for (int i = 0; i < j.n; i++) {
		moe_plan_free(&j.plans[i]);
		if (j.topologies)
			moe_topology_free(&j.topologies[i]);
	}
	free(j.plans);
	free(j.topologies);
	free(j.batches);
	free(j.fans);
	free(j.interval);
	moe_buf_free(&text);
	moe_gather_free(&gather);
	return status;
}
