/* The keys of a GGUF destination. Private to this folder. */
#ifndef MOE_CONVERT_GGUF_META_H
#define MOE_CONVERT_GGUF_META_H

#include "base/str.h"
#include "checkpoint/checkpoint.h"
#include "model/model.h"

/* The name of the key that keeps each tensor's type in Hugging Face files: a JSON object, name or pattern -> dtype. */
#define MOE_KEY_HF_DTYPES "moe.hf.dtypes"

/* general.*, the family's keys from config (json is what it was parsed from), tokenizer.ggml.* from the companions, and
 * from a GGUF source the keys that none of these are. *out is a new reference. Notes for the user are appended. */
MOE_MUST_USE enum moe_status moe_gguf_meta(json_t **out, const struct moe_ckpt *src, const struct moe_config *config,
                                           const json_t *json, int64_t file_type, struct moe_buf *notes,
                                           struct moe_err *err);
/* tokenizer.ggml.* from tokenizer.json and tokenizer_config.json among the companions; none: a note. */
MOE_MUST_USE enum moe_status moe_gguf_tokens(json_t *keys, const struct moe_ckpt *src, const struct moe_config *config,
                                             struct moe_buf *notes, struct moe_err *err);

/* An array of numbers or strings, which is taken over. */
bool moe_gguf_put_array(json_t *keys, const char *key, const char *of, json_t *values);
/* Can a Unigram tokenizer.json be said in the keys of "t5"? */
bool moe_gguf_unigram_fits(const json_t *tokenizer);
/* The ids that its template puts before and behind a text; -1: none. */
void moe_gguf_unigram_ends(const json_t *tokenizer, int64_t *bos, int64_t *eos);
/* All of them but texts and types, of which it sets those of its own pieces: type [n]. */
MOE_MUST_USE enum moe_status moe_gguf_unigram_put(json_t *keys, const json_t *tokenizer, json_int_t n, uint8_t *type,
                                                  const char *name, struct moe_err *err);

#endif
