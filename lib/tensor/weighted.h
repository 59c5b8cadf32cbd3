/* Searches for scales where some numbers matter more than others: what is made small is the sum of weight times squared
 * error. Weights are above 0 and finite. Private to this folder. */
#ifndef MOE_TENSOR_WEIGHTED_H
#define MOE_TENSOR_WEIGHTED_H

#include <stdbool.h>
#include <stdint.h>

#include "tensor/kquant.h"

/* x is about scale q - min. */
struct moe_weighted_line {
	float scale, min;
};

/* Numbers and their weights, n of them, a multiple of 8. */
struct moe_weighted {
	const float *x, *w;
	int n;
};

/* The line of least error for codes 0..code_max; min is not below 0 unless free_min. */
struct moe_weighted_line moe_weighted_fit_line(const struct moe_weighted *v, float code_max, bool free_min);
/* The scale of least error for codes -half..half - 1, of either sign. */
float moe_weighted_fit_scale(const struct moe_weighted *v, float half);
/* The error of n numbers stored as scale q - min with the nearest codes of lo..hi; code NULL: the error alone. */
float moe_weighted_coded(const struct moe_weighted *v, float scale, float min, float lo, float hi, int8_t *code);

/* 32 numbers as d (q - half), q in 0..2 half - 1, or as d q + m, q in 0..code_max; d (which is returned) and m as f16,
 * which the search knows of. Both are NaN where a number is none or infinite. */
uint16_t moe_weighted_block_scale(const float *x, const float *w, int half, uint8_t q[32]);
uint16_t moe_weighted_block_line(const float *x, const float *w, int code_max, uint16_t *m, uint8_t q[32]);

/* As moe_kquant_affine and moe_kquant_symmetric. */
void moe_kquant_affine_weighted(const float *x, const float *w, int n_sub, int code_max, int level_max,
                                struct moe_kquant *out);
void moe_kquant_symmetric_weighted(const float *x, const float *w, int n_sub, int code_half, int level_half,
                                   struct moe_kquant *out);

#endif
