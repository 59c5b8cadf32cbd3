/* Finding added tokens in a text: leftmost, the longest at a position. Indoors of the text folder. */
#ifndef MOE_TEXT_ADDED_H
#define MOE_TEXT_ADDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "text/stage.h"

/* How an added token matches. */
struct moe_added_token {
	int32_t id;
	struct moe_str content;   /* a view */
	struct moe_str shown;     /* what it decodes to: as the reference has it, the normalised content; a view */
	bool special, normalized;
	bool altered;             /* shown is not the content: text to the reference, even where special */
	bool lstrip, rstrip;      /* takes the white space beside it along */
	bool single_word;         /* not inside a word */
};

/* The tokens of one pass over a text, as a trie of code points. Read-only once filled. */
struct moe_added_set;

/* tokens is kept as a view; moe_added_set_add names them by index. */
MOE_MUST_USE enum moe_status moe_added_set_new(struct moe_added_set **out, const struct moe_added_token *tokens,
                                               struct moe_err *err);
/* The token tokens[index] is written as codes[0 .. n). Written the same way, the first added holds. n 0 is ignored. */
MOE_MUST_USE enum moe_status moe_added_set_add(struct moe_added_set *set, const uint32_t *codes, size_t n,
                                               int32_t index, struct moe_err *err);
void moe_added_set_free(struct moe_added_set *set);   /* NULL is fine */

/* A part of a text: an added token, or, with id -1, a part of what lies between two. */
struct moe_added_part {
	size_t start, end;
	int32_t id;
	bool ends;   /* a token follows, or nothing */
};

/* A text being divided, which comes bit by bit. Zero-initialise. */
struct moe_divide {
	struct moe_codes text;   /* what has come of it, but for what is used up */
	size_t at;               /* no token begins before it but those given */
	size_t done;             /* where the next part begins */
	size_t tried;            /* white space from done to here is kept for a token that may take it */
	size_t need;             /* code points from `at` on that are worth another try */
	size_t blank, blank_end; /* the white space behind a token that was last looked through, up to where it ends */
	struct moe_added_part token;   /* to be given next */
	bool has_token;
};

/* The next part; false: none is certain until more comes. last: nothing more comes, and all of it is certain.
 * Parts come in order, but a token may begin in white space that the one before has taken. */
MOE_MUST_USE bool moe_added_next(const struct moe_added_set *set, struct moe_divide *div, bool last,
                                 struct moe_added_part *part);
/* Once there is no next part: lets go of what is used up. last: what comes then is another text. */
void moe_divide_drop(struct moe_divide *div, bool last);

#endif
