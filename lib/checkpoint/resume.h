/* Outputs that a later run goes on with. Private to this folder; format.h has the writer it belongs to. */
#ifndef MOE_CHECKPOINT_RESUME_H
#define MOE_CHECKPOINT_RESUME_H

#include "checkpoint/format.h"

/* With out->layout made and nothing opened: sets out->resume, also on failure, and out->current to the first tensor
 * that is not there yet, or out->complete. `recipe`: what decides the tensors' values. */
MOE_MUST_USE enum moe_status moe_resume_open(struct moe_ckpt_out *out, const char *recipe, struct moe_err *err);
/* The next bytes of the current tensor, and its end: everything given to the sink is written, then noted. */
void moe_resume_add(struct moe_resume *resume, const void *bytes, size_t n_bytes);
MOE_MUST_USE enum moe_status moe_resume_tensor(struct moe_ckpt_out *out, struct moe_err *err);
void moe_resume_free(struct moe_resume *resume);   /* NULL is fine */

#endif
