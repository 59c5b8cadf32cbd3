/* Which matrices are multiplied with the same numbers. */
#ifndef MOE_MODEL_INPUTS_H
#define MOE_MODEL_INPUTS_H

#include "model/model.h"

/* The part that stands for all that meet the same rows in a layer (gate for gate and up, ...), itself included;
 * MOE_N_PARTS for what is not multiplied with activations. An embedding is, where it is the head too. V_B stands with
 * KV_B, of which it is a part: both meet the latent. K_B, which GGUF holds turned, meets the queries of each head. */
enum moe_part moe_part_input(enum moe_part part);

#endif
