/* Dividing a text into pieces, bit by bit. What pre-tokenizers do is a list of steps; each reads a stream of pieces and
 * writes one of smaller pieces, as far as nothing that follows can change them. Indoors of the text folder. */
#ifndef MOE_TEXT_SPLIT_H
#define MOE_TEXT_SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "text/regex.h"
#include "text/stage.h"

/* What becomes of the matches of a pattern and of the gaps between them. */
enum moe_behavior {
	MOE_SPLIT_ISOLATED,       /* each match and each gap is a piece */
	MOE_SPLIT_REMOVED,        /* each gap is a piece */
	MOE_SPLIT_WITH_PREVIOUS,  /* a match goes with the gap before it */
	MOE_SPLIT_WITH_NEXT,      /* a match goes with the gap behind it */
	MOE_SPLIT_CONTIGUOUS,     /* as isolated, but matches without a gap between them are one piece */
};

enum moe_step_kind {
	MOE_STEP_MATCH,    /* divides every piece by what matches in it */
	MOE_STEP_PREFIX,   /* puts a character before each piece that does not begin with it */
	MOE_STEP_MAP,      /* puts a character in place of another */
};

struct moe_step {
	enum moe_step_kind kind;
	const struct moe_regex *regex;   /* what matches; NULL: */
	bool (*is)(uint32_t code);       /* every character for which this holds; NULL: */
	uint32_t code;                   /* every copy of this one. The prefix; what is replaced */
	uint32_t to;                     /* what replaces it */
	enum moe_behavior behavior;
	bool invert;                     /* a gap counts as a match, and a match as a gap */
	bool only_lead;                  /* a prefix only before a piece that begins where the whole text does */
};

/* Zero-initialise. */
struct moe_steps {
	struct moe_step *v;   /* [n] */
	size_t n, cap;
	bool byte_level;      /* the pieces go to the model as bytes, mapped to visible characters */
};

MOE_MUST_USE enum moe_status moe_steps_add(struct moe_steps *steps, struct moe_step step, struct moe_err *err);
/* obj["behavior"]; not there: *out stays as it is. */
MOE_MUST_USE enum moe_status moe_stage_behavior(const json_t *obj, const char *where, enum moe_behavior *out,
                                                struct moe_err *err);

/* Pieces of text that one writes and another reads. Zero-initialise. */
struct moe_stream {
	struct moe_buf text;   /* UTF-8 */
	size_t *ends;          /* [n_ends] where pieces end in it, ascending; the piece behind the last goes on */
	size_t n_ends, cap_ends;
	size_t n_lead;         /* bytes, the first, that come from the first character of the whole text; may pass n */
	size_t at;             /* bytes used up by who reads */
	bool open;             /* the piece that goes on is not empty, though all of it may be used up */
};

/* Text of the piece that goes on; n_lead of its bytes, the first, come from the beginning of the whole text. */
MOE_MUST_USE enum moe_status moe_stream_put(struct moe_stream *stream, const char *text, size_t n, size_t n_lead,
                                            struct moe_err *err);
/* The piece that goes on ends; an empty one is none. */
MOE_MUST_USE enum moe_status moe_stream_close(struct moe_stream *stream, struct moe_err *err);
/* Lets go of the first n bytes, which are used up, and of the ends, all of which are. */
void moe_stream_drop(struct moe_stream *stream, size_t n);
void moe_stream_free(struct moe_stream *stream);

/* A step at work. Zero-initialise but for step. */
struct moe_splitter {
	const struct moe_step *step;
	struct moe_stream in;
	size_t need;        /* bytes to be used that are worth another try: twice what the last could not use */
	/* Of the current piece: */
	bool any;           /* there has been a match or a gap */
	bool was_match;     /* the last of them is a match, */
	bool in_gap;        /* or a gap that may go on */
	bool fresh;         /* a match of the pattern ends at in.at */
	struct moe_regex_scan *scan;
	size_t n_scanned;   /* bytes of in.text that the scan has */
	size_t first;       /* code point of the scan where the piece begins, or one far enough before in.at */
	size_t code_at;     /* code point of in.at */
};

/* Appends to out what can be said by now of what is in splitter->in, all of it where the piece is closed. */
MOE_MUST_USE enum moe_status moe_splitter_run(struct moe_splitter *splitter, struct moe_stream *out,
                                              struct moe_err *err);
void moe_splitter_free(struct moe_splitter *splitter);

#endif
