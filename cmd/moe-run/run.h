/* What the files of moe-run share: its options, what a run has open, and the work of each mode. */
#ifndef MOE_CMD_RUN_RUN_H
#define MOE_CMD_RUN_RUN_H

#include "eval/ablate.h"
#include "eval/choices.h"
#include "eval/dump.h"
#include "eval/generate.h"
#include "eval/importance.h"
#include "eval/items.h"
#include "eval/result.h"
#include "eval/score.h"
#include "eval/tokens.h"
#include "tool.h"

struct config {
	struct moe_opt_list prompts;
	int32_t n_generate, top_k;
	double temp, top_p, min_p;
	bool ignore_eos, echo;
	bool score, ids, tokenize, detokenize, mtp;
	int64_t window, overlap, ctx;
	const char *logits, *hidden, *trace, *imatrix, *device;
	const char *chat, *system; /* chat: NULL without --chat, "" without a name */
	int32_t gates, chunk, mla;
	struct moe_ablate_opts ablate;
	const char *choices, *exact, *prefix;
	int32_t n_samples;
	struct moe_opt_list stops;
	bool resume;
};

/* What a run has open; run_close undoes all of it. */
struct run {
	struct tool_ctx *ctx;
	const struct config *cfg;
	struct moe_pool *pool;
	struct moe_setup setup;
	struct moe_sequences seqs;
	struct moe_session *session;
	struct moe_record_header described;
	struct moe_record *record;
	struct moe_trace_out *trace;
	struct moe_dump *logits, *hidden;
	struct moe_importance *importance;
	struct moe_out *out;
	struct moe_scorer scorer;
	struct moe_ablate ablate;
	int64_t seq; /* the current sequence */
	const struct moe_chat_form *chat; /* NULL: texts are taken as they are */
	struct moe_ids ends;              /* ids that end an answer */
	struct tool_progress progress;
	struct moe_items items;
	struct moe_result *result; /* in place of out, where rows are written */
	struct moe_buf meta, hint; /* what made the result; what an interrupted run says */
	const char **keys;         /* [rows of the result] */
	const struct moe_sequence *before; /* what the session was fed last */
	int64_t window;
};

/* Ready to add up logits. */
MOE_MUST_USE enum moe_status run_new_scorer(struct run *run, struct moe_err *err);
/* Is there one of --choices, --exact, --samples? */
static inline bool run_evaluates(const struct config *cfg) { return cfg->choices || cfg->exact || cfg->n_samples; }
/* Does a run write rows that --resume finds again? */
bool run_is_resumable(const struct run *run);
/* Opens the result of these columns with n_keys rows to come, their first fields in run->keys; *done: there already,
 * as all are where the result is complete. `mode` lines of meta stand before those of the command. */
MOE_MUST_USE enum moe_status run_open_result(struct run *run, const char *columns, bool json, int64_t n_keys,
                                             const char *command, int64_t *done, struct moe_err *err);
/* Options of evaluations that contradict each other or the others; NULL where none do. */
const char *run_eval_misuse(const struct tool_ctx *ctx, const struct config *cfg);
/* Reads items, or prompts for --samples, into sequences. */
MOE_MUST_USE enum moe_status run_read_items(struct run *run, struct moe_err *err);
/* --choices, --exact, --samples. */
MOE_MUST_USE enum moe_status run_evaluate(struct run *run, int64_t n_ctx, int64_t n_max, const char *command,
                                          struct moe_err *err);

/* Every text or line of ids becomes sequences. window 0: a text stays whole. */
MOE_MUST_USE enum moe_status run_read_inputs(struct run *run, int64_t window, struct moe_err *err);
/* The session and every output beside stdout, for the sequences read; *n_ctx: the positions it has. With --dry-run it
 * says what they would take instead. */
MOE_MUST_USE enum moe_status run_open_session(struct run *run, int64_t n_generate, const char *command, int64_t *n_ctx,
                                              struct moe_err *err);
/* Feeds every sequence as it is: scores, logits, hidden states, trace. */
MOE_MUST_USE enum moe_status run_feed(struct run *run, const char *command, struct moe_err *err);
/* What generation of at most n_max tokens within n_ctx positions is given by the options; session, record and replay
 * are the run's. */
struct moe_generate run_generation(const struct run *run, int64_t n_ctx, int64_t n_max);
/* Goes on from every sequence, n_max tokens each. */
MOE_MUST_USE enum moe_status run_generate(struct run *run, int64_t n_ctx, int64_t n_max, struct moe_err *err);
/* Ids of texts as the tokenizer gives them, without BOS; or the text of lines of ids. */
MOE_MUST_USE enum moe_status run_convert_tokens(struct run *run, struct moe_err *err);

#endif
