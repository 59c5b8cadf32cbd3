/* Matrices in blocks of MOE_SCALE_BLOCK squared with a scale each, as DeepSeek publishes FP8. */
#ifndef MOE_TENSOR_BLOCKS_H
#define MOE_TENSOR_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

#include "tensor/tensor.h"

/* Blocks side by side in a row, or one below the other, of n elements. */
size_t moe_blocks_of(size_t n);

/* values [rows][cols], which are divided in place, -> codes [rows][cols] of the codec and scales
 * [moe_blocks_of(rows)][moe_blocks_of(cols)], so that a value is about code times scale: scale = max|x| /
 * codec->largest of the block, code = x / scale. Blocks at the edges are what is left of them. A block of zeros has
 * scale 1; one with a NaN or an infinity has scale NaN. Source: the weight quantisation published with DeepSeek-V3. */
void moe_blocks_encode(const struct moe_codec *codec, float *values, size_t rows, size_t cols, uint8_t *codes,
                       float *scales);

#endif
