/* Evaluation: questions with choices, questions with answers, samples for a judge elsewhere. */
#include <stdlib.h>
#include <string.h>

#include "eval/answer.h"
#include "moe-run/run.h"

#define EXACT_COLUMNS "item\tliteral\texact\tf1\ttokens\tstop\ttext"
#define SAMPLE_COLUMNS "item\tsample\ttokens\tstop\ttext"
enum { LITERAL = 1, EXACT, F1, TOKENS, STOP, TEXT, N_EXACT_COLUMNS };

const char *run_eval_misuse(const struct tool_ctx *ctx, const struct config *cfg)
{
	const bool texts = ctx->n_operands > 1 || cfg->prompts.n > 0, writes = cfg->exact || cfg->n_samples;
	if (cfg->choices && (cfg->exact || cfg->n_samples))
		return "--choices excludes --exact and --samples";
	if (run_evaluates(cfg) &&
	    (cfg->score || cfg->logits || cfg->hidden || cfg->imatrix || cfg->tokenize || cfg->detokenize))
		return "--choices, --exact and --samples exclude --score, --logits, --hidden, --imatrix, --tokenize "
		       "and --detokenize";
	if (run_evaluates(cfg) && (cfg->ids || cfg->echo || cfg->ablate.replay))
		return "--choices, --exact and --samples exclude --ids, --echo and --replay";
	if ((cfg->choices || cfg->exact) && texts)
		return "--choices and --exact read their items from FILE: they exclude TEXT and -p";
	if (cfg->choices && cfg->n_generate >= 0)
		return "--choices generates nothing: it excludes -n";
	if (writes && cfg->n_generate == 0)
		return "--exact and --samples generate: they exclude -n 0";
	if (cfg->n_samples > 1 && cfg->temp == 0)
		return "--samples N draws at random: give --temp above 0";
	if (cfg->prefix && !cfg->choices && !cfg->exact)
		return "--prefix goes with --choices and --exact";
	for (int i = 0; i < cfg->stops.n; i++)
		if (!*cfg->stops.items[i])
			return "option --stop: the text is empty";
	const bool measures =
	    cfg->score || cfg->choices || cfg->logits || cfg->hidden || cfg->imatrix || cfg->n_generate == 0;
	if (cfg->stops.n && (measures || cfg->ids || cfg->tokenize || cfg->detokenize))
		return "--stop goes with generated text";
	if (!cfg->resume)
		return NULL;
	if (!cfg->score && !run_evaluates(cfg))
		return "--resume goes with --score, --choices, --exact and --samples";
	if (!ctx->common.output || strcmp(ctx->common.output, "-") == 0)
		return "--resume goes on with a file: name it with -o";
	if (cfg->trace || cfg->logits || cfg->hidden || cfg->imatrix || cfg->ablate.replay || ctx->common.force)
		return "--resume excludes --trace, --logits, --hidden, --imatrix, --replay and --force";
	if (cfg->ablate.capacity_group && strcmp(cfg->ablate.capacity_group, "sequence") != 0)
		return "--resume excludes --capacity-group tokens=N, where sequences depend on those before";
	return NULL;
}

enum moe_status run_read_items(struct run *run, struct moe_err *err)
{
	const struct config *cfg = run->cfg;
	const struct moe_config *config = &run->setup.model->config;
	if (!cfg->choices && !cfg->exact)
		return run_read_inputs(run, 0, err);
	if (config->n_encoder_layers > 0)
		return moe_err_set(err, MOE_EUSAGE, "%s: the model has an encoder: --choices and --exact are for "
		                   "models that go on with a text", run->setup.ckpt->path);
	const enum moe_items_kind kind = cfg->choices     ? MOE_ITEMS_CHOICES
	                                 : cfg->n_samples ? MOE_ITEMS_PROMPTS
	                                                  : MOE_ITEMS_ANSWERS;
	const struct moe_items_encoding how = {
		.tokenizer = run->setup.tokenizer,
		.pool = run->pool,
		.n_ctx = cfg->ctx ? cfg->ctx : config->max_positions,
		.is_own_limit = cfg->ctx > 0,
	};
	enum moe_status status = moe_items_read(&run->items, cfg->choices ? cfg->choices : cfg->exact, kind, err);
	if (!status && cfg->prefix)
		status = moe_items_prefix(&run->items, cfg->prefix, err);
	return status ? status : moe_items_encode(&run->items, &how, &run->seqs, err);
}

/* ---- choices ---- */

static enum moe_status choose(struct run *run, int64_t i, struct moe_choice_score *scores, struct moe_err *err)
{
	const struct moe_item *item = &run->items.items[i];
	enum moe_status status = MOE_OK;
	for (int64_t c = 0; c < item->n && !status; c++) {
		run->seq = item->first + c;
		const struct moe_sequence *seq = &run->seqs.items[run->seq];
		status = moe_scorer_continuation(&run->scorer, run->session, run->record, seq, run->seq, run->before,
		                                 err);
		status = moe_sequences_blame(&run->seqs, run->seq, run->setup.ckpt->path, status, err);
		scores[c] = (struct moe_choice_score){ run->scorer.sum.logprob, run->scorer.sum.n_tokens,
			                               (int64_t)run->items.rows[run->seq].text.n };
		run->before = seq;
		tool_progress_add(&run->progress, seq->n_tokens);
	}
	return status ? status : moe_choices_row(run->result, item, scores, err);
}

static enum moe_status evaluate_choices(struct run *run, int64_t done, struct moe_err *err)
{
	const struct moe_items *items = &run->items;
	struct moe_choice_score *scores = calloc((size_t)items->n_rows, sizeof *scores);
	int64_t n_tokens = 0;
	enum moe_status status = MOE_OK;
	if (!scores)
		return moe_err_nomem(err, (size_t)items->n_rows * sizeof *scores, "scores");
	for (int64_t row = done < items->n ? items->items[done].first : items->n_rows; row < items->n_rows; row++)
		n_tokens += run->seqs.items[row].n_tokens;
	status = run_new_scorer(run, err);
	tool_progress_start(&run->progress, run->ctx, "tokens", n_tokens, TOOL_TOKENS);
	for (int64_t i = done; i < items->n && !status; i++)
		status = choose(run, i, scores, err);
	free(scores);
	return status ? status : moe_choices_total(run->result, items->n, err);
}

/* ---- generated text ---- */

/* A text being generated; the stop texts are looked for as it grows. */
struct writer {
	struct moe_detok *detok;
	struct moe_stops stops;
	struct moe_buf text;
	bool ended;
};

/* The bytes from `searched` on are new: cuts the text where a stop text begins. */
static void look_for_end(struct writer *w, size_t searched)
{
	const size_t end = moe_stops_find(&w->stops, w->text.p ? w->text.p : "", w->text.n, searched);
	w->ended = end < w->text.n;
	w->text.n = end;
}

static enum moe_status on_token(void *arg, int32_t id, bool *ends, struct moe_err *err)
{
	struct writer *w = arg;
	const size_t searched = w->text.n;
	enum moe_status status = moe_detok_add(w->detok, id, &w->text, err);
	look_for_end(w, searched);
	*ends = w->ended;
	return status;
}

static enum moe_status write_text(struct run *run, struct moe_generate *g, struct writer *w, int64_t i, int32_t sample,
                                  struct moe_generated *made, struct moe_err *err)
{
	const struct moe_sequence *prompt = &run->seqs.items[i];
	run->seq = i * (run->cfg->n_samples ? run->cfg->n_samples : 1) + sample;
	g->before = run->before;
	g->stream = moe_generate_stream(prompt->source, sample);
	w->text.n = 0;
	w->ended = false;
	enum moe_status status = moe_generate_run(g, prompt, run->seq, made, err);
	status = moe_sequences_blame(&run->seqs, i, run->setup.ckpt->path, status, err);
	run->before = prompt;
	const size_t n = w->text.n;
	if (!status)
		status = moe_detok_finish(w->detok, &w->text, err);
	if (w->ended)
		w->text.n = n;   /* what was held back lies behind the end */
	else
		look_for_end(w, n);
	if (w->ended)
		made->stop = MOE_STOP_TEXT;
	tool_progress_add(&run->progress, 1);
	return status ? status : moe_buf_check(&w->text, err);
}

static enum moe_status judge(struct run *run, int64_t i, const struct writer *w, const struct moe_generated *made,
                             struct moe_err *err)
{
	const struct moe_item *item = &run->items.items[i];
	const struct moe_str text = { w->text.p ? w->text.p : "", w->text.n };
	const char *stop = moe_stop_name(made->stop);
	struct moe_match best = { 0 }, match;
	enum moe_status status = MOE_OK;
	for (int64_t row = item->first; row < item->first + item->n && !status; row++) {
		status = moe_answer_match(text, run->items.rows[row].text, &match, err);
		if (!status)
			best = moe_match_best(best, match);
	}
	const struct moe_field fields[N_EXACT_COLUMNS] = {
		moe_field_text(item->name, strlen(item->name)), moe_field_int(best.literal), moe_field_int(best.exact),
		moe_field_real(best.f1), moe_field_int(made->n_tokens), moe_field_text(stop, strlen(stop)),
		moe_field_text(text.p, text.n),
	};
	return status ? status : moe_result_row(run->result, fields, err);
}

static enum moe_status add_sample(struct run *run, int64_t i, int32_t sample, const struct writer *w,
                                  const struct moe_generated *made, struct moe_err *err)
{
	const char *name = run->seqs.items[i].source, *stop = moe_stop_name(made->stop);
	const struct moe_field fields[] = {
		moe_field_text(name, strlen(name)), moe_field_int(sample), moe_field_int(made->n_tokens),
		moe_field_text(stop, strlen(stop)), moe_field_text(w->text.p ? w->text.p : "", w->text.n),
	};
	return moe_result_row(run->result, fields, err);
}

static enum moe_status total_exact(struct run *run, struct moe_err *err)
{
	const double n = (double)run->items.n;
	struct moe_field fields[N_EXACT_COLUMNS] = { moe_field_text("total", 5) };
	for (int column = LITERAL; column <= F1; column++)
		fields[column] = moe_field_real(moe_result_sum(run->result, column) / n);
	fields[TOKENS] = moe_field_int((int64_t)moe_result_sum(run->result, TOKENS));
	return moe_result_last(run->result, fields, err);
}

static enum moe_status evaluate_texts(struct run *run, int64_t n_ctx, int64_t n_max, int64_t done, struct moe_err *err)
{
	const int32_t n_samples = run->cfg->n_samples, each = n_samples ? n_samples : 1;
	const int64_t n = run->seqs.n * each;
	struct writer w = { .stops = { run->cfg->stops.items, run->cfg->stops.n } };
	struct moe_generate g = run_generation(run, n_ctx, n_max);
	struct moe_generated made;
	g.arg = &w;
	g.token = on_token;
	enum moe_status status = moe_detok_new(&w.detok, run->setup.tokenizer, true, err);
	tool_progress_start(&run->progress, run->ctx, n_samples ? "samples" : "items", n - done, TOOL_ITEMS);
	for (int64_t k = done; k < n && !status; k++) {
		const int64_t i = k / each;
		const int32_t sample = (int32_t)(k % each);
		status = write_text(run, &g, &w, i, sample, &made, err);
		if (!status)
			status = n_samples ? add_sample(run, i, sample, &w, &made, err) : judge(run, i, &w, &made, err);
	}
	moe_detok_free(w.detok);
	moe_buf_free(&w.text);
	return status || n_samples ? status : total_exact(run, err);
}

enum moe_status run_evaluate(struct run *run, int64_t n_ctx, int64_t n_max, const char *command, struct moe_err *err)
{
	const struct config *cfg = run->cfg;
	const char *columns = cfg->choices     ? MOE_CHOICES_COLUMNS
	                      : cfg->n_samples ? SAMPLE_COLUMNS
	                                       : EXACT_COLUMNS;
	const int64_t each = cfg->n_samples ? cfg->n_samples : 1;
	const int64_t n = (cfg->choices ? run->items.n : run->seqs.n) * each;
	int64_t done = 0;
	run->keys = calloc((size_t)n + 1, sizeof *run->keys);
	if (!run->keys)
		return moe_err_nomem(err, (size_t)n * sizeof *run->keys, "the list of items");
	for (int64_t k = 0; k < n; k++)
		run->keys[k] = cfg->choices ? run->items.items[k].name : run->seqs.items[k / each].source;
	enum moe_status status =
	    run_open_result(run, columns, run->ctx->common.json || cfg->n_samples, n, command, &done, err);
	if (status || moe_result_is_complete(run->result))
		return status;
	status = cfg->choices ? evaluate_choices(run, done, err) : evaluate_texts(run, n_ctx, n_max, done, err);
	tool_progress_finish(&run->progress);
	return status;
}
