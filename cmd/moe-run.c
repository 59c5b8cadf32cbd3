/* moe-run: text or ids through the model: generated text, scores, logits, hidden states, a trace. */
#include <stdlib.h>
#include <string.h>

#include "moe-run/run.h"

static const char *policy_word(size_t i)
{
	const struct moe_policy *policy = moe_policy_at(i);
	return policy ? policy->name : NULL;
}

static const char *chat_word(size_t i)
{
	const struct moe_chat_form *form = moe_chat_form_at(i);
	return form ? form->name : NULL;
}

static const struct moe_opt options[] = {
	MOE_OPT_GROUP("Input"),
	MOE_OPT_LIST('p', "prompt", "TEXT", struct config, prompts,
	             "text given here instead of in files; may be repeated"),
	MOE_OPT_FLAG(0, "ids", struct config, ids,
	             "lines of token ids instead of text, one sequence each, taken as they are"),
	MOE_OPT_OPTIONAL("chat", "NAME", chat_word, struct config, chat,
	                 "each text is a user's turn in the chat form NAME [that of the model's template]"),
	MOE_OPT_STR(0, "system", "TEXT", struct config, system, "with --chat: the system's turn"),
	MOE_OPT_GROUP("Generation"),
	MOE_OPT_INT('n', "n-tokens", "N", struct config, n_generate, 0, INT32_MAX,
	            "tokens to generate; 0: none [128]"),
	MOE_OPT_F64(0, "temp", "T", struct config, temp, 0, 1000, "temperature; 0: always the likeliest token [0]"),
	MOE_OPT_INT(0, "top-k", "N", struct config, top_k, 1, INT32_MAX, "sample among the N likeliest tokens [all]"),
	MOE_OPT_F64(0, "top-p", "P", struct config, top_p, 0, 1,
	            "sample among the fewest tokens whose sum reaches P [1]"),
	MOE_OPT_F64(0, "min-p", "P", struct config, min_p, 0, 1, "drop tokens below P times the likeliest [0]"),
	MOE_OPT_FLAG(0, "ignore-eos", struct config, ignore_eos, "do not stop at the end-of-text token"),
	MOE_OPT_FLAG(0, "echo", struct config, echo, "print the prompt before the text"),
	MOE_OPT_LIST(0, "stop", "TEXT", struct config, stops, "end before TEXT; may be repeated"),
	MOE_OPT_GROUP("Measuring"),
	MOE_OPT_FLAG(0, "score", struct config, score, "log-likelihood, perplexity and bits per byte of each text"),
	MOE_OPT_I64(0, "window", "N", struct config, window, 1, 0x1p61,
	            "tokens a text is cut into [512 or the model's maximum]"),
	MOE_OPT_I64(0, "overlap", "N", struct config, overlap, 0, 0x1p61, "tokens of context before each window [0]"),
	MOE_OPT_FILE(0, "logits", "FILE", struct config, logits,
	             "write logits.<seq> [tokens, vocab] to a safetensors file"),
	MOE_OPT_FILE(0, "hidden", "FILE", struct config, hidden,
	             "write hidden.<seq>.<n> [tokens, hidden], the residual stream after n layers"),
	MOE_OPT_FLAG(0, "mtp", struct config, mtp,
	             "the layer of multi-token prediction too: in --score, --logits and --trace"),
	MOE_OPT_FILE(0, "trace", "FILE", struct config, trace, "write a trace of the experts chosen"),
	MOE_OPT_FILE(0, "imatrix", "FILE", struct config, imatrix,
	             "write how much each column of each matrix matters, for moe-convert --imatrix"),
	MOE_OPT_ENUM(0, "gates", "f32|f16|8bit|none", struct config, gates, "how the trace stores gates [f32]"),
	MOE_OPT_GROUP("Evaluation"),
	MOE_OPT_FILE(0, "choices", "FILE", struct config, choices,
	             "accuracy of multiple choice by log-likelihood; table: item context choice correct"),
	MOE_OPT_FILE(0, "exact", "FILE", struct config, exact,
	             "generate and compare: exact match and F1; table: item prompt answer"),
	MOE_OPT_FILE(0, "prefix", "FILE", struct config, prefix,
	             "text before every context or prompt: examples of the task"),
	MOE_OPT_INT(0, "samples", "N", struct config, n_samples, 1, 1 << 20,
	            "write N texts for each prompt or item of --exact as JSON lines"),
	MOE_OPT_FLAG(0, "resume", struct config, resume, "go on with the -o FILE of an interrupted run"),
	MOE_OPT_GROUP("Routing otherwise"),
	MOE_OPT_INT('k', "experts-per-token", "N", struct config, ablate.top_k, 1, INT32_MAX,
	            "experts per token [the model's]"),
	MOE_OPT_LISTED(0, "policy", "NAME", policy_word, struct config, ablate.policy,
	               "routing policy [the model's]"),
	MOE_OPT_STR(0, "disable", "L:E,...", struct config, ablate.disable,
	            "experts that are never chosen; ranges and * allowed: 3:7,4:0-5,*:2"),
	MOE_OPT_F64(0, "mask-top", "F", struct config, ablate.mask_top, 0, 1,
	            "bar the share F of experts with the largest logits, for each token"),
	MOE_OPT_FLAG(0, "no-shared", struct config, ablate.no_shared, "leave out the shared experts"),
	MOE_OPT_F64(0, "capacity", "CF", struct config, ablate.capacity, 0, 1e9,
	            "an expert takes ceil(CF * k * T / E) choices of a group of T tokens"),
	MOE_OPT_I64(0, "capacity-tokens", "N", struct config, ablate.capacity_tokens, 1, 0x1p61,
	            "an expert takes N choices of a group"),
	MOE_OPT_STR(0, "capacity-group", "GROUP", struct config, ablate.capacity_group,
	            "what a group is: sequence, or tokens=N across sequences [sequence]"),
	MOE_OPT_FILE(0, "replay", "TRACE", struct config, ablate.replay,
	             "force the choices of a trace of the same text"),
	MOE_OPT_FLAG(0, "replay-gates", struct config, ablate.replay_gates, "with --replay: its gates too"),
	MOE_OPT_GROUP("Tokenizer"),
	MOE_OPT_FLAG(0, "tokenize", struct config, tokenize,
	             "print one line of token ids per text, and nothing else"),
	MOE_OPT_FLAG(0, "detokenize", struct config, detokenize, "print the text of lines of token ids"),
	MOE_OPT_GROUP("Computing"),
	MOE_OPT_LISTED(0, "device", "NAME", moe_device_at, struct config, device, "where to compute: cpu [cpu]"),
	MOE_OPT_I64(0, "ctx", "N", struct config, ctx, 1, INT32_MAX,
	            "positions of a sequence, at most [the model's maximum]"),
	MOE_OPT_ENUM(0, "mla", "role|expanded|absorbed", struct config, mla,
	             "form of latent attention; by role: expanded for given tokens, absorbed for generated [role]"),
	MOE_OPT_INT(0, "chunk", "N", struct config, chunk, 1, 1 << 20,
	            "tokens a pass; results do not depend on it [512]"),
	MOE_OPT_END,
};

static const struct tool tool = { "moe-run", "[options] MODEL [TEXT...]",
	                          "Run a Mixture-of-Experts model on text or token ids.", options };

static enum moe_status commit(struct run *run, struct moe_err *err)
{
	const bool weighs = run->importance && !run->ctx->common.dry_run;
	enum moe_status status = MOE_OK;
	if (weighs)
		status = moe_importance_write(run->importance, run->cfg->imatrix, tool_out_flags(run->ctx), &run->seqs,
		                              run->ctx->watch, err);
	if (status)
		return status;
	status = run->trace ? moe_trace_commit(run->trace, err) : MOE_OK;
	run->trace = NULL;
	if (!status && run->logits) {
		status = moe_dump_commit(run->logits, err);
		run->logits = NULL;
	}
	if (!status && run->hidden) {
		status = moe_dump_commit(run->hidden, err);
		run->hidden = NULL;
	}
	if (!status && run->result) {
		status = moe_result_commit(run->result, err);
		run->result = NULL;
	}
	if (!status && run->out) {
		status = moe_out_commit(run->out, err);
		run->out = NULL;
	}
	return status;
}

static void run_close(struct run *run)
{
	if (run->trace)
		moe_trace_abort(run->trace);
	moe_dump_abort(run->logits);
	moe_dump_abort(run->hidden);
	moe_out_abort(run->out);
	tool_on_interrupt(run->ctx, NULL);
	moe_result_abort(run->result);
	moe_items_free(&run->items);
	moe_buf_free(&run->meta);
	moe_buf_free(&run->hint);
	free(run->keys);
	moe_session_close(run->session);
	free(run->scorer.likeliest);
	moe_ablate_close(&run->ablate);
	moe_ids_free(&run->ends);
	moe_record_free(run->record);
	moe_record_header_free(&run->described);
	moe_sequences_free(&run->seqs);
	moe_setup_close(&run->setup);
	moe_importance_free(run->importance);
}

static enum moe_status open_model(struct run *run, struct moe_err *err)
{
	const struct config *cfg = run->cfg;
	char *path = NULL;
	enum moe_status status = tool_model_path(run->ctx, run->ctx->operands[0], &path, err);
	if (!status)
		status = tool_pool(run->ctx, &run->pool, err);
	if (!status && (cfg->tokenize || cfg->detokenize))
		status = moe_setup_text(&run->setup, path, run->ctx->watch, err);
	else if (!status)
		status = moe_setup_open(&run->setup, path, cfg->device, run->pool, run->ctx->watch, err);
	/* Ids need no tokenizer, but with one the bytes they stand for can be counted. */
	if (!status && (!cfg->ids || (cfg->score && moe_tokenizer_is_in(run->setup.ckpt))))
		status = moe_setup_tokenizer(&run->setup, err);
	if (!status && cfg->chat && run->setup.model && run->setup.model->config.n_encoder_layers > 0)
		status = moe_err_set(err, MOE_EUSAGE, "%s: --chat is for models without an encoder", path);
	if (!status && cfg->chat)
		status = moe_chat_choose(&run->chat, run->setup.tokenizer, cfg->chat, err);
	if (!status && cfg->chat)
		status = moe_chat_stops(run->chat, run->setup.tokenizer, &run->ends, err);
	free(path);
	return status;
}

static enum moe_status run_all(struct run *run, const char *command, struct moe_err *err)
{
	const struct config *cfg = run->cfg;
	const bool evaluates = run_evaluates(cfg), makes_result = cfg->score || evaluates;
	const bool feeds =
	    cfg->score || cfg->logits || cfg->hidden || cfg->imatrix || cfg->choices || cfg->n_generate == 0;
	const int64_t n_max = feeds ? 0 : cfg->n_generate < 0 ? 128 : cfg->n_generate;
	/* What --resume finds under the name of the output is looked at once it is known what it should be. */
	const char *const outputs[] = { cfg->resume ? NULL : run->ctx->common.output, cfg->logits, cfg->hidden,
		                        cfg->trace, cfg->imatrix };
	const char *const inputs[] = { cfg->choices, cfg->exact, cfg->prefix };
	enum moe_status status = MOE_OK;
	for (size_t i = 0; i < sizeof inputs / sizeof *inputs && !status; i++)
		if (inputs[i])
			status = moe_watch_add_input(run->ctx->watch, inputs[i], err);
	if (!status)
		status = tool_files(run->ctx, 1, outputs, sizeof outputs / sizeof *outputs, err);
	if (!status)
		status = open_model(run, err);
	if (!status && !run->ctx->common.dry_run && !makes_result)
		status = moe_out_open(&run->out, run->ctx->common.output ? run->ctx->common.output : "-",
		                      tool_out_flags(run->ctx), run->ctx->watch, err);
	if (status)
		return status;
	if (cfg->tokenize || cfg->detokenize)
		return run_convert_tokens(run, err);

	const int64_t most = run->setup.model->config.max_positions;
	run->window = cfg->window ? cfg->window : most > 0 && most < 512 ? most : 512;
	int64_t n_ctx = 0;
	status = evaluates ? run_read_items(run, err) : run_read_inputs(run, n_max ? 0 : run->window, err);
	if (!status)
		status = run_open_session(run, n_max, command, &n_ctx, err);
	if (status || run->ctx->common.dry_run)
		return status;
	if (evaluates)
		return run_evaluate(run, n_ctx, n_max, command, err);
	return n_max ? run_generate(run, n_ctx, n_max, err) : run_feed(run, command, err);
}

/* Options that contradict each other; NULL where none do. */
static const char *contradiction(const struct tool_ctx *ctx, const struct config *cfg)
{
	const bool measures = cfg->score || cfg->logits || cfg->hidden || cfg->imatrix;
	/* something of its own on stdout */
	const bool prints = cfg->score || run_evaluates(cfg) || cfg->n_generate != 0;
	const bool to_stdout = !ctx->common.output || strcmp(ctx->common.output, "-") == 0;
	if (ctx->n_operands < 1)
		return "no MODEL given";
	if (run_eval_misuse(ctx, cfg))
		return run_eval_misuse(ctx, cfg);
	if (cfg->tokenize && cfg->detokenize)
		return "--tokenize and --detokenize exclude each other";
	if ((cfg->tokenize || cfg->detokenize) && (measures || cfg->trace || cfg->n_generate >= 0))
		return "--tokenize and --detokenize need no model run: they exclude --score, --logits, --hidden, "
		       "--imatrix, --trace and -n";
	if ((cfg->tokenize || cfg->detokenize) && (ctx->common.dry_run || ctx->common.json || cfg->echo))
		return "--tokenize and --detokenize print ids or text alone: they exclude --dry-run, --json and --echo";
	if (cfg->tokenize && cfg->ids)
		return "--tokenize takes text, --ids takes ids: use --detokenize for the way back";
	if (cfg->system && !cfg->chat)
		return "--system is the system's turn of --chat";
	if (cfg->system && !*cfg->system)
		return "option --system: the text is empty";
	if (cfg->chat && (cfg->ids || cfg->detokenize))
		return "--chat takes text, --ids and --detokenize take ids";
	if (cfg->chat && (cfg->score || cfg->choices || cfg->exact || cfg->window || cfg->overlap))
		return "--chat makes a prompt of a whole text: it excludes --score, --choices, --exact, --window and "
		       "--overlap";
	if (measures && cfg->n_generate > 0)
		return "--score, --logits, --hidden and --imatrix measure given text: they go with -n 0";
	if ((cfg->window || cfg->overlap) && (cfg->ids || !(measures || cfg->n_generate == 0)))
		return "--window and --overlap cut texts that are measured (--score, --logits, --hidden, --imatrix, "
		       "-n 0); a "
		       "prompt and a line of --ids stay whole";
	if (cfg->ablate.replay &&
	    (cfg->ablate.top_k || cfg->ablate.policy || cfg->ablate.disable || cfg->ablate.mask_top > 0))
		return "--replay forces the choices: it excludes -k, --policy, --disable and --mask-top";
	if (cfg->ablate.capacity == 0)
		return "option --capacity: 0 is not above 0";
	if (cfg->ablate.capacity > 0 && cfg->ablate.capacity_tokens)
		return "--capacity and --capacity-tokens say the same in two ways: give one";
	if (cfg->ablate.capacity_group && !(cfg->ablate.capacity > 0) && !cfg->ablate.capacity_tokens)
		return "--capacity-group goes with --capacity or --capacity-tokens";
	if (cfg->ablate.replay_gates && !cfg->ablate.replay)
		return "--replay-gates goes with --replay";
	if (cfg->echo && (measures || cfg->n_generate == 0))
		return "--echo goes with generated text: it excludes --score, --logits, --hidden, --imatrix and -n 0";
	if (cfg->gates >= 0 && !cfg->trace)
		return "--gates says how --trace FILE stores gates";
	if (cfg->top_p <= 0)
		return "option --top-p: 0 is not above 0";
	if (cfg->mtp && !cfg->logits && !cfg->score && !cfg->trace && !cfg->imatrix)
		return "--mtp adds columns to --score, tensors to --logits FILE and a layer to --trace FILE and "
		       "--imatrix FILE: give one";
	if (cfg->imatrix && strcmp(cfg->imatrix, "-") == 0)
		return "--imatrix: '-' will not do, name a file";
	if (cfg->temp == 0 && (cfg->top_k || cfg->top_p < 1 || cfg->min_p > 0))
		return "--top-k, --top-p and --min-p choose among tokens at random: give --temp above 0";
	if (cfg->trace && strcmp(cfg->trace, "-") == 0 && to_stdout && prints && (cfg->score || !measures))
		return "only one output can be '-' (stdout): name a file with -o";
	return NULL;
}

int main(int argc, char **argv)
{
	struct config cfg = { .n_generate = -1, .top_p = 1, .gates = -1, .device = "cpu", .chunk = 512,
		              .ablate.capacity = -1 };
	struct tool_ctx ctx;
	struct moe_err err = { 0 };
	struct moe_arena arena = { 0 };
	const char *command = moe_command_line(&arena, argc, argv, NULL);
	/* A result is the same whether it was resumed or not, even where all of it is still to be made. */
	const char *resumed = moe_command_line(&arena, argc, argv, "--resume");
	tool_start(argc, argv, &tool, &cfg, &ctx);
	const char *problem = contradiction(&ctx, &cfg);
	if (problem) {
		moe_arena_free(&arena);
		return tool_misuse(&ctx, "%s", problem);
	}
	struct run run = { .ctx = &ctx, .cfg = &cfg };
	command = cfg.resume ? resumed : command;
	enum moe_status status = command ? run_all(&run, command, &err) : moe_err_nomem(&err, 0, "the command line");
	if (!status)
		status = commit(&run, &err);
	if (status && run.result && moe_result_partial(run.result) && moe_result_done(run.result))
		tool_note(&ctx, "%s", run.hint.p);
	run_close(&run);
	moe_arena_free(&arena);
	return status ? tool_fail(&ctx, &err) : tool_end(&ctx);
}
