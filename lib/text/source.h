/* Where a tokenizer comes from, each a plug-in of source/: what a checkpoint holds becomes the stages and added tokens
 * of a tokenizer. Indoors of the text folder; see tokenizer.h. */
#ifndef MOE_TEXT_SOURCE_H
#define MOE_TEXT_SOURCE_H

#include <jansson.h>

#include "text/parts.h"

/* Bytes with the name that messages call them by; p NULL: the file is not there. */
struct moe_text_file {
	const char *name;
	const char *p;   /* [n] a view */
	size_t n;
};

/* What a checkpoint may hold of a tokenizer. */
struct moe_text_files {
	struct moe_text_file json, config;   /* tokenizer.json, tokenizer_config.json */
	struct moe_text_file tiktoken;       /* tiktoken.model */
	struct moe_text_file chat;           /* chat_template.jinja */
	const json_t *gguf;                  /* all keys of a GGUF file, as checkpoint/write.h has them; NULL: none */
	const char *gguf_name;
};

struct moe_pre;

struct moe_text_source {
	const char *needs;   /* the file or keys it reads, for messages */
	int order;           /* of several that are there the one of lowest order is read */
	bool (*is_there)(const struct moe_text_files *files);
	/* Fills model, the other stages, added tokens, name and hash, calls moe_tokenizer_finish, and then says what
	 * BOS and EOS are. On failure the caller frees tok. */
	enum moe_status (*read)(struct moe_tokenizer *tok, const struct moe_text_files *files, struct moe_err *err);
};

/* The name that messages call the tokenizer by, and the hash of the bytes it is made of. */
MOE_MUST_USE enum moe_status moe_tokenizer_identify(struct moe_tokenizer *tok, const struct moe_text_file *file,
                                                    struct moe_err *err);
/* Appends a copy; content and shown are valid once moe_tokenizer_finish is through. */
MOE_MUST_USE enum moe_status moe_tokenizer_add_token(struct moe_tokenizer *tok, const struct moe_added_token *token,
                                                     struct moe_err *err);
/* Stages and added tokens are there: makes everything that follows from them. */
MOE_MUST_USE enum moe_status moe_tokenizer_finish(struct moe_tokenizer *tok, struct moe_err *err);
/* BOS and EOS as tokenizer_config.json has them: what it does not say stays as it is. A file that is not there is
 * fine. */
MOE_MUST_USE enum moe_status moe_tokenizer_read_config(struct moe_tokenizer *tok, const struct moe_text_file *file,
                                                       struct moe_err *err);

/* The chat template, wherever it is, as text; what is no template is refused. */
MOE_MUST_USE enum moe_status moe_tokenizer_read_chat(struct moe_tokenizer *tok, const struct moe_text_files *files,
                                                     struct moe_err *err);
/* A stage from an object made for it, which is taken over also on failure; NULL stands for lack of memory. */
MOE_MUST_USE enum moe_status moe_stage_take(struct moe_stage *stage, enum moe_stage_kind kind, json_t *obj,
                                            const char *where, struct moe_err *err);
/* Normalizer, pre-tokenizer and decoder of a byte-level model. */
MOE_MUST_USE enum moe_status moe_tokenizer_byte_level(struct moe_tokenizer *tok, const struct moe_pre *pre,
                                                      struct moe_err *err);

#endif
