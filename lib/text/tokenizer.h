/* Text <-> token ids: added tokens, normalizer, pre-tokenizer, model, decoder, from the sources in source/.
 *
 * Ids and text are those of the reference implementation on any input. Input that is not UTF-8 is read as Python's
 * bytes.decode(errors="replace") reads it: each maximal invalid subpart becomes one U+FFFD before anything else. */
#ifndef MOE_TEXT_TOKENIZER_H
#define MOE_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "checkpoint/checkpoint.h"

/* Read-only once made: any number of threads may use one. */
struct moe_tokenizer;

/* From the bytes of tokenizer.json and, if there is one, of tokenizer_config.json (NULL, 0: none). Both may be freed
 * afterwards. `name` is what messages call tokenizer.json. A type or field that changes ids and is not known here is
 * refused with its key path, never skipped. */
MOE_MUST_USE enum moe_status moe_tokenizer_parse(struct moe_tokenizer **out, const void *json, size_t n_json,
                                                 const void *config, size_t n_config, const char *name,
                                                 struct moe_err *err);
/* From the files of a directory, which need not be a checkpoint. */
MOE_MUST_USE enum moe_status moe_tokenizer_load(struct moe_tokenizer **out, const char *dir, struct moe_err *err);
/* From what a checkpoint has beside its tensors. */
MOE_MUST_USE enum moe_status moe_tokenizer_open(struct moe_tokenizer **out, const struct moe_ckpt *ckpt,
                                                struct moe_err *err);
/* Whether it has a tokenizer, readable or not. */
bool moe_tokenizer_is_in(const struct moe_ckpt *ckpt);
void moe_tokenizer_free(struct moe_tokenizer *tok);   /* NULL is fine */

/* Ids that grow. Zero-initialise. */
struct moe_ids {
	int32_t *ids;   /* [n] */
	size_t n, cap;
};

MOE_MUST_USE enum moe_status moe_ids_add(struct moe_ids *ids, int32_t id, struct moe_err *err);
void moe_ids_free(struct moe_ids *ids);

/* Appends the ids of the whole text. Adds no BOS or EOS: see moe_tokenizer_add_bos. Added tokens written in the text
 * ("<|im_end|>") become their ids. On failure ids may hold a part of the text.
 *
 * Beside the text and its ids this takes a few megabytes, however long the text is. It takes more only for what cannot
 * be known before its end, in bytes per byte of it: 3 or 4 for a match of a pre-tokenizer's pattern, up to 9 for white
 * space that a Strip normalizer or an added token may take and for combining characters in a row that a normalizer
 * sorts, 1 or 2 for characters without a token that become one; and up to 8 more for text that the model cannot divide
 * either, such as one letter repeated, where merges join any two neighbours. */
MOE_MUST_USE enum moe_status moe_tokenizer_encode(const struct moe_tokenizer *tok, const char *text, size_t n_bytes,
                                                  struct moe_ids *ids, struct moe_err *err);

/* Appends the text of all ids; bytes that form no UTF-8 become U+FFFD. skip_special leaves out added tokens marked
 * special. An id without a token is an error. */
MOE_MUST_USE enum moe_status moe_tokenizer_decode(const struct moe_tokenizer *tok, const int32_t *ids, size_t n,
                                                  bool skip_special, struct moe_buf *text, struct moe_err *err);

/* The same, one id at a time, for text printed while it is generated. Each call appends what is certain by now, always
 * whole UTF-8 characters; an incomplete tail is held back. All that is appended up to and including
 * moe_detok_finish is what moe_tokenizer_decode gives for all ids. One thread at a time; keeps a view of tok. */
struct moe_detok;
MOE_MUST_USE enum moe_status moe_detok_new(struct moe_detok **out, const struct moe_tokenizer *tok, bool skip_special,
                                           struct moe_err *err);
MOE_MUST_USE enum moe_status moe_detok_add(struct moe_detok *detok, int32_t id, struct moe_buf *text,
                                           struct moe_err *err);
/* Appends what was held back (an incomplete character as U+FFFD) and is ready for a new text. */
MOE_MUST_USE enum moe_status moe_detok_finish(struct moe_detok *detok, struct moe_buf *text, struct moe_err *err);
void moe_detok_free(struct moe_detok *detok);   /* NULL is fine */

/* Largest id + 1. Below it there may be ids without a token. The model's vocabulary may be larger (padding). */
int32_t moe_tokenizer_n_ids(const struct moe_tokenizer *tok);
/* Whether a text starts with BOS (ends with EOS) when it is given to the model: add_bos_token of
 * tokenizer_config.json, else whether the template of tokenizer.json says so. */
bool moe_tokenizer_add_bos(const struct moe_tokenizer *tok);
bool moe_tokenizer_add_eos(const struct moe_tokenizer *tok);
int32_t moe_tokenizer_bos_id(const struct moe_tokenizer *tok);   /* -1: none */
int32_t moe_tokenizer_eos_id(const struct moe_tokenizer *tok);   /* -1: none */

/* The id of an added token or vocabulary entry written as in tokenizer.json; -1: none. */
int32_t moe_tokenizer_find(const struct moe_tokenizer *tok, const char *content, size_t n);
/* The raw bytes that a token stands for, which may be a part of a UTF-8 character; a view. False: no such id. */
bool moe_tokenizer_bytes(const struct moe_tokenizer *tok, int32_t id, struct moe_str *bytes);
/* Whether id is an added token marked special. */
bool moe_tokenizer_is_special(const struct moe_tokenizer *tok, int32_t id);
/* XXH3-128 of the bytes of tokenizer.json, of tiktoken.model, or of the keys of GGUF; 32 hex digits, a view. */
const char *moe_tokenizer_hash(const struct moe_tokenizer *tok);

#endif
