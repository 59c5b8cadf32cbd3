/* What each rank holds of a checkpoint under a plan: what shards are written from and checked against.
 *
 * Tensors of experts go to the ranks the plan says; a stack of all experts is cut into the rank's, in slot order. All
 * other tensors go to every rank. Private to this folder. */
#ifndef MOE_PLACEMENT_LAYOUT_H
#define MOE_PLACEMENT_LAYOUT_H

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/write.h"
#include "model/model.h"
#include "plan/plan.h"

/* layer -1: every rank has it. expert -1 in a layer: a stack of all experts. */
struct moe_layout_tensor {
	int32_t layer, expert;
};

struct moe_layout {
	const struct moe_ckpt *ckpt;         /* the source, borrowed */
	int32_t n_experts;                   /* in every stack: as many equal slices */
	bool stacks;                         /* some tensor is a stack */
	struct moe_plan plan;                /* completed: every layer with experts */
	struct moe_plan_entry *by_expert;    /* [plan.n_entries] sorted by layer, expert, rank */
	struct moe_layout_tensor *tensors;   /* [ckpt->n_tensors] */
	char plan_hash[33];                  /* of the plan as given */
	char model_hash[33];                 /* names, types and shapes of the source */
};

/* Which part a tensor plays. */
MOE_MUST_USE enum moe_status moe_layout_part(const struct moe_ckpt *ckpt, const struct moe_config *config,
                                             const struct moe_tensor *tensor, struct moe_layout_tensor *part,
                                             struct moe_err *err);
/* ckpt: the source, or what is told of it; of its tensors names, types and shapes are looked at. */
MOE_MUST_USE enum moe_status moe_layout_make(struct moe_layout *layout, const struct moe_ckpt *ckpt,
                                             const struct moe_config *config, const struct moe_plan *plan,
                                             struct moe_err *err);
void moe_layout_free(struct moe_layout *layout);
/* The copies of an expert: a view [*n], ascending ranks. */
const struct moe_plan_entry *moe_layout_copies(const struct moe_layout *layout, int32_t layer, int32_t expert,
                                               int32_t *n);
/* The experts of a rank in one layer: a view [*n], ascending slots. */
const struct moe_plan_entry *moe_layout_slots(const struct moe_layout *layout, int32_t layer, int32_t rank, int32_t *n);
/* Does the rank hold tensor i, or a part of it? *dims gets its shape there (n_dims as in the source). */
bool moe_layout_holds(const struct moe_layout *layout, size_t i, int32_t rank, int64_t dims[MOE_MAX_DIMS]);
/* Bytes of a tensor in that shape. */
uint64_t moe_layout_bytes(const struct moe_tensor *tensor, const int64_t dims[MOE_MAX_DIMS]);
/* Metadata of a rank's shard, a new reference: the source's, and moe.rank, moe.ranks, moe.plan_hash, moe.model_hash,
 * where there are stacks also moe.slots.LAYER; NULL when out of memory. */
json_t *moe_layout_metadata(const struct moe_layout *layout, int32_t rank);
/* Opens a writer and declares all tensors of a rank. metadata must live as long as *out; recipe as in write.h. */
MOE_MUST_USE enum moe_status moe_layout_declare(const struct moe_layout *layout, int32_t rank, const char *path,
                                                const json_t *metadata, unsigned flags, const char *recipe,
                                                struct moe_watch *watch, struct moe_ckpt_out **out,
                                                struct moe_err *err);
/* "DIR/rank-007" or "DIR/rank-007.gguf", malloc'd. */
char *moe_layout_path(const char *dir, int32_t rank, enum moe_naming naming);

#endif
