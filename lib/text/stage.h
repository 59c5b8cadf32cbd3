/* The stages between text and ids, each a plug-in folder: normalizer/, pretokenizer/, model/, decoder/. A member is
 * found by the "type" of its object in tokenizer.json. Indoors of the text folder; see tokenizer.h. */
#ifndef MOE_TEXT_STAGE_H
#define MOE_TEXT_STAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "text/regex.h"
#include "text/tokenizer.h"

/* Text as code points, at most UINT32_MAX. */
struct moe_codes {
	uint32_t *p;   /* [n] */
	size_t n, cap;
	size_t limit;  /* n may not pass it; 0: none */
	size_t n_lead; /* how many of the first come from the first character of the whole text; may be more than n */
};

/* Room for n more behind p + n. */
MOE_MUST_USE enum moe_status moe_codes_room(struct moe_codes *codes, size_t n, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_codes_add(struct moe_codes *codes, const uint32_t *p, size_t n, struct moe_err *err);
/* Appends bytes read as UTF-8, invalid ones as U+FFFD. */
MOE_MUST_USE enum moe_status moe_codes_add_utf8(struct moe_codes *codes, const char *text, size_t n,
                                                struct moe_err *err);
void moe_codes_free(struct moe_codes *codes);
/* Takes the first n off. */
void moe_codes_drop(struct moe_codes *codes, size_t n);

/* What every member begins with. parse gets the member's object; `where` is its key path, for messages. On failure it
 * leaves nothing behind. free takes what parse gave. */
struct moe_part {
	const char *type;
	enum moe_status (*parse)(void **self, const json_t *obj, const char *where, struct moe_err *err);
	void (*free)(void *self);
};

/* A text on its way through a normalizer, which comes bit by bit. */
struct moe_flow {
	struct moe_codes text;   /* what has come of it, but for what is used up and let go */
	size_t at;               /* what is before is used up, and is there for those who look behind */
	size_t behind;           /* how many code points before `at` are to be kept */
	bool begun;              /* something has been given out; for the member that reads it */
	bool last;               /* nothing follows */
	struct moe_regex_scan *scan;   /* of a member with a pattern, freed by others */
	bool fresh;              /* a match ends at `at` */
};

struct moe_normalizer {
	struct moe_part part;
	/* Appends to out what the text from in->at on becomes, as far as nothing that follows can change it, and moves
	 * in->at there; to the end if in->last. What comes from the beginning of the whole text comes out at once, with
	 * out->n_lead. */
	enum moe_status (*apply)(const void *self, struct moe_flow *in, struct moe_codes *out, struct moe_err *err);
	/* A sequence has children and nothing else. */
	const struct moe_stage *(*children)(const void *self, size_t *n);
};

/* The normalizers of a text, one behind the other. Zero-initialise. */
struct moe_norm {
	struct moe_norm_link *links;   /* [n] */
	size_t n;
	struct moe_codes out;          /* what has come out, to be taken off by who reads it */
};

/* Without a normalizer what goes in comes out. limit: code points that may come out of each link, at least 1. */
MOE_MUST_USE enum moe_status moe_norm_new(struct moe_norm *norm, const struct moe_stage *normalizer, size_t limit,
                                          struct moe_err *err);
struct moe_codes *moe_norm_in(struct moe_norm *norm);   /* what is appended here goes in */
/* Brings to norm->out what can be said by now; last: all of it, and what comes then is another text. */
MOE_MUST_USE enum moe_status moe_norm_run(struct moe_norm *norm, bool last, struct moe_err *err);
void moe_norm_free(struct moe_norm *norm);

struct moe_steps;

struct moe_pretokenizer {
	struct moe_part part;
	/* Appends the steps that it takes; see split.h. */
	enum moe_status (*steps)(const void *self, struct moe_steps *out, struct moe_err *err);
};

struct moe_text_model {
	struct moe_part part;
	size_t (*n_pieces)(const void *self);
	/* Entry i of the vocabulary, in any order; text is a view. */
	void (*piece)(const void *self, size_t i, int32_t *id, struct moe_str *text);
	int32_t (*find)(const void *self, struct moe_str text);   /* -1: none */
	/* Can no text give this entry, because there are no merges at all? NULL: never so. */
	bool (*lacks_merges)(const void *self, int32_t id, struct moe_str text);
	/* What one thread needs to encode a text of about n_bytes; NULL when out of memory. */
	void *(*scratch_new)(const void *self, size_t n_bytes);
	void (*scratch_free)(void *scratch);
	/* Appends the ids of a piece in UTF-8. byte_level: its bytes are looked up as visible characters. */
	enum moe_status (*encode)(const void *self, void *scratch, struct moe_str piece, bool byte_level,
	                          struct moe_ids *ids, struct moe_err *err);
	/* The same for a piece that comes bit by bit. Appends the ids of the first *n_used bytes, which nothing that
	 * follows can change; the others come again, before what follows. begins: none of the piece has been used yet;
	 * ends: nothing follows, so all are used. */
	enum moe_status (*advance)(const void *self, void *scratch, struct moe_str text, bool byte_level, bool begins,
	                           bool ends, size_t *n_used, struct moe_ids *ids, struct moe_err *err);
};

/* Bytes that a decoder may make of one token that is not as long itself. */
enum { MOE_DECODED_MAX = 1 << 20 };

/* A place in a chain of decoders while a text is decoded. The last link has no kind: it appends to `out`. */
struct moe_decode_link {
	const struct moe_decoder *kind;
	const void *self;
	void *state;                     /* zeroed at the beginning of a text */
	struct moe_decode_link *next;
	struct moe_buf *out;
};

/* Hands text on to a link. A decoder sees a list of tokens; one token may come in several parts, of which the first
 * says `begins`. */
MOE_MUST_USE enum moe_status moe_decode_emit(struct moe_decode_link *link, struct moe_str text, bool begins,
                                             struct moe_err *err);

struct moe_decoder {
	struct moe_part part;
	/* A sequence has children and nothing else. */
	const struct moe_stage *(*children)(const void *self, size_t *n);
	/* joins: what comes out is one token in parts; needs_whole: what comes in must not be in parts. */
	bool joins, needs_whole;
	size_t state_bytes;
	enum moe_status (*add)(struct moe_decode_link *link, struct moe_str text, bool begins, struct moe_err *err);
	/* At the end of the text: emits what was held back. NULL: nothing is. */
	enum moe_status (*finish)(struct moe_decode_link *link, struct moe_err *err);
	/* Appends the bytes that a single token stands for. NULL: its own. One that stops because there would be more
	 * than MOE_DECODED_MAX has appended more than that. */
	void (*bytes)(const void *self, struct moe_str token, struct moe_buf *out);
};

/* A member in use. */
struct moe_stage {
	const struct moe_part *part;   /* the first field of its kind's struct */
	void *self;
};

enum moe_stage_kind { MOE_STAGE_NORMALIZER, MOE_STAGE_PRETOKENIZER, MOE_STAGE_MODEL, MOE_STAGE_DECODER };

/* From an object with a "type"; an unknown type is named together with those known. */
MOE_MUST_USE enum moe_status moe_stage_new(struct moe_stage *stage, enum moe_stage_kind kind, const json_t *obj,
                                           const char *where, struct moe_err *err);
void moe_stage_free(struct moe_stage *stage);   /* zero-initialised is fine */

/* text becomes its normal form, which may have at most `limit` code points, at least 1. Without a
 * normalizer text stays as it is. */
MOE_MUST_USE enum moe_status moe_normalize(const struct moe_stage *normalizer, struct moe_codes *text, size_t limit,
                                           struct moe_err *err);

/* A list of stages, for the sequences of three kinds. */
struct moe_stages {
	struct moe_stage *v;   /* [n] */
	size_t n;
};

/* From the array obj[key]. */
MOE_MUST_USE enum moe_status moe_stages_new(struct moe_stages **out, enum moe_stage_kind kind, const json_t *obj,
                                            const char *key, const char *where, struct moe_err *err);
void moe_stages_free(void *stages);   /* NULL is fine */

/* obj[key] must be there and a string; a view. */
MOE_MUST_USE enum moe_status moe_stage_str(const json_t *obj, const char *key, const char *where, struct moe_str *out,
                                           struct moe_err *err);
/* obj[key] must be there and a string of one character. */
MOE_MUST_USE enum moe_status moe_stage_char(const json_t *obj, const char *key, const char *where, uint32_t *out,
                                            struct moe_err *err);
/* For members without fields. */
enum moe_status moe_stage_parse_nothing(void **self, const json_t *obj, const char *where, struct moe_err *err);
void moe_stage_free_nothing(void *self);
/* The pattern {"Regex": ..} or {"String": ..} of obj["pattern"]. */
MOE_MUST_USE enum moe_status moe_stage_pattern(const json_t *obj, const char *where, struct moe_regex **out,
                                               struct moe_err *err);

#endif
