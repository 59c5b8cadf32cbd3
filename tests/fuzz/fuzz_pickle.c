/* Any bytes as the pickle of a file of torch.save, without the checksums around it. */
#include "fuzz.h"

#include "trace/pickle.h"

static void fuzz_one(const uint8_t *data, size_t n)
{
	struct moe_err err = {0};
	struct moe_arena arena = {0};
	struct moe_pickle_tensor *tensors = NULL;
	size_t n_tensors = 0;
	if (moe_pickle_read(&tensors, &n_tensors, &arena, data, n, "fuzz", &err)) {
		if (!err.text[0])
			abort();
	}
	for (size_t i = 0; i < n_tensors; i++) {
		const struct moe_pickle_tensor *t = &tensors[i];
		if (!t->codec || t->offset < 0 || t->n_dims < 0 || t->n_dims > MOE_MAX_DIMS)
			abort();
		for (int32_t d = 0; d < t->n_dims; d++)
			if (t->dims[d] < 0 || t->strides[d] < 0)
				abort();
	}
	if (arena.n_bytes > 4096 + 512 * n)
		abort();   /* memory is a small multiple of the input */
	moe_arena_free(&arena);
}
