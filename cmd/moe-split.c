/* moe-split: loads and a machine -> a plan that says where every expert lives; a plan and a checkpoint -> one
 * checkpoint per rank, and back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "moe-split/split.h"
#include "placement/form.h"

/* Words that the shell completes. */
static const char *planner_word(size_t i) { return moe_planner_at(i) ? moe_planner_at(i)->name : NULL; }
static const char *form_word(size_t i) { return moe_form_at(i) ? moe_form_at(i)->name : NULL; }

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
	MOE_OPT_FILE(0, "pin", "TSV", struct config, pin, "layer, expert, rank: experts that must be there"),
	MOE_OPT_FILE(0, "from", "PLAN", struct config, from, "change PLAN in few places, by min_moves"),
	MOE_OPT_INT(0, "max-moves", "N", struct config, max_moves, 0, 0x7fffffff,
	            "copies of a layer that may be brought to other ranks [all]"),
	MOE_OPT_BYTES(0, "max-bytes", "SIZE", struct config, max_bytes,
	              "bytes of experts that may be brought to other ranks, in all layers"),
	MOE_OPT_BYTES(0, "expert-bytes", "SIZE", struct config, expert_bytes, "what one expert of a layer weighs"),
	MOE_OPT_F64(0, "slack", "X", struct config, slack, 0, 1e6,
	            "how far affinity may load a rank beyond the mean [0.05]"),
	MOE_OPT_INT(0, "time", "MS", struct config, time_ms, 1, 86400000,
	            "milliseconds that search may take for all layers [a fixed amount of work]"),
	MOE_OPT_FLAG(0, "list-planners", struct config, list, "which planners there are"),
	MOE_OPT_GROUP("Judging"),
	MOE_OPT_FILES(0, "evaluate", "PLAN", struct config, evaluate, "what PLAN costs under a load; may be repeated"),
	MOE_OPT_FILES(0, "test", "TRACE|LOAD", struct config, test,
	              "judge the new plan on this traffic; may be repeated"),
	MOE_OPT_I64(0, "batch-tokens", "N", struct config, batch_tokens, 1, (double)(INT64_C(1) << 40),
	            "judge batches of N tokens as well"),
	MOE_OPT_FLAG(0, "ci", struct config, ci, "with peak-to-average the bounds of its 95 % interval"),
	MOE_OPT_I64(0, "hidden-size", "H", struct config, hidden_size, 1, 1LL << 30,
	            "elements of a token's row: bytes between ranks and nodes"),
	MOE_OPT_INT(0, "bytes-per-element", "B", struct config, element_bytes, 1, 16,
	            "bytes of each on its way to an expert [2]"),
	MOE_OPT_INT(0, "expert-width", "W", struct config, expert_width, 1, 1 << 30,
	            "inner width of an expert: what a choice costs, 6 H W"),
	MOE_OPT_F64(0, "flops", "F", struct config, flops, 1, 1e30,
	            "operations a rank does in a second: time of a step"),
	MOE_OPT_F64(0, "gbps", "G", struct config, gbps, 1e-6, 1e9,
	            "gigabytes that a rank sends to other nodes in a second"),
	MOE_OPT_F64(0, "max-imbalance", "X", struct config, max_imbalance, 1, 1e9,
	            "status 3 if a layer's peak_to_average exceeds X"),
	MOE_OPT_GROUP("Pipelines"),
	MOE_OPT_INT(0, "stages", "P", struct config, stages, 1, 1 << 20,
	            "cut the layers of a table of costs into stages of a pipeline"),
	MOE_OPT_STR(0, "cost", "COLUMN", struct config, cost, "the column that holds what a layer costs [cost]"),
	MOE_OPT_INT(0, "micro-batches", "M", struct config, micro_batches, 1, 1 << 30, "of a step [2 P]"),
	MOE_OPT_GROUP("Other forms of plans"),
	MOE_OPT_LISTED(0, "import", "FORM", form_word, struct config, import,
	               "print the plan that FILE of this form holds"),
	MOE_OPT_LISTED(0, "export", "FORM", form_word, struct config, export, "write PLAN in this form"),
	MOE_OPT_STR(0, "layers", "LIST", struct config, layers,
	            "the model's layers that FILE has rows of, as 3-60 [from 0 on]"),
	MOE_OPT_FLAG(0, "list-forms", struct config, list_forms, "which forms there are"),
	MOE_OPT_GROUP("Sharding"),
	MOE_OPT_FILE(0, "plan", "PLAN", struct config, plan, "write the shards of MODEL into the directory of -o"),
	MOE_OPT_FLAG(0, "resume", struct config, resume, "go on where an earlier run with --resume was interrupted"),
	MOE_OPT_BYTES(0, "fits", "SIZE", struct config, fits,
	              "print what each rank needs; status 3 if one exceeds SIZE"),
	MOE_OPT_DIR(0, "verify", "DIR", struct config, verify,
	            "status 3 unless the shards in DIR are what PLAN and MODEL say"),
	MOE_OPT_FILE(0, "rebalance", "OLD", struct config, rebalance,
	             "which experts move where if the plan OLD becomes another"),
	MOE_OPT_FLAG(0, "links", struct config, links, "sum these moves up by pairs of ranks"),
	MOE_OPT_DIR(0, "patch", "DIR", struct config, patch, "make the shards of OLD in DIR those of the new plan"),
	MOE_OPT_FLAG(0, "merge", struct config, merge, "give the source of the shards in DIR back as -o"),
	MOE_OPT_END
};

static const struct tool tool = {"moe-split",
                                 "[options] -n RANKS [TRACE|LOAD ...]\n--evaluate PLAN [TRACE|LOAD ...]\n"
                                 "--plan PLAN -o DIR MODEL\n--plan PLAN --fits SIZE MODEL\n"
                                 "--plan PLAN --verify DIR MODEL\n--merge -o OUT DIR ...\n"
                                 "--rebalance OLD PLAN [MODEL]\n--rebalance OLD --patch DIR PLAN\n"
                                 "--import FORM [-n RANKS] FILE\n"
                                 "--export FORM [-o FILE] PLAN\n--stages P COSTS\n--list-planners\n--list-forms",
                                 "Place experts on ranks; cut checkpoints accordingly, and put them together again.",
                                 options};

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
	status = split_write(ctx, &text, ctx->common.output, err);
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
	if (!status)
		status = moe_watch_add_input(ctx->watch, cfg->from, err);
	if (!status)
		status = moe_watch_add_input(ctx->watch, cfg->pin, err);
	if (!status)
		status = moe_watch_add_input(ctx->watch, cfg->rebalance, err);
	for (int i = 0; i < cfg->test.n && !status; i++)
		status = moe_watch_add_input(ctx->watch, cfg->test.items[i], err);
	for (int i = 0; i < cfg->evaluate.n && !status; i++)
		status = moe_watch_add_input(ctx->watch, cfg->evaluate.items[i], err);
	if (!status)
		status = tool_files(ctx, 0, &table, 1, err);
	if (status || !to || !directory)
		return status;
	/* what is there may be finished shards: the library looks into it */
	return cfg->resume ? moe_outdir_check(to, MOE_OUT_FORCE, ctx->watch, err) : tool_out_dir(ctx, to, err);
}

/* What contradicts itself on the command line, or NULL. */
static const char *find_misuse(const struct config *cfg)
{
	bool planning = ((cfg->ranks || cfg->nodes) && !cfg->import) || cfg->groups ||
	                (cfg->topology && !cfg->evaluate.n && !cfg->rebalance) || cfg->slots ||
	                cfg->replicas >= 0 || cfg->planner || cfg->time_ms || cfg->test.n || cfg->from ||
	                cfg->max_moves >= 0 || cfg->slack >= 0 || cfg->pin || cfg->max_bytes ||
	                (cfg->expert_bytes && !cfg->rebalance);
	bool judging = !cfg->plan && !cfg->merge && !cfg->list && !cfg->list_forms && !cfg->import && !cfg->export &&
	               !cfg->stages && !cfg->rebalance;

	if (cfg->list + cfg->list_forms + cfg->merge + !!cfg->plan + !!cfg->evaluate.n + !!cfg->import + !!cfg->export +
	    !!cfg->stages + !!cfg->rebalance + planning > 1)
		return "planning, --evaluate, --plan, --rebalance, --merge, --import, --export, --stages and lists are "
		       "different tasks: ask for one";
	if ((cfg->cost || cfg->micro_batches) && !cfg->stages)
		return "--cost and --micro-batches go with --stages";
	if (cfg->layers && !cfg->import)
		return "--layers goes with --import";
	if ((cfg->fits || cfg->verify) && !cfg->plan)
		return "--fits and --verify need --plan PLAN and a MODEL";
	if (cfg->resume && (!cfg->plan || cfg->fits || cfg->verify))
		return "--resume goes with --plan PLAN -o DIR";
	if (cfg->fits && cfg->verify)
		return "--fits and --verify are different questions: ask one";
	if (cfg->max_imbalance > 0 && !judging)
		return "--max-imbalance goes with planning and --evaluate";
	if ((cfg->max_moves >= 0 || cfg->max_bytes) && !cfg->from)
		return "--max-moves and --max-bytes go with --from PLAN";
	if (cfg->max_bytes && !cfg->expert_bytes)
		return "--max-bytes needs --expert-bytes SIZE to be a number of moves";
	if (cfg->expert_bytes && !cfg->from && (!cfg->rebalance || cfg->patch))
		return "--expert-bytes goes with --from PLAN and with --rebalance OLD";
	if ((cfg->links || cfg->patch) && !cfg->rebalance)
		return "--links and --patch go with --rebalance OLD";
	if (cfg->links && cfg->patch)
		return "--links lists and --patch writes: ask for one";
	if (cfg->topology && cfg->patch)
		return "--topology goes with the list of --rebalance, not with --patch";
	if ((cfg->ci || cfg->hidden_size || cfg->flops > 0) && !judging)
		return "--ci, --hidden-size and --flops go with planning and --evaluate";
	if ((cfg->element_bytes || cfg->flops > 0) && !cfg->hidden_size)
		return "--bytes-per-element and --flops go with --hidden-size";
	if (((cfg->flops > 0) + (cfg->gbps > 0) + (cfg->expert_width > 0)) % 3)
		return "the time of a step needs --flops, --gbps and --expert-width";
	if (cfg->batch_tokens && !judging)
		return "--batch-tokens goes with planning and --evaluate";
	if (cfg->topology && cfg->evaluate.n && !cfg->hidden_size)
		return "--topology goes with --evaluate where --hidden-size asks for bytes";
	return NULL;
}

int main(int argc, char **argv)
{
	struct config cfg = {.replicas = -1, .max_moves = -1, .slack = -1};
	struct tool_ctx ctx;
	struct moe_err err = {0};
	enum moe_status status;
	const char *misuse;

	tool_start(argc, argv, &tool, &cfg, &ctx);
	misuse = find_misuse(&cfg);
	if (!cfg.element_bytes)
		cfg.element_bytes = 2;
	if (misuse)
		return tool_misuse(&ctx, "%s", misuse);
	status = check_files(&ctx, &cfg, &err);
	if (status)
		return tool_fail(&ctx, &err);
	if (cfg.list)
		status = run_list(&ctx, &err);
	else if (cfg.list_forms)
		status = split_list_forms(&ctx, &err);
	else if (cfg.import)
		status = split_import(&ctx, &cfg, &err);
	else if (cfg.export)
		status = split_export(&ctx, &cfg, &err);
	else if (cfg.stages)
		status = split_stages(&ctx, &cfg, &err);
	else if (cfg.merge)
		status = split_merge(&ctx, &err);
	else if (cfg.rebalance)
		status = split_rebalance(&ctx, &cfg, &err);
	else if (cfg.plan)
		status = split_shard(&ctx, &cfg, &err);
	else if (cfg.evaluate.n)
		status = split_evaluate(&ctx, &cfg, &err);
	else
		status = split_plan(&ctx, &cfg, &err);
	return status ? tool_fail(&ctx, &err) : tool_end(&ctx);
}
