/* The tensors in a file of torch.save, in whatever plain containers they lie. Nothing in it is executed. */
#ifndef MOE_TRACE_TORCH_H
#define MOE_TRACE_TORCH_H

#include "base/file.h"
#include "trace/arrays.h"
#include "trace/zip.h"

/* Every tensor, in the order of the pickle, with the key that it has in a dictionary for its name; a view until the
 * archive is closed. */
MOE_MUST_USE enum moe_status moe_torch_tensors(struct moe_zip *zip, struct moe_array **out, size_t *n_out,
                                               struct moe_err *err);

/* A file that is open. */
struct moe_torch {
	struct moe_map map;
	struct moe_zip zip;
	struct moe_array *tensors;   /* [n_tensors] */
	size_t n_tensors;
};
MOE_MUST_USE enum moe_status moe_torch_open(struct moe_torch *file, const char *path, struct moe_err *err);
void moe_torch_close(struct moe_torch *file);   /* leaves it zero */

#endif
