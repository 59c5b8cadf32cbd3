/* The loop every codec of single elements runs: whole blocks of a fixed count first, which compilers turn into vector
 * code even at -O2, then the rest. Source and destination never overlap. */
#ifndef MOE_TENSOR_LOOP_H
#define MOE_TENSOR_LOOP_H

#include <stddef.h>

#define MOE_LOOP_BLOCK 32

/* Runs `body` with `i` from 0 to n_elems - 1. */
#define MOE_LOOP(i, n_elems, body) do { \
	size_t whole_ = (n_elems) - (n_elems) % MOE_LOOP_BLOCK; \
	for (size_t block_ = 0; block_ < whole_; block_ += MOE_LOOP_BLOCK) { \
		for (size_t k_ = 0; k_ < MOE_LOOP_BLOCK; k_++) { \
			size_t i = block_ + k_; \
			body; \
		} \
	} \
	for (size_t i = whole_; i < (n_elems); i++) { \
		body; \
	} \
} while (0)

#endif
