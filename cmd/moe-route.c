/* moe-route: the router alone. Text through a model up to its last router, a trace under another policy, or another
 * tool's log: always a trace comes out, or its decisions as text. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "moe-route/route.h"

/* Words that the shell completes. */
static const char *policy_word(size_t i)
{
	const struct moe_policy *policy = moe_policy_at(i);
	return policy ? policy->name : NULL;
}

static const char *import_word(size_t i)
{
	const struct moe_import *format = moe_import_at(i);
	return format ? format->name : NULL;
}

static const char *export_word(size_t i)
{
	for (size_t at = 0; moe_import_at(at); at++)
		if (moe_import_at(at)->to && i-- == 0)
			return moe_import_at(at)->name;
	return NULL;
}

static const struct moe_opt options[] = {
	MOE_OPT_GROUP("Output"),
	MOE_OPT_FLAG(0, "logits", struct config, logits, "keep the router's outputs of every token, for re-routing"),
	MOE_OPT_FLAG(0, "margin", struct config, margin, "keep how close each choice was"),
	MOE_OPT_FLAG(0, "print", struct config, print, "print the decisions as text instead of writing a trace"),
	MOE_OPT_LISTED(0, "to", "FORMAT", export_word, struct config, to,
	               "write the decisions for other tools instead of a trace: csv, jsonl, npy"),
	MOE_OPT_ENUM(0, "gates", "f32|f16|8bit|none", struct config, gates, "how the trace stores gates [f32]"),
	MOE_OPT_GROUP("Text through a model"),
	MOE_OPT_LIST('p', "prompt", "TEXT", struct config, prompts,
	             "text given here instead of in files; may be repeated"),
	MOE_OPT_FLAG(0, "ids", struct config, ids,
	             "lines of token ids instead of text, one sequence each, taken as they are"),
	MOE_OPT_I64(0, "window", "N", struct config, window, 1, 0x1p61,
	            "tokens a text is cut into [512 or the model's maximum]"),
	MOE_OPT_I64(0, "overlap", "N", struct config, overlap, 0, 0x1p61, "tokens of context before each window [0]"),
	MOE_OPT_FLAG(0, "mtp", struct config, mtp,
	             "route the layer of multi-token prediction too"),
	MOE_OPT_FILE(0, "hidden", "FILE", struct config, hidden,
	             "in place of texts: a safetensors file with the inputs of a router, with --layer"),
	MOE_OPT_LISTED(0, "device", "NAME", moe_device_at, struct config, device, "where to compute: cpu [cpu]"),
	MOE_OPT_INT(0, "chunk", "N", struct config, chunk, 1, 1 << 20,
	            "tokens a pass; results do not depend on it [512]"),
	MOE_OPT_GROUP("A trace with logits, re-routed"),
	MOE_OPT_LISTED(0, "policy", "NAME", policy_word, struct config, policy,
	               "the policy to route by (--list-policies)"),
	MOE_OPT_INT('k', "experts-per-token", "N", struct config, top_k, 1, INT32_MAX,
	            "experts per token [as in the trace]"),
	MOE_OPT_INT(0, "groups", "N", struct config, groups, 1, INT32_MAX, "groups of experts [as in the trace]"),
	MOE_OPT_INT(0, "top-groups", "N", struct config, top_groups, 1, INT32_MAX, "groups kept [as in the trace]"),
	MOE_OPT_ENUM(0, "group-score", "max|top2", struct config, group_score,
	             "what a group counts: its best, or the sum of its two best [the policy's]"),
	MOE_OPT_F64(0, "scale", "X", struct config, scale, 1e-9, 1e9, "factor on the weights [as in the trace]"),
	MOE_OPT_F64(0, "eps", "X", struct config, eps, 0, 1,
	            "sparsemixer: how near the best a score must come [as in the trace, or 0.01]"),
	MOE_OPT_F64(0, "p-norm", "P", struct config, p_norm, 0, 1000,
	            "dbrx: divide the weights by this norm; 0: do not [as in the trace, or 1]"),
	MOE_OPT_FLAG(0, "normalize", struct config, normalize, "divide the weights by their sum [as in the trace]"),
	MOE_OPT_FLAG(0, "no-normalize", struct config, no_normalize, "leave the weights as they are"),
	MOE_OPT_FILE(0, "bias", "FILE", struct config, bias,
	             "added to the scores when choosing: a table, or a model"),
	MOE_OPT_F64(0, "capacity", "CF", struct config, capacity, 0, 1e9,
	            "an expert takes ceil(CF * k * T / E) choices of a group of T tokens"),
	MOE_OPT_I64(0, "capacity-tokens", "N", struct config, capacity_tokens, 1, 0x1p61,
	            "an expert takes N choices of a group"),
	MOE_OPT_STR(0, "capacity-group", "GROUP", struct config, capacity_group,
	            "what a group is: sequence, or tokens=N across sequences [sequence]"),
	MOE_OPT_ENUM(0, "drop", "position|choice|prob|random", struct config, drop,
	             "who queues first: earlier tokens, first choices, large weights, or chance [position]"),
	MOE_OPT_ENUM(0, "priority", "token|batch", struct config, priority,
	             "order of tokens in a queue: as they come, or by largest probability [token]"),
	MOE_OPT_ENUM(0, "normalize-when", "before|after", struct config, normalize_when,
	             "weights share their sum before or after dropping [before; gshard: after]"),
	MOE_OPT_INT(0, "capacity-devices", "D", struct config, devices, 1, INT32_MAX,
	            "capacity is that of D devices of consecutive experts"),
	MOE_OPT_F64(0, "exempt", "F", struct config, exempt, 0, 1,
	            "part of the sequences, drawn by --seed, that drops nothing [0]"),
	MOE_OPT_ENUM(0, "second", "all|random|random-pair|sampling", struct config, second,
	             "gshard: which second choices are sent [all]"),
	MOE_OPT_FILE(0, "table", "FILE", struct config, table, "hash: a table of token and expert"),
	MOE_OPT_FILE(0, "counts", "FILE", struct config, counts,
	             "hash: a balanced table from one of token and count"),
	MOE_OPT_F64(0, "temperature", "T", struct config, temperature, 1e-6, 1e6, "divide the logits by T [1]"),
	MOE_OPT_F64(0, "noise", "S", struct config, noise, 0, 1e6,
	            "add noise of deviation S to the logits, drawn by --seed [0; noisy_topk: ln 2]"),
	MOE_OPT_F64(0, "adapt-bias", "U", struct config, adapt_bias, 1e-9, 1e3,
	            "balance the load by biases, in steps of U; they are what is written"),
	MOE_OPT_ENUM(0, "adapt-rule", "sign|proportional|centred", struct config, adapt_rule,
	             "a step: U, U times the error, or U less the mean step [sign]"),
	MOE_OPT_I64(0, "batch-tokens", "N", struct config, batch_tokens, 1, 0x1p61, "tokens of a step [2048]"),
	MOE_OPT_INT(0, "epochs", "N", struct config, epochs, 1, 1 << 24,
	            "how often all sequences come, in an order that --seed draws [1]"),
	MOE_OPT_FILE(0, "batches", "FILE", struct config, batches, "write the MaxVio of every batch and layer"),
	MOE_OPT_FLAG(0, "list-policies", struct config, list_policies, "list the policies and what they read"),
	MOE_OPT_GROUP("Another tool's log"),
	MOE_OPT_LISTED(0, "from", "FORMAT", import_word, struct config, from,
	               "import FILEs: csv, esft, jsonl, logits, megatron, npy, npz, pt, safetensors"),
	MOE_OPT_FILE(0, "model-config", "FILE", struct config, model_config,
	             "config.json of the model that was logged"),
	MOE_OPT_INT(0, "n-experts", "N", struct config, n_experts, 1, INT32_MAX,
	            "experts of a layer, where no config.json tells"),
	MOE_OPT_INT(0, "layer", "L", struct config, layer, 0, INT32_MAX - 1,
	            "the model's index of the only or first layer in FILEs [the first that has experts]; with "
	            "--hidden: whose router is given them"),
	MOE_OPT_FLAG(0, "lenient", struct config, lenient,
	             "drop and count choices of experts that cannot be, instead of refusing the file"),
	MOE_OPT_END,
};

static const struct tool tool = {
	"moe-route",
	"[options] MODEL [TEXT...]\n--hidden FILE --layer L [options] MODEL\n[options] TRACE...\n"
	"--from FORMAT [--model-config FILE] [options] FILE...\n"
	"--to FORMAT [options] TRACE...",
	"Route tokens to experts: through a model, from stored logits, or from a log.",
	options,
};

static enum moe_status commit(struct route *route, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	if (route->trace)
		status = moe_trace_commit(route->trace, err);
	route->trace = NULL;
	if (!status && route->export)
		status = route->to->finish(route->export, err);
	if (!status && route->out) {
		status = moe_out_commit(route->out, err);
		route->out = NULL;
	}
	return status;
}

static void route_close(struct route *route)
{
	if (route->trace)
		moe_trace_abort(route->trace);
	if (route->to)
		route->to->free(route->export);
	moe_out_abort(route->out);
	moe_session_close(route->session);
	moe_record_free(route->record);
	moe_record_header_free(&route->described);
	moe_reroute_free(route->reroute);
	moe_limit_free(route->limit);
	moe_adapt_free(route->adapt);
	moe_bias_free(&route->bias);
	moe_token_table_free(&route->table);
	moe_sequences_free(&route->seqs);
	moe_setup_close(&route->setup);
}

/* Text and ids belong to models, policies to traces: NULL, or what does not go together. */
static const char *contradiction(const struct tool_ctx *ctx, const struct config *cfg, bool traces)
{
	const bool of_model = cfg->prompts.n || cfg->ids || cfg->window || cfg->overlap || cfg->mtp;
	const bool capacity = cfg->capacity > 0 || cfg->capacity_tokens;
	const bool of_capacity = cfg->drop != UNSET || cfg->priority != UNSET || cfg->devices || cfg->exempt > 0;
	const bool of_params = cfg->groups != UNSET || cfg->top_groups != UNSET ||
	                       cfg->group_score != UNSET || !isnan(cfg->scale) ||
	                       !isnan(cfg->eps) || !isnan(cfg->p_norm) || cfg->normalize ||
	                       cfg->no_normalize || cfg->bias || capacity || of_capacity ||
	                       cfg->capacity_group || cfg->second != UNSET || cfg->normalize_when != UNSET ||
	                       cfg->table || cfg->counts || cfg->temperature > 0 || cfg->noise >= 0 ||
	                       cfg->adapt_bias > 0;
	const bool of_policy = cfg->top_k != UNSET || of_params;
	const bool of_adapt = cfg->adapt_rule != UNSET || cfg->batch_tokens || cfg->epochs || cfg->batches;
	if (cfg->hidden && cfg->layer == UNSET)
		return "--hidden FILE and --layer L go together";
	if (cfg->hidden && (cfg->from || traces || of_model || ctx->n_operands != 1))
		return "--hidden takes one MODEL and no texts: it excludes -p, --ids, --window, --overlap, --mtp and "
		       "--from";
	if (ctx->n_operands < 1)
		return "no MODEL, TRACE or FILE given";
	if (cfg->normalize && cfg->no_normalize)
		return "--normalize and --no-normalize exclude each other";
	if (cfg->from && (cfg->policy || of_params || of_model || cfg->logits || cfg->margin))
		return "--from imports decisions as they are: it goes with --model-config, --n-experts, --layer, "
		       "--lenient, --gates, --print, --to and -o";
	if ((cfg->model_config || cfg->n_experts != UNSET || (cfg->layer != UNSET && !cfg->hidden) || cfg->lenient) &&
	    !cfg->from)
		return "--model-config, --n-experts, --layer and --lenient go with --from";
	if (cfg->to && (cfg->print || cfg->logits || cfg->margin || ctx->common.json || cfg->adapt_bias > 0))
		return "--to writes choices and weights: --print, --logits, --margin, --json and --adapt-bias do not "
		       "go with it";
	if (cfg->ids && (cfg->window || cfg->overlap))
		return "--window and --overlap cut texts; a line of --ids stays whole";
	if (traces && of_model)
		return "a trace holds its tokens and layers: -p, --ids, --window, --overlap and --mtp go with a model";
	if (!traces && !cfg->from && (cfg->policy || of_policy))
		return "--policy and its parameters re-route traces: write one with --logits first";
	if (of_policy && !cfg->policy && !cfg->from)
		return "-k, --groups, --scale, --bias, --capacity, --table, --noise and all that stands beside them in "
		       "--help are parameters of --policy NAME";
	if (cfg->capacity > 0 && cfg->capacity_tokens)
		return "--capacity and --capacity-tokens say the same in two ways: give one";
	if (of_capacity && !capacity)
		return "--drop, --priority, --capacity-devices and --exempt go with --capacity or --capacity-tokens";
	if (of_adapt && !(cfg->adapt_bias > 0))
		return "--adapt-rule, --batch-tokens, --epochs and --batches go with --adapt-bias";
	if (cfg->adapt_bias > 0 && (cfg->print || cfg->logits || cfg->margin || cfg->gates != UNSET || capacity ||
	                            cfg->capacity_group || cfg->normalize_when != UNSET || cfg->temperature > 0 ||
	                            cfg->noise >= 0))
		return "--adapt-bias writes a table of biases and no trace: it excludes --print, --logits, --margin, "
		       "--gates, --capacity, --temperature and --noise";
	if (cfg->table && cfg->counts)
		return "--table and --counts are two tables: give one";
	if (ctx->common.json && !cfg->print && !(cfg->adapt_bias > 0))
		return "--json goes with --print and --adapt-bias: a trace has one format";
	return NULL;
}

/* A trace may be replaced by what becomes of it; other inputs may not, and refusals come before any work. */
static enum moe_status check_files(struct tool_ctx *ctx, const struct config *cfg, bool traces, struct moe_err *err)
{
	const char *const outputs[] = { ctx->common.output, cfg->batches };
	enum moe_status status = moe_watch_add_input(ctx->watch, cfg->bias, err);
	if (!status)
		status = moe_watch_add_input(ctx->watch, cfg->table, err);
	if (!status)
		status = moe_watch_add_input(ctx->watch, cfg->counts, err);
	if (!status)
		status = moe_watch_add_input(ctx->watch, cfg->hidden, err);
	if (!status)
		status = moe_watch_add_input(ctx->watch, cfg->model_config, err);
	return status ? status : tool_files(ctx, traces && !(cfg->adapt_bias > 0) ? ctx->n_operands : 0, outputs, 2,
	                                    err);
}

int main(int argc, char **argv)
{
	struct config cfg = { .gates = UNSET,
		              .top_k = UNSET,
		              .groups = UNSET,
		              .top_groups = UNSET,
		              .group_score = UNSET,
		              .drop = UNSET,
		              .priority = UNSET,
		              .second = UNSET,
		              .normalize_when = UNSET,
		              .noise = UNSET,
		              .adapt_rule = UNSET,
		              .layer = UNSET,
		              .n_experts = UNSET,
		              .scale = NAN,
		              .eps = NAN,
		              .p_norm = NAN,
		              .device = "cpu",
		              .chunk = 512 };
	struct tool_ctx ctx;
	struct moe_err err = { 0 };
	struct moe_arena arena = { 0 };
	const char *command = moe_command_line(&arena, argc, argv, NULL);
	tool_start(argc, argv, &tool, &cfg, &ctx);
	if (cfg.list_policies) {
		moe_arena_free(&arena);
		return route_list(&ctx, &err) ? tool_fail(&ctx, &err) : tool_end(&ctx);
	}
	const bool traces = !cfg.from && ctx.n_operands > 0 &&
	                    (strcmp(ctx.operands[0], "-") == 0 || moe_trace_probe(ctx.operands[0]));
	const char *problem = contradiction(&ctx, &cfg, traces);
	if (problem) {
		moe_arena_free(&arena);
		return tool_misuse(&ctx, "%s", problem);
	}
	struct route route = { .ctx = &ctx, .cfg = &cfg, .command = command ? command : "" };
	enum moe_status status = check_files(&ctx, &cfg, traces, &err);
	if (!status)
		status = tool_pool(&ctx, &route.pool, &err);
	if (!status && ctx.common.dry_run && (cfg.from || traces))
		tool_would_write(ctx.common.output, -1);
	else if (!status)
		status = cfg.from ? route_import(&route, &err)
		         : traces ? route_traces(&route, &err)
		         : cfg.hidden ? route_hidden(&route, &err)
		                  : route_text(&route, &err);
	if (!status)
		status = commit(&route, &err);
	route_close(&route);
	moe_arena_free(&arena);
	return status ? tool_fail(&ctx, &err) : tool_end(&ctx);
}
