/* What has to travel for one plan to become another: experts that come to a rank which does not hold them. */
#ifndef MOE_PLACEMENT_MOVES_H
#define MOE_PLACEMENT_MOVES_H

#include <stdint.h>

#include "base/err.h"
#include "model/model.h"
#include "plan/plan.h"

/* Bytes of every expert: bytes [n_layers][n_experts], malloc'd. NULL: each has `each`. */
struct moe_expert_bytes {
	uint64_t *bytes, each;
	int32_t n_layers, n_experts;
};

struct moe_move {
	int32_t layer, expert, from, to;   /* ranks */
	uint64_t n_bytes;
};

/* What one rank sends another. */
struct moe_link {
	int32_t from, to;
	int64_t n_experts;
	uint64_t n_bytes;
};

struct moe_moves {
	struct moe_move *moves;    /* [n] by layer, receiving rank, slot; malloc'd */
	int64_t n, n_dropped;      /* dropped: copies that a rank no longer needs */
	struct moe_link *links;    /* [n_links] by ranks, malloc'd */
	int64_t n_links;
};

/* What the experts of a model weigh. */
MOE_MUST_USE enum moe_status moe_expert_bytes_of(struct moe_expert_bytes *bytes, const struct moe_model *model,
                                                 struct moe_err *err);
void moe_expert_bytes_free(struct moe_expert_bytes *bytes);

/* Both plans must place the same experts; a layer that one of them does not name is placed as moe_plan_complete does.
 * An expert comes from a rank that holds it in the old plan: one on the node of the receiver if there is one, among
 * these the one that has sent least so far, the first of these. node [ranks of the larger plan]. The names are for
 * messages. */
MOE_MUST_USE enum moe_status moe_moves_make(struct moe_moves *moves, const struct moe_plan *old, const char *old_name,
                                            const struct moe_plan *new, const char *new_name, const int32_t *node,
                                            const struct moe_expert_bytes *bytes, struct moe_err *err);
void moe_moves_free(struct moe_moves *moves);

#endif
