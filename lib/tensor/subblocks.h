/* The search of tensor/kquant.h for eight sub-blocks at once, one in each lane of a vector: the same bits, sooner.
 * kquant.c says what is done, and is what this is tested against. */
#ifndef MOE_TENSOR_SUBBLOCKS_H
#define MOE_TENSOR_SUBBLOCKS_H

#include "tensor/kquant.h"

/* moe_kquant_affine and moe_kquant_symmetric; n_sub is 8 or 16. */
void moe_subblocks_affine(const float *x, int n_sub, int code_max, int level_max, struct moe_kquant *out);
void moe_subblocks_symmetric(const float *x, int n_sub, int code_half, int level_half, struct moe_kquant *out);

#endif
