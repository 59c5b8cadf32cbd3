/* Generation: a prompt, then token by token until an end. */
#ifndef MOE_EVAL_GENERATE_H
#define MOE_EVAL_GENERATE_H

#include "eval/record.h"
#include "eval/replay.h"
#include "eval/sequences.h"
#include "forward/forward.h"
#include "forward/sample.h"

enum moe_stop { MOE_STOP_LENGTH, MOE_STOP_EOS, MOE_STOP_CONTEXT, MOE_STOP_TEXT };
const char *moe_stop_name(enum moe_stop stop); /* length eos context text */

/* Texts that end what is generated, none empty; views. */
struct moe_stops {
	const char *const *texts; /* [n] */
	int n;
};
/* Where in text[0, n) the first of them begins, n where none is; the first `searched` bytes were looked at before. */
size_t moe_stops_find(const struct moe_stops *stops, const char *text, size_t n, size_t searched);
/* How many bytes of a text without any of them cannot become part of one. */
size_t moe_stops_safe(const struct moe_stops *stops, const char *text, size_t n);


struct moe_generate {
	struct moe_session *session;
	const struct moe_config *config;
	struct moe_sampling sampling;
	int64_t n_max; /* tokens to generate, at most */
	int64_t n_ctx; /* positions of the session */
	bool ignore_eos;
	const int32_t *end_ids;    /* [n_end_ids] end the text beside the model's own */
	size_t n_end_ids;
	struct moe_replay *replay; /* forces choices; NULL: nothing does */
	struct moe_record *record; /* told of every token fed; NULL: nobody */
	/* Fed before in the same session, and nothing since but what came out of it: what both begin with is not fed
	 * again. NULL: nothing was. */
	const struct moe_sequence *before;
	uint64_t stream; /* of random numbers; 0: the number of the sequence */
	void *arg;
	/* A new token, the end-of-text token not included; true in *ends makes it the last: MOE_STOP_TEXT. */
	enum moe_status (*token)(void *arg, int32_t id, bool *ends, struct moe_err *err);
};

/* The stream of a sample of an item. */
uint64_t moe_generate_stream(const char *item, int32_t sample);

struct moe_generated {
	int64_t n_tokens;
	enum moe_stop stop;
};

/* Replaces what is in *text, the text generated, by a line with a JSON object; ids: the ids, with commas between them.
 * with_text false: the object has no text. */
void moe_generated_print(const struct moe_generated *made, const struct moe_sequence *prompt,
                         const struct moe_buf *ids, bool with_text, struct moe_buf *text);

/* Continues sequence number seq from the start of its prompt. */
MOE_MUST_USE enum moe_status moe_generate_run(const struct moe_generate *g, const struct moe_sequence *prompt,
                                              int64_t seq, struct moe_generated *out, struct moe_err *err);

#endif
