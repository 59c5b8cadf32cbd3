/* Choices by token id. The state owns memory that grows with the number of different (token id, expert). */
#ifndef MOE_STATS_VOCAB_H
#define MOE_STATS_VOCAB_H

#include <stdint.h>

#include "stats/stats.h"
#include "stats/stream.h"

/* A hash table. Of a token id and the expert MOE_VOCAB_ALL it holds all choices of that id. */
#define MOE_VOCAB_ALL UINT32_MAX
struct moe_vocab_entry {
	uint32_t token, expert;
	uint64_t count;   /* 0: free */
};
struct moe_vocab {
	size_t n, cap;
	struct moe_vocab_entry *entries;   /* [cap] */
	uint64_t n_choices;
};

/* Its state is a struct moe_vocab. */
extern const struct moe_stream moe_stream_vocab;

uint64_t moe_vocab_count(const struct moe_vocab *vocab, uint32_t token, uint32_t expert);

#endif
