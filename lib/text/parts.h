/* What the files of this folder share of a tokenizer. */
#ifndef MOE_TEXT_PARTS_H
#define MOE_TEXT_PARTS_H

#include "text/added.h"
#include "text/stage.h"

/* Everything known of an id. */
struct moe_token {
	int32_t id;
	bool added, special;
	struct moe_str text;    /* what goes to the decoders; a view */
	struct moe_str shown;   /* of an added token: as in struct moe_added_token */
	struct moe_str bytes;   /* a view */
};

struct moe_tokenizer {
	char *name;
	char hash[33];
	struct moe_token *tokens;          /* [n_tokens] ascending ids */
	size_t n_tokens;
	struct moe_buf bytes;              /* what the tokens' bytes are views of */
	struct moe_buf content, shown;     /* what those of the added tokens are views of */
	struct moe_added_token *added;     /* [n_added] */
	size_t n_added, cap_added;
	bool added_as_bytes;               /* an added token decodes to its bytes, whatever characters they form */
	struct moe_added_set *raw, *normal;   /* matched before and after normalisation; NULL: none */
	struct moe_stage model, normalizer, pretokenizer, decoder;   /* all but the model may be empty */
	const struct moe_stage **chain;    /* [n_chain] the decoders in order, sequences unrolled */
	size_t n_chain;
	struct moe_buf chat_template;      /* of the checkpoint; p NULL: none */
	bool add_bos, add_eos;
	int32_t bos_id, eos_id;
};

/* Puts the tokenizer's name before a sentence about it that does not begin with the name; for parts that do not know
 * it. err may be NULL. Returns status. */
enum moe_status moe_tokenizer_blame(const struct moe_tokenizer *tok, enum moe_status status, struct moe_err *err);

/* NULL: no such id. */
const struct moe_token *moe_token_of(const struct moe_tokenizer *tok, int32_t id);

#endif
