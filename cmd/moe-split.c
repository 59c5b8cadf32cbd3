/* moe-split: loads and a machine -> a plan that says where every expert lives; a plan and a checkpoint -> one
 * checkpoint per rank, and back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/model.h"
#include "placement/cost.h"
#include "placement/planner.h"
#include "placement/shard.h"
#include "plan/plan.h"
#include "plan/topology.h"
#include "stats/gather.h"
#include "stats/rows.h"
#include "tool.h"

struct config {
	int32_t ranks, nodes, groups, slots, replicas;
	const char *topology, *planner, *plan, *verify;
	struct moe_opt_list evaluate;
	bool list, merge;
	uint64_t fits;
	double max_imbalance; /* 0: not asked */
};

/* Words that the shell completes. */
static const char *planner_word(size_t i) { return moe_planner_at(i) ? moe_planner_at(i)->name : NULL; }

static const struct moe_opt options[] = {
	MOE_OPT_GROUP("Planning"),
	MOE_OPT_INT('n', "ranks", "N", struct config, ranks, 1, MOE_PLAN_MAX_RANKS, "ranks to place experts on"),
	MOE_OPT_INT(0, "nodes", "N", struct config, nodes, 1, MOE_PLAN_MAX_RANKS,
	            "nodes the ranks are spread over [1]"),
	MOE_OPT_FILE(0, "topology", "TSV", struct config, topology, "the machine, in place of -n and --nodes"),
	MOE_OPT_INT(0, "groups", "N", struct config, groups, 1, 1 << 30,
	            "expert groups that stay on one node each [1]"),
	MOE_OPT_INT(0, "slots", "N", struct config, slots, 1, 0x7fffffff,
	            "places per layer over all ranks [experts, rounded up to a multiple of ranks]"),
	MOE_OPT_INT(0, "replicas", "N", struct config, replicas, 0, 0x3fffffff,
	            "places per layer beyond one per expert, in place of --slots"),
	MOE_OPT_LISTED(0, "planner", "NAME", planner_word, struct config, planner, "how to place [greedy]"),
	MOE_OPT_FLAG(0, "list-planners", struct config, list, "which planners there are"),
	MOE_OPT_GROUP("Judging"),
	MOE_OPT_FILES(0, "evaluate", "PLAN", struct config, evaluate, "what PLAN costs under a load; may be repeated"),
	MOE_OPT_F64(0, "max-imbalance", "X", struct config, max_imbalance, 1, 1e9,
	            "status 3 if a layer's peak_to_average exceeds X"),
	MOE_OPT_GROUP("Sharding"),
	MOE_OPT_FILE(0, "plan", "PLAN", struct config, plan, "write the shards of MODEL into the directory of -o"),
	MOE_OPT_BYTES(0, "fits", "SIZE", struct config, fits,
	              "print what each rank needs; status 3 if one exceeds SIZE"),
	MOE_OPT_DIR(0, "verify", "DIR", struct config, verify,
	            "status 3 unless the shards in DIR are what PLAN and MODEL say"),
	MOE_OPT_FLAG(0, "merge", struct config, merge, "give the source of the shards in DIR back as -o"),
	MOE_OPT_END
};

static const struct tool tool = {"moe-split",
                                 "[options] -n RANKS [TRACE|LOAD ...]\n--evaluate PLAN [TRACE|LOAD ...]\n"
                                 "--plan PLAN -o DIR MODEL\n--plan PLAN --fits SIZE MODEL\n"
                                 "--plan PLAN --verify DIR MODEL\n--merge -o OUT DIR ...\n--list-planners",
                                 "Place experts on ranks; cut checkpoints accordingly, and put them together again.",
                                 options};

static enum moe_status write_text(struct tool_ctx *ctx, const struct moe_buf *text, const char *path,
                                  struct moe_err *err)
{
	return moe_out_text(text, path ? path : "-", tool_out_flags(ctx), ctx->watch, err);
}

/* ---- loads ---- */

static enum moe_status gather_loads(struct tool_ctx *ctx, bool quarters, struct moe_gather *gather, struct moe_err *err)
{
	static char only_stdin_name[] = "-";
	static char *const only_stdin[] = {only_stdin_name, NULL};
	struct moe_gather_opts opts = {.quarters = quarters, .watch = ctx->watch};
	enum moe_status status;

	if (!ctx->n_operands && isatty(STDIN_FILENO))
		return moe_err_set(err, MOE_EUSAGE, "no trace and no load table is named");
	status = tool_pool(ctx, &opts.pool, err);
	if (status)
		return status;
	return moe_gather_files(gather, ctx->n_operands ? ctx->operands : only_stdin,
	                        ctx->n_operands ? ctx->n_operands : 1, &opts, err);
}

static enum moe_status check_imbalance(const struct config *cfg, const struct moe_cost_sum *v, const char *plan,
                                       struct moe_err *err)
{
	if (cfg->max_imbalance > 0 && v->worst > cfg->max_imbalance)
		return moe_err_set(err, MOE_ECHECK, "%s: peak-to-average %.4f in layer %d exceeds %g", plan, v->worst,
		                   v->worst_layer, cfg->max_imbalance);
	return MOE_OK;
}

/* ---- planning ---- */

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

static enum moe_status choose_slots(const struct config *cfg, const struct moe_load *load, int32_t n_ranks,
                                    int32_t *n_slots, struct moe_err *err)
{
	int64_t n = ((int64_t)load->n_experts + n_ranks - 1) / n_ranks * n_ranks;

	if (cfg->slots)
		n = cfg->slots;
	else if (cfg->replicas >= 0)
		n = (int64_t)load->n_experts + cfg->replicas;
	if (n > INT32_MAX)
		return moe_err_set(err, MOE_EUSAGE, "%lld slots are more than can be planned", (long long)n);
	*n_slots = (int32_t)n;
	return MOE_OK;
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
static enum moe_status hold_out(struct tool_ctx *ctx, const struct moe_planner *planner,
                                const struct moe_planner_opts *opts, const struct moe_gather *gather,
                                struct moe_err *err)
{
	const struct moe_load(*q)[2] = gather->quarters;
	struct moe_load made_on = {0}, judged_on = {0};
	const char *how = "sequences";
	struct moe_plan plan = {0};
	struct moe_cost_sum v;
	enum moe_status status;

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
		status = sum_of(&q[0][0], &q[0][1], &made_on, err);
		if (!status)
			status = sum_of(&q[1][0], &q[1][1], &judged_on, err);
	}
	if (!status && (!total_of(&made_on) || !total_of(&judged_on))) {
		tool_note(ctx, "held out: no figure, because there are no two sequences to tell apart");
		goto out;
	}
	if (!status)
		status = moe_planner_run(&plan, planner, opts, &made_on, ctx->pool, err);
	if (!status)
		status = moe_cost_plan(&plan, &judged_on, &v, NULL, err);
	if (!status)
		tool_note(ctx,
		          "held out: peak-to-average %.4f, worst %.4f in layer %d (a plan made on even %s, judged on "
		          "odd ones)", v.mean, v.worst, v.worst_layer, how);
out:
	moe_plan_free(&plan);
	moe_load_free(&judged_on);
	moe_load_free(&made_on);
	return status;
}

static void print_plan(const struct moe_plan *plan, bool json, struct moe_buf *out)
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

static enum moe_status plan_load(struct tool_ctx *ctx, const struct config *cfg, const struct moe_planner *planner,
                                 struct moe_planner_opts *opts, const struct moe_gather *gather, struct moe_err *err)
{
	const struct moe_load *load = &gather->loads[0];
	struct moe_buf text = {0};
	struct moe_plan plan = {0};
	struct moe_cost_sum v;
	enum moe_status status = choose_slots(cfg, load, opts->topology->n_ranks, &opts->n_slots, err);

	if (!status)
		status = moe_planner_run(&plan, planner, opts, load, ctx->pool, err);
	if (!status)
		status = moe_cost_plan(&plan, load, &v, NULL, err);
	if (status)
		goto out;
	tool_note(ctx, "%s: %d layer%s of %d experts in %d slots on %d rank%s, %d node%s", planner->name,
	          load->n_layers, load->n_layers == 1 ? "" : "s", load->n_experts, opts->n_slots, plan.n_ranks,
	          plan.n_ranks == 1 ? "" : "s", opts->topology->n_nodes, opts->topology->n_nodes == 1 ? "" : "s");
	tool_note(ctx, "this traffic: peak-to-average %.4f, worst %.4f in layer %d; bound for these copies %.4f",
	          v.mean, v.worst, v.worst_layer, v.bound);
	status = hold_out(ctx, planner, opts, gather, err);
	if (!status && !ctx->common.dry_run) {
		print_plan(&plan, ctx->common.json, &text);
		status = write_text(ctx, &text, ctx->common.output, err);
	}
	if (!status)
		status = check_imbalance(cfg, &v, planner->name, err);
out:
	moe_buf_free(&text);
	moe_plan_free(&plan);
	return status;
}

static enum moe_status run_plan(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err)
{
	const struct moe_planner *planner = cfg->planner ? moe_planner_by_name(cfg->planner) : moe_planner_preferred();
	struct moe_topology topology = {0};
	struct moe_planner_opts opts = {.topology = &topology, .n_groups = cfg->groups ? cfg->groups : 1,
	                                .seed = (uint64_t)ctx->common.seed};
	struct moe_gather gather = {0};
	enum moe_status status;

	if (!planner)
		return moe_err_set(err, MOE_EUSAGE, "there is no planner '%s'; --list-planners shows which there are",
		                   cfg->planner);
	if (!cfg->ranks && !cfg->topology)
		return moe_err_set(err, MOE_EUSAGE, "-n RANKS or --topology TSV says how many ranks there are");
	if (cfg->slots && cfg->replicas >= 0)
		return moe_err_set(err, MOE_EUSAGE, "--slots and --replicas say the same thing in two ways: give one");
	status = make_topology(cfg, &topology, err);
	if (status)
		return status;
	status = gather_loads(ctx, true, &gather, err);
	if (!status)
		status = plan_load(ctx, cfg, planner, &opts, &gather, err);
	moe_gather_free(&gather);
	moe_topology_free(&topology);
	return status;
}

/* ---- judging ---- */

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
		verdict->status = check_imbalance(cfg, &v, path, verdict);
out:
	moe_plan_free(&plan);
	free(peaks);
	return status;
}

static enum moe_status run_evaluate(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err)
{
	static const char *const columns[] = {"layer", "plan", "peak_to_average"};
	struct moe_gather gather = {0};
	struct moe_err verdict = {0};
	struct moe_buf text = {0};
	struct moe_rows rows;
	enum moe_status status = gather_loads(ctx, false, &gather, err);

	moe_rows_begin(&rows, &text, ctx->common.json, columns, 3);
	for (int i = 0; i < cfg->evaluate.n && !status; i++)
		status = evaluate_one(cfg, cfg->evaluate.items[i], &gather.loads[0], &rows, &verdict, err);
	if (!status && !ctx->common.dry_run)
		status = write_text(ctx, &text, ctx->common.output, err);
	if (!status && verdict.status)
		status = moe_err_set(err, verdict.status, "%s", verdict.text);
	moe_buf_free(&text);
	moe_gather_free(&gather);
	return status;
}

/* ---- sharding ---- */

static void advance(void *arg, uint64_t n_bytes) { tool_progress_add(arg, (int64_t)n_bytes); }

/* What the plan leaves open or takes from elsewhere, said aloud. */
static enum moe_status compare_plan(struct tool_ctx *ctx, const struct config *cfg, const struct moe_plan *plan,
                                    const struct moe_model *model, struct moe_err *err)
{
	const struct moe_config *c = &model->config;
	char hash[33];
	int64_t n;
	enum moe_status status = moe_ckpt_hash(model->ckpt, false, hash, err);

	if (status)
		return status;
	if (!strncmp(plan->model, "xxh3:", 5) && strcmp(plan->model + 5, hash))
		tool_warn(ctx, "%s was made from loads of model %s, this is xxh3:%s", cfg->plan, plan->model, hash);
	for (int32_t l = 0; l < c->n_layers + c->n_mtp_layers; l++)
		if (c->layers[l].ffn == MOE_FFN_MOE && !moe_plan_layer(plan, l, &n)) {
			if (c->layers[l].mtp)
				tool_detail(ctx, "%s does not name layer %d: contiguous", cfg->plan, l);
			else
				tool_note(ctx, "%s does not name layer %d: its experts are placed contiguously",
				          cfg->plan, l);
		}
	return MOE_OK;
}

/* Rows `rank bytes`, and the check of --fits. */
static enum moe_status print_sizes(struct tool_ctx *ctx, const struct config *cfg, const uint64_t *bytes,
                                   int32_t n_ranks, struct moe_err *err)
{
	static const char *const columns[] = {"rank", "bytes"};
	enum moe_status status;
	struct moe_buf text = {0};
	struct moe_rows rows;
	char a[24], b[24];

	moe_rows_begin(&rows, &text, ctx->common.json, columns, 2);
	for (int32_t r = 0; r < n_ranks; r++) {
		moe_rows_u64(&rows, (uint64_t)r);
		moe_rows_u64(&rows, bytes[r]);
	}
	status = write_text(ctx, &text, cfg->fits && !ctx->common.dry_run ? ctx->common.output : NULL, err);
	moe_buf_free(&text);
	for (int32_t r = 0; r < n_ranks && cfg->fits && !status; r++)
		if (bytes[r] > cfg->fits)
			status = moe_err_set(err, MOE_ECHECK, "rank %d needs %s, more than the %s of --fits", r,
			                     moe_format_bytes(a, (double)bytes[r]),
			                     moe_format_bytes(b, (double)cfg->fits));
	return status;
}

/* Files beside the checkpoint that a merge will not give back. */
static enum moe_status note_left_out(struct tool_ctx *ctx, const struct moe_model *model, struct moe_err *err)
{
	struct moe_buf names = {0};
	enum moe_status status = moe_shard_left_out(model, &names, err);

	if (!status && names.n)
		tool_note(ctx, "%s: not kept, because they are no part of the checkpoint and larger than 64 MiB: %s",
		          model->ckpt->path, names.p);
	moe_buf_free(&names);
	return status;
}

static enum moe_status shard_model(struct tool_ctx *ctx, const struct config *cfg, const struct moe_plan *plan,
                                   const struct moe_model *model, struct moe_err *err)
{
	uint64_t *bytes = calloc((size_t)plan->n_ranks, sizeof *bytes), total = 0;
	struct tool_progress progress;
	struct moe_shard_opts opts = {.plan = plan, .out = cfg->verify ? cfg->verify : ctx->common.output,
	                              .flags = tool_out_flags(ctx), .pool = ctx->pool, .watch = ctx->watch,
	                              .progress = advance, .progress_arg = &progress};
	enum moe_status status = MOE_OK;
	char a[24];

	if (!bytes)
		return moe_err_nomem(err, (size_t)plan->n_ranks * sizeof *bytes, "sizes of shards");
	if (cfg->verify) {
		status = moe_shard_verify(model, &opts, err);
		if (!status)
			tool_note(ctx, "%s: %d shards hold what plan and model say", cfg->verify, plan->n_ranks);
		goto out;
	}
	status = moe_shard_predict(model, plan, bytes, err);
	if (!status)
		status = note_left_out(ctx, model, err);
	for (int32_t r = 0; r < plan->n_ranks; r++)
		total += bytes[r];
	if (!status && (cfg->fits || ctx->common.dry_run)) {
		status = print_sizes(ctx, cfg, bytes, plan->n_ranks, err);
		goto out;
	}
	if (status)
		goto out;
	/* Every shard is open at once. */
	tool_raise_open_files();
	tool_progress_start(&progress, ctx, "writing shards", (int64_t)total, TOOL_BYTES);
	status = moe_shard_write(model, &opts, err);
	tool_progress_finish(&progress);
	if (!status)
		tool_note(ctx, "%s: %d shards, %s", ctx->common.output, plan->n_ranks,
		          moe_format_bytes(a, (double)total));
out:
	free(bytes);
	return status;
}

static enum moe_status run_shard(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err)
{
	struct moe_ckpt *ckpt = NULL;
	struct moe_model *model = NULL;
	struct moe_plan plan = {0};
	struct moe_pool *pool;
	char *path = NULL;
	enum moe_status status;

	if (ctx->n_operands != 1)
		return moe_err_set(err, MOE_EUSAGE, "--plan takes one MODEL, found %d operands", ctx->n_operands);
	if (!ctx->common.output && !cfg->fits && !cfg->verify && !ctx->common.dry_run)
		return moe_err_set(err, MOE_EUSAGE, "-o DIR says where the shards go");
	status = tool_pool(ctx, &pool, err);
	if (!status)
		status = moe_plan_read(&plan, cfg->plan, err);
	if (!status)
		status = tool_model_path(ctx, ctx->operands[0], &path, err);
	if (!status)
		status = moe_ckpt_open(&ckpt, path, ctx->watch, err);
	if (!status)
		status = moe_model_bind(&model, ckpt, err);
	if (!status)
		status = compare_plan(ctx, cfg, &plan, model, err);
	if (!status)
		status = shard_model(ctx, cfg, &plan, model, err);
	moe_model_free(model);
	moe_ckpt_close(ckpt);
	free(path);
	moe_plan_free(&plan);
	return status;
}

static enum moe_status run_merge(struct tool_ctx *ctx, struct moe_err *err)
{
	struct tool_progress progress;
	struct moe_shard_opts opts = {.out = ctx->common.output, .flags = tool_out_flags(ctx), .watch = ctx->watch,
	                              .progress = advance, .progress_arg = &progress};
	enum moe_status status;

	if (!ctx->n_operands)
		return moe_err_set(err, MOE_EUSAGE, "--merge takes the folder of all shards, or every shard");
	if (!ctx->common.output || !strcmp(ctx->common.output, "-"))
		return moe_err_set(err, MOE_EUSAGE, "-o OUT says where the merged checkpoint goes");
	if (ctx->common.dry_run)
		return moe_err_set(err, MOE_EUSAGE,
		                   "--merge has no --dry-run: what it writes is as large as the source was");
	status = tool_pool(ctx, &opts.pool, err);
	if (status)
		return status;
	tool_progress_start(&progress, ctx, "merging", 0, TOOL_BYTES);
	status = moe_shard_merge(ctx->operands, ctx->n_operands, &opts, err);
	tool_progress_finish(&progress);
	if (!status)
		tool_note(ctx, "%s: every file of the source, by its hash", ctx->common.output);
	return status;
}

static enum moe_status run_list(struct tool_ctx *ctx, struct moe_err *err)
{
	static const char *const columns[] = {"planner", "help", "source"};
	struct moe_buf text = {0};
	struct moe_rows rows;
	enum moe_status status;

	if (ctx->n_operands)
		return moe_err_set(err, MOE_EUSAGE, "the list of planners takes no files");
	moe_rows_begin(&rows, &text, ctx->common.json, columns, 3);
	for (size_t i = 0; moe_planner_at(i); i++) {
		moe_rows_str(&rows, moe_planner_at(i)->name);
		moe_rows_str(&rows, moe_planner_at(i)->help);
		moe_rows_str(&rows, moe_planner_at(i)->source);
	}
	status = write_text(ctx, &text, ctx->common.output, err);
	moe_buf_free(&text);
	return status;
}

/* What is read is never an output, and outputs are refused before any work. A merge finds out what it writes. */
static enum moe_status check_files(struct tool_ctx *ctx, const struct config *cfg, struct moe_err *err)
{
	const bool directory = cfg->plan && !cfg->fits;
	const char *to = cfg->verify || cfg->merge ? NULL : ctx->common.output, *table = directory ? NULL : to;
	enum moe_status status = moe_watch_add_input(ctx->watch, cfg->topology, err);

	if (!status)
		status = moe_watch_add_input(ctx->watch, cfg->plan, err);
	for (int i = 0; i < cfg->evaluate.n && !status; i++)
		status = moe_watch_add_input(ctx->watch, cfg->evaluate.items[i], err);
	if (!status)
		status = tool_files(ctx, 0, &table, 1, err);
	return !status && to && directory ? tool_out_dir(ctx, to, err) : status;
}

/* What contradicts itself on the command line, or NULL. */
static const char *find_misuse(const struct config *cfg)
{
	bool planning = cfg->ranks || cfg->nodes || cfg->groups || cfg->topology || cfg->slots || cfg->replicas >= 0 ||
	                cfg->planner;

	if (cfg->list + cfg->merge + !!cfg->plan + !!cfg->evaluate.n + planning > 1)
		return "planning, --evaluate, --plan, --merge and --list-planners are different tasks: ask for one";
	if ((cfg->fits || cfg->verify) && !cfg->plan)
		return "--fits and --verify need --plan PLAN and a MODEL";
	if (cfg->fits && cfg->verify)
		return "--fits and --verify are different questions: ask one";
	if (cfg->max_imbalance > 0 && (cfg->plan || cfg->merge || cfg->list))
		return "--max-imbalance goes with planning and --evaluate";
	return NULL;
}

int main(int argc, char **argv)
{
	struct config cfg = {.replicas = -1};
	struct tool_ctx ctx;
	struct moe_err err = {0};
	enum moe_status status;
	const char *misuse;

	tool_start(argc, argv, &tool, &cfg, &ctx);
	misuse = find_misuse(&cfg);
	if (misuse)
		return tool_misuse(&ctx, "%s", misuse);
	status = check_files(&ctx, &cfg, &err);
	if (status)
		return tool_fail(&ctx, &err);
	if (cfg.list)
		status = run_list(&ctx, &err);
	else if (cfg.merge)
		status = run_merge(&ctx, &err);
	else if (cfg.plan)
		status = run_shard(&ctx, &cfg, &err);
	else if (cfg.evaluate.n)
		status = run_evaluate(&ctx, &cfg, &err);
	else
		status = run_plan(&ctx, &cfg, &err);
	return status ? tool_fail(&ctx, &err) : tool_end(&ctx);
}
