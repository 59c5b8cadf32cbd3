/* Matrices in blocks of MOE_SCALE_BLOCK squared with a scale each, as DeepSeek publishes FP8. */
#ifndef MOE_TENSOR_BLOCKS_H
#define MOE_TENSOR_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/tensor.h"

/* Blocks side by side in a row, or one below the other, of n elements. */
size_t moe_blocks_of(size_t n);

/* values [rows][cols], which are divided in place, -> codes [rows][cols] of the codec and scales
 * [moe_blocks_of(rows)][moe_blocks_of(cols)], so that a value is about code times scale: scale = max|x| /
 * codec->largest of the block, or (powers) the power of two at or above that, code = x / scale. Blocks
 * at the edges are what is left of them. A block of zeros has scale 1; one with a NaN or an infinity has scale NaN.
 * Source: the quantisation published with DeepSeek-V3 and V3.1, whose powers of two are 2^ceil(log2(max|x| / 448)). */
void moe_blocks_encode(const struct moe_codec *codec, float *values, size_t rows, size_t cols, bool powers,
                       uint8_t *codes, float *scales);

/* E8M0: what a code stands for, the least power of two at or above x > 0 (of those there are), and whether x is one. */
float moe_e8m0_value(uint8_t code);
uint8_t moe_e8m0_ceil(float x);
bool moe_e8m0_holds(float x);

#endif
