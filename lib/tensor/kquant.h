/* How blocks of 256 numbers are encoded whose sub-blocks have small whole-numbered scales (and minima) of their own,
 * in units of one or two f16 numbers of the block. Layouts are the codecs' affair; what is shared is the search. */
#ifndef MOE_TENSOR_KQUANT_H
#define MOE_TENSOR_KQUANT_H

#include <stdbool.h>
#include <stdint.h>

#define MOE_KQUANT_BLOCK 256
#define MOE_KQUANT_SUBS 16   /* sub-blocks, at most */

/* Number k of sub-block i is d scale[i] code[k] - d_min min[i]; without minima d_min is 0. */
struct moe_kquant {
	uint16_t d, d_min;                   /* f16; NaN where a number of the block is none or infinite */
	int8_t scale[MOE_KQUANT_SUBS];
	uint8_t min[MOE_KQUANT_SUBS];
	int8_t code[MOE_KQUANT_BLOCK];
};

/* Codes 0..code_max, scales and minima 0..level_max, n_sub sub-blocks. The squared error is made small: for each
 * sub-block several steps are tried, the best scale and minimum of each by least squares; then scales and minima are
 * rounded, the neighbours of a rounded scale are tried too, and the two units follow from least squares over the
 * block. */
void moe_kquant_affine(const float *x, int n_sub, int code_max, int level_max, struct moe_kquant *out);

/* The same without minima: codes -code_half..code_half - 1, scales -level_half..level_half - 1, d_min 0. */
void moe_kquant_symmetric(const float *x, int n_sub, int code_half, int level_half, struct moe_kquant *out);

#endif
