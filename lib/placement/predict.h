/* How large shards will be. Private to this folder. */
#ifndef MOE_PLACEMENT_PREDICT_H
#define MOE_PLACEMENT_PREDICT_H

#include "base/err.h"
#include "placement/layout.h"
#include "placement/source.h"

/* Bytes of each rank's files, those that rank 0 keeps of the source among them: bytes [layout->plan.n_ranks]. */
MOE_MUST_USE enum moe_status moe_predict(const struct moe_layout *layout, const struct moe_source *source,
                                         uint64_t *bytes, struct moe_err *err);

#endif
