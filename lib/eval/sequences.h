/* Texts and lines of ids, cut into the sequences that a model is fed. */
#ifndef MOE_EVAL_SEQUENCES_H
#define MOE_EVAL_SEQUENCES_H

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/file.h"
#include "text/chat.h"
#include "text/tokenizer.h"

/* One sequence; sequences of one text share the pointer of their label. Tokens [n_given, n_tokens) are scored, each by
 * the logits of the token before it. */
struct moe_sequence {
	const char *source;
	const int32_t *tokens; /* [n_tokens] */
	int64_t n_tokens, n_given;
	const int32_t *encoder; /* [n_encoder] what an encoder is given; 0 where the model has none */
	int64_t n_encoder;
};

/* Zero-initialise; owns everything its sequences point to. */
struct moe_sequences {
	struct moe_sequence *items; /* [n] */
	int64_t n, cap;
	struct moe_arena arena;
};

/* How a text is cut. Its ids fall into windows of `window`; each is fed after BOS and after the `overlap` ids before
 * it. Every id is scored once; a model without BOS leaves the first id of a window unscored unless ids precede it.
 * An empty text is one sequence without tokens. window 0: the whole text is one sequence, an empty one BOS alone. */
struct moe_windows {
	int64_t window, overlap;
	int32_t bos_id; /* -1: none */
};

MOE_MUST_USE enum moe_status moe_sequences_add_text(struct moe_sequences *seqs, const struct moe_tokenizer *tokenizer,
                                                    const struct moe_windows *windows, const char *source,
                                                    const char *text, size_t n_bytes, struct moe_err *err);
/* Lines of decimal ids separated by blanks, taken as they are; an empty line is an empty sequence. All but the first id
 * are scored. Ids are below n_vocab where that is not 0. encoder: each line is ids for an encoder, a TAB, and those of
 * the decoder, at least one of either. `name` is what messages call the text. */
MOE_MUST_USE enum moe_status moe_sequences_add_ids(struct moe_sequences *seqs, const char *source, const char *name,
                                                   int32_t n_vocab, bool encoder, const char *text, size_t n_bytes,
                                                   struct moe_err *err);
/* A sequence as it is; tokens are copied, source is borrowed. */
MOE_MUST_USE enum moe_status moe_sequences_add(struct moe_sequences *seqs, const char *source, const int32_t *tokens,
                                               int64_t n_tokens, int64_t n_given, struct moe_err *err);
/* How many tokens both begin with. */
int64_t moe_sequence_common(const struct moe_sequence *a, const struct moe_sequence *b);
/* Where sequences come from. tokenizer NULL: texts are lines of ids. Prompts (labelled prompt, or prompt-1, ...) come
 * before files; where there is neither, stdin is read. "-" is stdin too. */
struct moe_inputs {
	const struct moe_tokenizer *tokenizer;
	/* The model has an encoder: lines are its ids, a TAB, the decoder's ids; a text is for the encoder, with what
	 * the tokenizer puts around it, window by window, and the decoder is given start_id. */
	bool encoder;
	int32_t start_id;
	int32_t n_vocab;   /* ids in lines are below it; 0: not checked */
	/* Texts become turns of a user, each one sequence: windows are left out, BOS is the form's. NULL: they are
	 * taken as they are. */
	const struct moe_chat_form *chat;
	const char *system;   /* with chat: the system's text; NULL: none */
	struct moe_windows windows;
	const char *const *prompts;
	int n_prompts;
	char *const *files;
	int n_files;
	struct moe_watch *watch;   /* told of files that are mapped; NULL: nobody watches */
};
MOE_MUST_USE enum moe_status moe_sequences_read(struct moe_sequences *seqs, const struct moe_inputs *inputs,
                                                struct moe_err *err);
/* Where computing sequence i failed because numbers are wrong (MOE_EFORMAT), the sentence gets the model's path, the
 * source and the number of the sequence. Returns status. */
enum moe_status moe_sequences_blame(const struct moe_sequences *seqs, int64_t i, const char *model,
                                    enum moe_status status, struct moe_err *err);
int64_t moe_sequences_longest(const struct moe_sequences *seqs);
int64_t moe_sequences_tokens(const struct moe_sequences *seqs);
/* The same of what encoders are given. */
int64_t moe_sequences_longest_encoder(const struct moe_sequences *seqs);
int64_t moe_sequences_encoder_tokens(const struct moe_sequences *seqs);
/* Of both. */
int64_t moe_sequences_all_tokens(const struct moe_sequences *seqs);
void moe_sequences_free(struct moe_sequences *seqs);

/* Labels of files: the name without directory and last extension; the path as given where two would be equal or nothing
 * would be left. "-" stays. labels [n], owned by the arena. */
MOE_MUST_USE enum moe_status moe_source_labels(struct moe_arena *arena, char *const *paths, int n,
                                               const char ***labels, struct moe_err *err);

#endif
