/* The tensors that a Python pickle of torch.save describes. Nothing is executed: a few opcodes build numbers, texts and
 * containers, a few names that torch writes stand for tensors and their storages, and all else is refused. */
#ifndef MOE_TRACE_PICKLE_H
#define MOE_TRACE_PICKLE_H

#include "base/arena.h"
#include "tensor/tensor.h"

/* A tensor as it is described, in the order of the pickle. */
struct moe_pickle_tensor {
	const char *name;               /* its key, where it is a value of a dictionary, or "" */
	const char *storage;            /* key of its storage */
	const struct moe_codec *codec;
	int64_t offset;                 /* of its first element in the storage; at least 0 */
	int32_t n_dims;
	int64_t dims[MOE_MAX_DIMS], strides[MOE_MAX_DIMS];   /* in elements, at least 0 */
};

/* *out [*n_out] is in the arena. `where` begins every sentence. Memory is a small multiple of n. */
MOE_MUST_USE enum moe_status moe_pickle_read(struct moe_pickle_tensor **out, size_t *n_out, struct moe_arena *arena,
                                             const uint8_t *data, size_t n, const char *where, struct moe_err *err);

#endif
