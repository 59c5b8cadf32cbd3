/* Pre-tokenizers that GGUF files name instead of describing them (tokenizer.ggml.pre), all for byte-level BPE. */
#ifndef MOE_TEXT_PRE_H
#define MOE_TEXT_PRE_H

#include <stdbool.h>
#include <stddef.h>

#define MOE_PRE_SPLITS 6

struct moe_pre {
	const char *name;
	const char *splits[MOE_PRE_SPLITS];   /* regular expressions, one after the other; NULL behind the last */
	bool digits;          /* then digits one by one */
	bool gpt2;            /* then by the expression of GPT-2 */
	bool nfc;             /* text is normalised first */
	bool ignore_merges;   /* a piece that is in the vocabulary as a whole is that token */
	bool add_bos;         /* where tokenizer.ggml.add_bos_token does not say */
};

const struct moe_pre *moe_pre_at(size_t i);   /* NULL past the end */
const struct moe_pre *moe_pre_by_name(const char *name);
/* The first that splits by just these expressions; NULL: none. */
const struct moe_pre *moe_pre_by_splits(const char *const *splits, size_t n);

#endif
