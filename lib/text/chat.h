/* Chat forms: what stands around the text of a user so that a model answers it, and what ends the answer. A checkpoint
 * says which form it wants by a template in Jinja. Templates are not run: those that are known to write just one of the
 * forms are known by a hash of their text, and any other is refused. */
#ifndef MOE_TEXT_CHAT_H
#define MOE_TEXT_CHAT_H

#include "base/err.h"
#include "base/str.h"
#include "text/tokenizer.h"

/* One turn of the system, if there is one, one of the user, and the beginning of the answer. Members: chat/. */
struct moe_chat_form {
	const char *name;              /* what --chat says */
	bool bos;                      /* begins with the tokenizer's BOS */
	const char *head;              /* then this; NULL: nothing */
	const char *system[2];         /* what stands before and behind the system's text; NULL: no such turn */
	const char *default_system;    /* the system's text where none is given; NULL: no turn */
	bool trim_system;              /* without white space around it */
	const char *user[2];           /* what stands before the user's text, and behind it up to the answer */
	const char *tokens[8];         /* must be tokens of the tokenizer, not just text; NULL behind the last */
	const char *stops[4];          /* end an answer, beside the model's own; NULL behind the last */
	/* XXH3-128 of templates that write just this for one user's turn, with and without a system's; white
	 * space at the end of a template is left out. NULL behind the last. */
	const char *templates[16];
};

const struct moe_chat_form *moe_chat_form_at(size_t i);   /* NULL past the end */

/* The form of that name; "": the one that the checkpoint's template writes. */
MOE_MUST_USE enum moe_status moe_chat_choose(const struct moe_chat_form **out, const struct moe_tokenizer *tok,
                                             const char *name, struct moe_err *err);
/* Appends the text to be encoded, BOS included. system NULL: none is given. */
MOE_MUST_USE enum moe_status moe_chat_write(const struct moe_chat_form *form, const struct moe_tokenizer *tok,
                                            const char *system, struct moe_str user, struct moe_buf *text,
                                            struct moe_err *err);
/* Appends the ids that end an answer. */
MOE_MUST_USE enum moe_status moe_chat_stops(const struct moe_chat_form *form, const struct moe_tokenizer *tok,
                                            struct moe_ids *ids, struct moe_err *err);

#endif
