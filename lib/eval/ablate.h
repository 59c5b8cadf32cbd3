/* Ablations as the user spells them. */
#ifndef MOE_EVAL_ABLATE_H
#define MOE_EVAL_ABLATE_H

#include "model/model.h"

/* "3:7,4:0-5,*:2": experts of layers, ranges allowed on both sides, * for every layer with a router. *out is a table
 * [n_layers][n_experts] of 0 and 1, malloc'd. A layer without a router, an expert that is not there, and a layer left
 * with fewer than top_k experts are errors that quote the item. */
MOE_MUST_USE enum moe_status moe_ablate_parse(const char *text, const struct moe_config *config, int32_t top_k,
                                              uint8_t **out, struct moe_err *err);

#endif
