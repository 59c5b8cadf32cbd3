/* What a plan is worth: on traffic it was not made on, batch by batch, in bytes and in time. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "moe-split/split.h"

enum moe_status split_together(struct tool_ctx *ctx, const struct moe_gather *gather, int parity, bool by_part,
                               struct moe_together ***together, struct moe_err *err)
{
	const struct moe_traffic traffic = {ctx->operands, ctx->n_operands, parity, by_part, ctx->pool, ctx->watch};

	*together = NULL;
	if (gather->has_table)
		return moe_err_set(err, MOE_EUSAGE,
		                   "which experts are chosen together is in traces, not in a load table");
	if (!ctx->n_operands)
		return moe_err_set(err, MOE_EUSAGE,
		                   "pairs are counted in a second reading: name the traces, stdin cannot be");
	return moe_traffic_together(&traffic, &gather->loads[0], together, err);
}

struct split_bytes split_bytes_of(const struct config *cfg, const struct moe_fan *fans, int32_t n_layers)
{
	const double row = (double)cfg->hidden_size * cfg->element_bytes;
	const double back = (double)cfg->hidden_size * sizeof(float);
	struct split_bytes b = {0};

	for (int32_t l = 0; l < n_layers; l++) {
		const struct moe_fan *f = &fans[l];
		const double far = row * (double)f->dispatch[1] + back * (double)f->combine[1];

		b.n_tokens = (double)f->n_tokens > b.n_tokens ? (double)f->n_tokens : b.n_tokens;
		b.rank += far + row * (double)f->dispatch[0] + back * (double)f->combine[0];
		b.node += far;
		b.once += row * (double)f->n_far + back * (double)f->combine[1];
		b.n_ranks += (double)f->n_ranks;
		b.n_nodes += (double)f->n_nodes;
		b.n_rows += (double)f->n_tokens;
	}
	return b;
}

double split_step_seconds(const struct config *cfg, double busiest, int32_t n_ranks, const struct split_bytes *bytes)
{
	const double per_choice = 6.0 * (double)cfg->hidden_size * cfg->expert_width;
	const double part = bytes->n_tokens > 0 ? (double)split_step_tokens(cfg) / bytes->n_tokens : 0;

	return part * (busiest * per_choice / cfg->flops + bytes->node / (cfg->gbps * 1e9 * n_ranks));
}

int64_t split_step_tokens(const struct config *cfg) { return cfg->batch_tokens ? cfg->batch_tokens : 4096; }

enum moe_status split_interval(struct tool_ctx *ctx, const struct moe_traffic *traffic, const struct moe_plan *plan,
                               const struct moe_load *load, double *low, double *high, struct moe_err *err)
{
	double *means = calloc(MOE_RESAMPLES, sizeof *means);
	struct moe_bootstrap *bootstrap = NULL;
	struct moe_load again = *load;
	enum moe_status status = MOE_OK;

	if (!means)
		return moe_err_nomem(err, MOE_RESAMPLES * sizeof *means, "an interval");
	status = moe_traffic_resample(traffic, load, (uint64_t)ctx->common.seed, &bootstrap, err);
	for (int i = 0; i < MOE_RESAMPLES && !status; i++) {
		struct moe_cost_sum sum;

		again.counts = bootstrap->counts + (size_t)i * bootstrap->n_pairs;
		status = moe_cost_plan(plan, &again, &sum, NULL, err);
		means[i] = bootstrap->several ? sum.mean : (double)NAN;
	}
	if (!status)
		moe_bootstrap_interval(means, MOE_RESAMPLES, low, high);
	moe_bootstrap_free(bootstrap);
	free(means);
	return status;
}

/* Of all layers, one after the other. */
static double step_ms(const struct config *cfg, const struct moe_plan *plan, const struct moe_load *load,
                      const struct moe_fan *fans)
{
	double sum = 0;

	for (int32_t l = 0; l < load->n_layers; l++) {
		const struct split_bytes b = split_bytes_of(cfg, &fans[l], 1);
		struct moe_err unlikely = {0};
		struct moe_cost cost;

		/* The plan was judged on this load before. */
		if (!moe_cost_layer(plan, load, l, &cost, &unlikely))
			sum += split_step_seconds(cfg, cost.max_rank_load, plan->n_ranks, &b) * 1e3;
	}
	return sum;
}

/* What --ci, --hidden-size and --flops ask of a plan on this traffic, on stderr. */
static enum moe_status note_traffic(struct tool_ctx *ctx, const struct config *cfg, const struct moe_traffic *traffic,
                                    const struct moe_plan *plan, const struct moe_topology *topology,
                                    const struct moe_load *load, const char *what, struct moe_err *err)
{
	struct moe_fan *fans = NULL;
	double low, high;
	enum moe_status status = MOE_OK;

	if (cfg->ci) {
		status = split_interval(ctx, traffic, plan, load, &low, &high, err);
		if (!status && isnan(low))
			tool_note(ctx, "%s: a single sequence, of which there is no interval", what);
		else if (!status)
			tool_note(ctx, "%s: peak-to-average from %.4f to %.4f in 95 %% of resampled sequences", what,
			          low, high);
	}
	if (status || !cfg->hidden_size)
		return status;
	fans = calloc((size_t)load->n_layers + 1, sizeof *fans);
	if (!fans)
		return moe_err_nomem(err, (size_t)load->n_layers * sizeof *fans, "traffic");
	status = moe_traffic_cross(traffic, load, plan, topology, 1, fans, err);
	if (!status) {
		const struct split_bytes b = split_bytes_of(cfg, fans, load->n_layers);
		const double n = fmax(b.n_tokens, 1);

		tool_note(ctx,
		          "%s: a token sends %.0f bytes between ranks, %.0f of them between nodes (%.0f if no row "
		          "goes to a node twice); its experts are on %.4f ranks and %.4f nodes of a layer",
		          what, b.rank / n, b.node / n, b.once / n, b.n_ranks / fmax(b.n_rows, 1),
		          b.n_nodes / fmax(b.n_rows, 1));
		if (cfg->flops > 0)
			tool_note(ctx, "%s: a step of %lld tokens takes %.6g ms", what,
			          (long long)split_step_tokens(cfg), step_ms(cfg, plan, load, fans));
	}
	free(fans);
	return status;
}

static uint64_t total_of(const struct moe_load *load)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < (size_t)load->n_layers * (size_t)load->n_experts; i++)
		sum += load->counts[i];
	return sum;
}

static enum moe_status sum_of(const struct moe_load *a, const struct moe_load *b, struct moe_load *out,
                              struct moe_err *err)
{
	enum moe_status status = moe_load_init(out, a->layers, a->n_layers, a->n_experts, err);

	if (!status)
		status = moe_load_merge(out, a, err);
	if (!status)
		status = moe_load_merge(out, b, err);
	return status;
}

/* A second plan from one half of the traces, judged on the other. */
enum moe_status split_hold_out(struct tool_ctx *ctx, const struct config *cfg, const struct moe_planner *planner,
                               const struct moe_planner_opts *opts, const struct moe_gather *gather,
                               struct moe_err *err)
{
	struct moe_traffic odd = {ctx->operands, ctx->n_operands, 1, false, ctx->pool, ctx->watch};
	struct moe_planner_opts half = *opts;
	struct moe_together **together = NULL;
	const struct moe_load(*q)[2] = gather->quarters;
	struct moe_load made_on = {0}, judged_on = {0};
	const char *how = "sequences";
	struct moe_plan plan = {0};
	struct moe_cost_sum v;
	enum moe_status status;

	if (gather->has_table && (cfg->ci || cfg->hidden_size))
		return moe_err_set(err, MOE_EUSAGE, "--ci and --hidden-size read traces, not load tables");
	if (!ctx->n_operands && (cfg->ci || cfg->hidden_size))
		return moe_err_set(err, MOE_EUSAGE,
		                   "--ci and --hidden-size read traces twice: name them, stdin cannot be");
	if (gather->has_table) {
		tool_note(ctx, "held out: no figure, because a load table does not say which sequences it counts");
		return MOE_OK;
	}
	status = sum_of(&q[0][0], &q[1][0], &made_on, err);
	if (!status)
		status = sum_of(&q[0][1], &q[1][1], &judged_on, err);
	if (!status && (!total_of(&made_on) || !total_of(&judged_on))) {
		moe_load_free(&made_on);
		moe_load_free(&judged_on);
		how = "parts";
		odd.by_part = true;
		status = sum_of(&q[0][0], &q[0][1], &made_on, err);
		if (!status)
			status = sum_of(&q[1][0], &q[1][1], &judged_on, err);
	}
	if (!status && (!total_of(&made_on) || !total_of(&judged_on))) {
		tool_note(ctx, "held out: no figure, because there are no two sequences to tell apart");
		goto out;
	}
	if (!status && planner->together)
		status = split_together(ctx, gather, 0, odd.by_part, &together, err);
	half.together = (const struct moe_together *const *)together;
	if (!status)
		status = moe_planner_run(&plan, planner, &half, &made_on, ctx->pool, err);
	if (!status)
		status = moe_cost_plan(&plan, &judged_on, &v, NULL, err);
	if (!status)
		tool_note(ctx,
		          "held out: peak-to-average %.4f, worst %.4f in layer %d (a plan made on even %s, judged on "
		          "odd ones)", v.mean, v.worst, v.worst_layer, how);
	if (!status)
		status = note_traffic(ctx, cfg, &odd, &plan, opts->topology, &judged_on, "held out", err);
out:
	moe_traffic_free(together, made_on.n_layers);
	moe_plan_free(&plan);
	moe_load_free(&judged_on);
	moe_load_free(&made_on);
	return status;
}

enum moe_status split_note_batches(struct tool_ctx *ctx, const struct config *cfg, const struct moe_plan *plan,
                                   const struct moe_load *load, const char *what, char *const *paths, int n_paths,
                                   struct moe_err *err)
{
	struct moe_batch_cost *batches, all = {0};
	enum moe_status status = split_batches(ctx, cfg, load, plan, 1, paths, n_paths, &batches, err);

	if (!status && batches) {
		for (int32_t l = 0; l < load->n_layers; l++) {
			all.mean += batches[l].mean / load->n_layers;
			all.worst = batches[l].worst > all.worst ? batches[l].worst : all.worst;
		}
		tool_note(ctx, "%s, batches of %lld tokens: peak-to-average %.4f, worst %.4f", what,
		          (long long)cfg->batch_tokens, all.mean, all.worst);
	}
	free(batches);
	return status;
}

/* The plan that is printed, judged on other traffic. */
enum moe_status split_judge_test(struct tool_ctx *ctx, const struct config *cfg, const struct moe_plan *plan,
                                 const struct moe_topology *topology, const struct moe_load *load, struct moe_err *err)
{
	char *const *paths = (char *const *)(uintptr_t)cfg->test.items;   /* only read */
	const struct moe_traffic traffic = {paths, cfg->test.n, -1, false, ctx->pool, ctx->watch};
	struct moe_gather gather = {0};
	struct moe_cost_sum v;
	enum moe_status status = split_gather_files(ctx, paths, cfg->test.n, false, &gather, err);

	if (!status)
		status = moe_load_alike(load, &gather.loads[0], err);
	if (!status)
		status = moe_cost_plan(plan, &gather.loads[0], &v, NULL, err);
	if (!status)
		tool_note(ctx, "held out: peak-to-average %.4f, worst %.4f in layer %d; bound for these copies %.4f "
		          "(this plan, judged on --test)", v.mean, v.worst, v.worst_layer, v.bound);
	if (!status)
		status = split_note_batches(ctx, cfg, plan, load, "held out", paths, cfg->test.n, err);
	if (!status && gather.has_table && (cfg->ci || cfg->hidden_size))
		status = moe_err_set(err, MOE_EUSAGE, "--ci and --hidden-size read traces, not load tables");
	if (!status)
		status = note_traffic(ctx, cfg, &traffic, plan, topology, &gather.loads[0], "held out", err);
	moe_gather_free(&gather);
	return status;
}
