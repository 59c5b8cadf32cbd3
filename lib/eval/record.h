/* Routing as it happens, gathered layer by layer into runs of a trace. */
#ifndef MOE_EVAL_RECORD_H
#define MOE_EVAL_RECORD_H

#include "eval/sequences.h"
#include "eval/setup.h"
#include "forward/forward.h"
#include "trace/trace.h"

struct moe_record;

/* Where runs go: a trace, or whoever wants them. The run is a view until the call returns. */
struct moe_record_sink {
	void *arg;
	enum moe_status (*run)(void *arg, const struct moe_trace_run *run, struct moe_err *err);
};

/* What is recorded. top_k: experts a token, the model's or what a run makes of it. chunk: tokens of a pass, at most. */
struct moe_record_opts {
	int32_t top_k, chunk;
	bool logits, margins; /* keep them */
	bool mtp; /* the session runs the MTP layer: its choices too, if it has a router */
};
MOE_MUST_USE enum moe_status moe_record_new(struct moe_record **out, const struct moe_config *config,
                                            const struct moe_record_opts *opts, const struct moe_record_sink *sink,
                                            struct moe_err *err);
void moe_record_free(struct moe_record *record); /* NULL is fine */
/* What follows belongs to sequence number seq; its tokens are told by moe_record_tokens before each pass. */
void moe_record_begin(struct moe_record *record, int64_t seq, const char *source);
/* The tokens of the positions to come, as the session counts them: tokens[i] is that of position pos + i. A view until
 * the next call. */
void moe_record_tokens(struct moe_record *record, int64_t pos, const int32_t *tokens);
/* For moe_hooks.routing: delivers a run when the last router of a stack has spoken. Behind an encoder the decoder's
 * positions in the trace follow those of the encoder's tokens; each of them has no choices (ids -1, weights 0, logits
 * that are not numbers) in the layers of the other stack. With an MTP layer the last token of a pass waits for the
 * next, where that layer hears of it. */
MOE_MUST_USE enum moe_status moe_record_routing(struct moe_record *record, const struct moe_routing *routing,
                                                int64_t pos, struct moe_err *err);

/* The sequence is over: its last token, which has no choices in the MTP layer, is delivered. NULL is fine. */
MOE_MUST_USE enum moe_status moe_record_finish(struct moe_record *record, struct moe_err *err);

/* Starts a sequence, the number-th: the session forgets the one before and an encoder is given its tokens; the record
 * (NULL: nobody) is told of it, and that the decoder's tokens follow. */
MOE_MUST_USE enum moe_status moe_record_start(struct moe_record *record, struct moe_session *session,
                                              const struct moe_sequence *seq, int64_t number, struct moe_err *err);

/* The same, but what the sequence has in common with the one fed `before` (NULL: nothing), at most n_kept tokens, stays
 * where it is if nobody records and the session can go back there: the tokens from moe_session_pos on are to be fed. */
MOE_MUST_USE enum moe_status moe_record_go_on(struct moe_record *record, struct moe_session *session,
                                              const struct moe_sequence *seq, int64_t number,
                                              const struct moe_sequence *before, int64_t n_kept, struct moe_err *err);

/* The header of a trace of this model; layers [n_moe_layers] and strings are owned by *header's arena. */
struct moe_record_header {
	struct moe_arena arena;
	struct moe_trace_header header;
};
/* Hashes the checkpoint's names, types, shapes and config (not its weights). mtp: as in moe_record_opts. */
MOE_MUST_USE enum moe_status moe_record_describe(struct moe_record_header *out, const struct moe_setup *setup,
                                                 const char *model_name, const char *command, bool mtp,
                                                 struct moe_err *err);
void moe_record_header_free(struct moe_record_header *header);

/* argv as one line of text, words with blanks quoted; owned by the arena. NULL when out of memory. A word that is the
 * option `without`, such as "--resume", or at least five characters that it begins with, is left out; NULL: none is. */
const char *moe_command_line(struct moe_arena *arena, int argc, char *const *argv, const char *without);

#endif
