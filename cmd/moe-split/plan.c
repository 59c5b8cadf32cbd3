/* Loads in, a plan out, with what it is worth on this traffic and on traffic it was not made on. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "moe-split/split.h"

enum moe_status split_write(struct tool_ctx *ctx, const struct moe_buf *text, const char *path,
                                  struct moe_err *err)
{
	return moe_out_text(text, path ? path : "-", tool_out_flags(ctx), ctx->watch, err);
}

enum moe_status split_gather_files(struct tool_ctx *ctx, char *const *paths, int n_paths, bool quarters,
                                   struct moe_gather *gather, struct moe_err *err)
{
	static char only_stdin_name[] = "-";
	static char *const only_stdin[] = {only_stdin_name, NULL};
	struct moe_gather_opts opts = {.quarters = quarters, .watch = ctx->watch};
	enum moe_status status;

	if (!n_paths && isatty(STDIN_FILENO))
		return moe_err_set(err, MOE_EUSAGE, "no trace and no load table is named");
	status = tool_pool(ctx, &opts.pool, err);
	if (status)
		return status;
	return moe_gather_files(gather, n_paths ? paths : only_stdin, n_paths ? n_paths : 1, &opts, err);
}

enum moe_status split_gather(struct tool_ctx *ctx, bool quarters, struct moe_gather *gather, struct moe_err *err)
{
	return split_gather_files(ctx, ctx->operands, ctx->n_operands, quarters, gather, err);
}

enum moe_status split_check_imbalance(const struct config *cfg, const struct moe_cost_sum *v, const char *plan,
                                       struct moe_err *err)
{
	if (cfg->max_imbalance > 0 && v->worst > cfg->max_imbalance)
		return moe_err_set(err, MOE_ECHECK, "%s: peak-to-average %.4f in layer %d exceeds %g", plan, v->worst,
		                   v->worst_layer, cfg->max_imbalance);
	return MOE_OK;
}

static enum moe_status make_topology(const struct config *cfg, struct moe_topology *topology, struct moe_err *err)
{
	enum moe_status status;

	if (!cfg->topology)
		return moe_topology_even(topology, cfg->ranks, cfg->nodes ? cfg->nodes : 1, err);
	status = moe_topology_read(topology, cfg->topology, err);
	if (status)
		return status;
	if ((cfg->ranks && cfg->ranks != topology->n_ranks) || (cfg->nodes && cfg->nodes != topology->n_nodes)) {
		status = moe_err_set(err, MOE_EUSAGE,
		                     "%s has %d ranks on %d nodes, which is not what -n or --nodes say", cfg->topology,
		                     topology->n_ranks, topology->n_nodes);
		moe_topology_free(topology);
	}
	return status;
}

static enum moe_status choose_slots(const struct config *cfg, const struct moe_load *load,
                                    const struct moe_plan *from, int32_t n_ranks, int32_t *n_slots, struct moe_err *err)
{
	int64_t n = ((int64_t)load->n_experts + n_ranks - 1) / n_ranks * n_ranks;

	if (cfg->slots)
		n = cfg->slots;
	else if (from && cfg->replicas < 0 && load->n_layers)
		moe_plan_layer(from, load->layers[0], &n);
	else if (cfg->replicas >= 0)
		n = (int64_t)load->n_experts + cfg->replicas;
	if (n > INT32_MAX)
		return moe_err_set(err, MOE_EUSAGE, "%lld slots are more than can be planned", (long long)n);
	*n_slots = (int32_t)n;
	return MOE_OK;
}

/* How many copies the plan has on ranks that the old one did not put them on. */
static int64_t count_moves(const struct moe_plan *old, const struct moe_plan *plan, const struct moe_load *load)
{
	int64_t n_moved = 0;

	for (int32_t l = 0; l < load->n_layers; l++) {
		const struct moe_plan_entry *a, *b;
		int64_t n_a, n_b, begin = 0;

		a = moe_plan_layer(old, load->layers[l], &n_a);
		b = moe_plan_layer(plan, load->layers[l], &n_b);
		for (int64_t i = 0; i < n_b; i++) {
			bool found = false;

			while (begin < n_a && a[begin].rank < b[i].rank)
				begin++;
			for (int64_t k = begin; k < n_a && a[k].rank == b[i].rank && !found; k++)
				found = a[k].expert == b[i].expert;
			n_moved += !found;
		}
	}
	return n_moved;
}

void split_print_plan(const struct moe_plan *plan, bool json, struct moe_buf *out)
{
	static const char *const columns[] = {"layer", "expert", "replica", "rank", "slot"};
	struct moe_rows rows;

	if (!json) {
		moe_plan_print(plan, out);
		return;
	}
	moe_rows_begin(&rows, out, true, columns, 5);
	for (int64_t i = 0; i < plan->n_entries; i++) {
		const struct moe_plan_entry *e = &plan->entries[i];

		moe_rows_u64(&rows, (uint64_t)e->layer);
		moe_rows_u64(&rows, (uint64_t)e->expert);
		moe_rows_u64(&rows, (uint64_t)e->replica);
		moe_rows_u64(&rows, (uint64_t)e->rank);
		moe_rows_u64(&rows, (uint64_t)e->slot);
	}
}

struct peak {
	double peak;
	int32_t layer;
};

static int higher(const void *pa, const void *pb)
{
	const struct peak *a = pa, *b = pb;

	if (a->peak != b->peak)
		return a->peak > b->peak ? -1 : 1;
	return (a->layer > b->layer) - (a->layer < b->layer);
}

/* How many copies each layer may move so that all together weigh at most --max-bytes: as many in each, and one more in
 * those that the old plan loads most unevenly. *moves: [n_layers], malloc'd. */
static enum moe_status share_moves(const struct config *cfg, const struct moe_plan *old, const struct moe_load *load,
                                   int32_t **moves, struct moe_err *err)
{
	const uint64_t n = (uint64_t)load->n_layers, total = cfg->max_bytes / cfg->expert_bytes;
	struct peak *peaks = calloc(n + 1, sizeof *peaks);
	enum moe_status status = MOE_OK;

	*moves = calloc(n + 1, sizeof **moves);
	if (!peaks || !*moves)
		status = moe_err_nomem(err, n * sizeof *peaks, "moves");
	for (int32_t l = 0; l < load->n_layers && !status; l++) {
		struct moe_cost cost;

		status = moe_cost_layer(old, load, l, &cost, err);
		peaks[l] = (struct peak){cost.peak_to_average, l};
	}
	if (!status && n)
		qsort(peaks, n, sizeof *peaks, higher);
	for (uint64_t i = 0; i < n && !status; i++) {
		const uint64_t share = total / n + (i < total % n);

		(*moves)[peaks[i].layer] = share > INT32_MAX ? INT32_MAX : (int32_t)share;
	}
	free(peaks);
	return status;
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static enum moe_status plan_load(struct tool_ctx *ctx, const struct config *cfg, const struct moe_planner *planner,
                                 struct moe_planner_opts *opts, const struct moe_gather *gather, struct moe_err *err)
{
	const struct moe_load *load = &gather->loads[0];
	struct moe_buf text = {0};
	struct moe_plan plan = {0};
	struct moe_cost_sum v;
	struct moe_together **together = NULL;
	struct moe_pins pins = {0};
	int32_t *moves = NULL;
	double bound = 1, start;
	enum moe_status status = choose_slots(cfg, load, opts->from, opts->topology->n_ranks, &opts->n_slots, err);

	if (!status && cfg->pin)
		status = moe_pins_read(&pins, cfg->pin, load, opts->topology->n_ranks, err);
	opts->pins = cfg->pin ? &pins : NULL;
	if (!status && cfg->max_bytes)
		status = share_moves(cfg, opts->from, load, &moves, err);
	opts->moves = moves;
	if (!status && planner->together)
		status = split_together(ctx, gather, -1, false, &together, err);
	opts->together = (const struct moe_together *const *)together;
	start = now_ms();
	if (!status)
		status = moe_planner_run(&plan, planner, opts, load, ctx->pool, err);
	if (!status)
		tool_detail(ctx, "%s: planned in %.3f ms", planner->name, now_ms() - start);
	if (!status)
		status = moe_cost_plan(&plan, load, &v, NULL, err);
	if (!status)
		status = moe_planner_bound(opts, load, &bound, err);
	if (status)
		goto out;
	tool_note(ctx, "%s: %d layer%s of %d experts in %d slots on %d rank%s, %d node%s", planner->name,
	          load->n_layers, load->n_layers == 1 ? "" : "s", load->n_experts, opts->n_slots, plan.n_ranks,
	          plan.n_ranks == 1 ? "" : "s", opts->topology->n_nodes, opts->topology->n_nodes == 1 ? "" : "s");
	tool_note(ctx,
	          "this traffic: peak-to-average %.4f, worst %.4f in layer %d; bound for these copies %.4f, for any "
	          "plan %.4f",
	          v.mean, v.worst, v.worst_layer, v.bound, bound);
	if (opts->from) {
		const int64_t n_moved = count_moves(opts->from, &plan, load);

		tool_note(ctx, "%lld of %lld copies come to a rank that does not hold the expert in %s",
		          (long long)n_moved, (long long)plan.n_entries, cfg->from);
		if (cfg->expert_bytes)
			tool_note(ctx, "they weigh %.0f bytes", (double)n_moved * (double)cfg->expert_bytes);
	}
	status = cfg->test.n ? split_judge_test(ctx, cfg, &plan, opts->topology, load, err)
	                     : split_hold_out(ctx, cfg, planner, opts, gather, err);
	if (!status && !cfg->test.n)
		status = split_note_batches(ctx, cfg, &plan, load, "this traffic", ctx->operands, ctx->n_operands, err);
	if (!status && !ctx->common.dry_run) {
		split_print_plan(&plan, ctx->common.json, &text);
		status = split_write(ctx, &text, ctx->common.output, err);
	}
	if (!status)
		status = split_check_imbalance(cfg, &v, planner->name, err);
out:
	moe_traffic_free(together, load->n_layers);
	opts->together = NULL;
	opts->pins = NULL;
	opts->moves = NULL;
	free(moves);
	moe_pins_free(&pins);
	moe_buf_free(&text);
	moe_plan_free(&plan);
	return status;
}

enum moe_status split_plan(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err)
{
	const struct moe_planner *planner = cfg->planner ? moe_planner_by_name(cfg->planner) : moe_planner_preferred();
	struct moe_topology topology = {0};
	struct moe_plan from = {0};
	struct moe_planner_opts opts = {.topology = &topology, .n_groups = cfg->groups ? cfg->groups : 1,
	                                .seed = (uint64_t)ctx->common.seed, .seconds = cfg->time_ms * 1e-3,
	                                .from = cfg->from ? &from : NULL, .slack = cfg->slack < 0 ? 0.05 : cfg->slack,
	                                .max_moves = cfg->max_moves < 0 ? INT32_MAX : cfg->max_moves};
	struct moe_gather gather = {0};
	enum moe_status status;

	for (size_t i = 0; cfg->from && !cfg->planner && moe_planner_at(i); i++)
		if (moe_planner_at(i)->from)
			planner = moe_planner_at(i);
	if (!planner)
		return moe_err_set(err, MOE_EUSAGE, "there is no planner '%s'; --list-planners shows which there are",
		                   cfg->planner);
	if (!cfg->ranks && !cfg->topology)
		return moe_err_set(err, MOE_EUSAGE, "-n RANKS or --topology TSV says how many ranks there are");
	if (planner->from && !cfg->from)
		return moe_err_set(err, MOE_EUSAGE, "planner %s changes the plan of --from PLAN", planner->name);
	if (!planner->from && (cfg->max_moves >= 0 || cfg->max_bytes))
		return moe_err_set(err, MOE_EUSAGE, "planner %s does not look at --max-moves and --max-bytes",
		                   planner->name);
	if (cfg->max_moves >= 0 && cfg->max_bytes)
		return moe_err_set(err, MOE_EUSAGE, "--max-moves and --max-bytes both bound the moves: give one");
	if (planner->from && cfg->pin)
		return moe_err_set(err, MOE_EUSAGE, "planner %s does not look at --pin", planner->name);
	if (!planner->together && cfg->slack >= 0)
		return moe_err_set(err, MOE_EUSAGE, "planner %s does not look at --slack", planner->name);
	if (cfg->slots && cfg->replicas >= 0)
		return moe_err_set(err, MOE_EUSAGE, "--slots and --replicas say the same thing in two ways: give one");
	status = make_topology(cfg, &topology, err);
	if (status)
		return status;
	if (cfg->from)
		status = moe_plan_read(&from, cfg->from, err);
	if (!status)
		status = split_gather(ctx, true, &gather, err);
	if (!status)
		status = plan_load(ctx, cfg, planner, &opts, &gather, err);
	moe_gather_free(&gather);
	moe_plan_free(&from);
	moe_topology_free(&topology);
	return status;
}

