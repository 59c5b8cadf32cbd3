/* Experts left out, put in another order or cut into finer ones: the source seen as a checkpoint that holds them so.
 * Private to this folder. */
#ifndef MOE_CONVERT_SURGERY_H
#define MOE_CONVERT_SURGERY_H

#include "base/str.h"
#include "checkpoint/checkpoint.h"
#include "convert/convert.h"
#include "model/model.h"

/* What a new expert is made of. */
struct moe_origin {
	int32_t expert, part;
};

/* Zero-initialise; moe_surgery_free. */
struct moe_surgery {
	int32_t n_layers, n_experts;     /* of the destination */
	struct moe_origin *origins;      /* [n_layers][n_experts]; those of layers without experts mean nothing */
	int32_t n_parts;                 /* that every expert is cut into; 1: none is cut */
	float factor;                    /* on what leaves a cut expert */
	float bias_factor;               /* on the biases that join the choice */
	bool derived;
	struct moe_ckpt ckpt;            /* the source's fields but for tensors, index and arena */
};

bool moe_surgery_asked(const struct moe_surgery_opts *opts);
/* Decides, and writes what follows into json, the destination's config; `config` is what json says so far. Notes for
 * the user are appended. MOE_EUSAGE where the router would choose or weigh otherwise, saying why. */
MOE_MUST_USE enum moe_status moe_surgery_plan(struct moe_surgery *surgery, const struct moe_surgery_opts *opts,
                                              const struct moe_ckpt *src, const struct moe_config *config, json_t *json,
                                              struct moe_buf *notes, struct moe_err *err);
/* Did the config take it all? `before` is that of the source, `after` what json says now. */
MOE_MUST_USE enum moe_status moe_surgery_check(const struct moe_surgery *surgery, const struct moe_config *before,
                                               const struct moe_config *after, struct moe_err *err);
/* Makes surgery->ckpt. `config` is that of the source; nothing of its size is copied but router rows. The down matrices
 * of cut experts are there whole, once for each part. */
MOE_MUST_USE enum moe_status moe_surgery_derive(struct moe_surgery *surgery, const struct moe_ckpt *src,
                                                const struct moe_config *config, struct moe_err *err);
void moe_surgery_free(struct moe_surgery *surgery);

#endif
