/* NumPy's .npy files: a header in Python's words, then the elements. */
#ifndef MOE_TRACE_NPY_H
#define MOE_TRACE_NPY_H

#include "trace/arrays.h"

/* Views the array in the n bytes, which must be all of it; its name is "". Numbers are little endian, in C or Fortran
 * order. `where` begins every sentence. */
MOE_MUST_USE enum moe_status moe_npy_parse(struct moe_array *out, const uint8_t *data, size_t n, const char *where,
                                           struct moe_err *err);

/* Bytes that moe_npy_header writes, whatever the shape. */
#define MOE_NPY_HEADER 128
/* The header of an array of C order; descr: "<i4". */
void moe_npy_header(uint8_t out[MOE_NPY_HEADER], const char *descr, const int64_t *dims, int32_t n_dims);

#endif
