/* The ids of short pieces, which a text repeats: one slot per hash, the last piece wins. Indoors of the text folder. */
#ifndef MOE_TEXT_MEMO_H
#define MOE_TEXT_MEMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "text/tokenizer.h"

enum {
	MOE_MEMO_BYTES = 24,   /* longest piece remembered */
	MOE_MEMO_IDS = 8,
};

struct moe_memo_slot {
	uint8_t n_bytes, n_ids;   /* n_bytes 0: empty */
	char text[MOE_MEMO_BYTES];
	int32_t ids[MOE_MEMO_IDS];
};

/* Zero-initialise. */
struct moe_memo {
	struct moe_memo_slot *slots;   /* [mask + 1] */
	size_t mask;
};

static inline uint64_t moe_memo_hash(const char *p, size_t n)
{
	uint64_t h = UINT64_C(0x9E3779B97F4A7C15) ^ n, word;

	for (; n >= 8; p += 8, n -= 8) {
		memcpy(&word, p, 8);
		h = (h ^ word) * UINT64_C(0xBF58476D1CE4E5B9);
		h ^= h >> 32;
	}
	word = 0;
	memcpy(&word, p, n);
	h = (h ^ word) * UINT64_C(0x94D049BB133111EB);
	return h ^ h >> 29;
}

/* Room as a text of n_bytes deserves. False: out of memory. */
bool moe_memo_new(struct moe_memo *memo, size_t n_bytes);
void moe_memo_free(struct moe_memo *memo);
/* Where a piece is or would be; NULL: too long to be remembered, or empty. */
struct moe_memo_slot *moe_memo_slot(const struct moe_memo *memo, struct moe_str piece);
bool moe_memo_holds(const struct moe_memo_slot *slot, struct moe_str piece);
/* Remembers a piece in its slot, unless it has too many ids. */
void moe_memo_put(struct moe_memo_slot *slot, struct moe_str piece, const int32_t *ids, size_t n);

#endif
