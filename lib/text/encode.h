/* Encoding by windows of any length, for tests. Indoors of the text folder. */
#ifndef MOE_TEXT_ENCODE_H
#define MOE_TEXT_ENCODE_H

#include "text/tokenizer.h"

/* As moe_tokenizer_encode, taking `window` code points of the text at a time, at least 1; ids do not depend on it. */
MOE_MUST_USE enum moe_status moe_tokenizer_encode_by(const struct moe_tokenizer *tok, const char *text, size_t n_bytes,
                                                     size_t window, struct moe_ids *ids, struct moe_err *err);

#endif
