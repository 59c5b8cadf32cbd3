/* What the tokens of a layer send under a plan.
 *
 * Rank (sequence mod ranks) owns a sequence, counted within its part. A choice goes to a copy of its expert on the
 * owner, else on the owner's node, else to any; of several the one whose turn it is, by sequence and position. A
 * token's row is sent to every other rank that it needs once (dispatch), and every choice made there comes back as one
 * row of f32 (combine). */
#ifndef MOE_STATS_FAN_H
#define MOE_STATS_FAN_H

#include <stdint.h>

#include "stats/stream.h"

struct moe_fan {
	uint64_t n_tokens;             /* with any choice */
	uint64_t n_ranks, n_nodes;     /* summed over them: those that hold a copy that was used, the owner's too */
	uint64_t n_far;                /* nodes other than the owner's: rows that cross, if each is sent there once */
	uint64_t dispatch[2], combine[2];   /* rows that leave a rank: within its node, to another node */
};

/* Its state is a struct moe_fan. */
extern const struct moe_stream moe_stream_fan;
/* Its state: rows from rank to rank, uint64_t dispatch[n_ranks][n_ranks], then combine likewise. */
extern const struct moe_stream moe_stream_traffic;

#endif
