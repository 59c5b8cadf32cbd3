/* Arrays of expert ids, [tokens, layers, k] or [tokens, k], as serving engines return them and people save them:
 * whatever the container, they become sequences here. */
#ifndef MOE_TRACE_ARRAYS_H
#define MOE_TRACE_ARRAYS_H

#include "tensor/tensor.h"
#include "trace/intake.h"
#include "trace/zip.h"

/* A view. Every element lies within what `data` views: the reader has checked. */
struct moe_array {
	const char *name;                  /* "" where it has none */
	const struct moe_codec *codec;     /* of one element a block, little endian */
	int32_t n_dims;
	int64_t dims[MOE_MAX_DIMS];
	int64_t strides[MOE_MAX_DIMS];     /* in elements, of at least 0 */
	const uint8_t *data;
};

/* Sets the strides of rows that follow each other (C order), or of columns (Fortran order). */
void moe_array_pack(struct moe_array *array, bool fortran);

/* An element as a number: of integers exactly (U64 beyond INT64_MAX: -1), of floats as f32. i: in elements. */
int64_t moe_array_id(const struct moe_array *array, int64_t i);
float moe_array_value(const struct moe_array *array, int64_t i);
bool moe_array_is_integer(const struct moe_array *array);

/* All arrays of one file. An array of integers with two or three dimensions is a sequence's ids. Floats of the same
 * shape are its weights, and integers of one dimension its tokens, if they are called as the ids are with "weights" or
 * "tokens" in the place of the last "ids"; with one sequence its weights may be called anything. Any other array is
 * refused. Sequences stand in the order of `arrays`, which is sorted by name first where by_name says so (numbers in
 * names by their value). */
MOE_MUST_USE enum moe_status moe_arrays_import(struct moe_intake *in, const char *path, struct moe_array *arrays,
                                               size_t n_arrays, bool by_name, int64_t *next_seq, struct moe_err *err);

/* A file that is a zip archive: `read` is called with it open. */
MOE_MUST_USE enum moe_status moe_arrays_unzip(struct moe_intake *in, const char *path,
                                              enum moe_status (*read)(struct moe_intake *in, struct moe_zip *zip,
                                                                      int64_t *next_seq, struct moe_err *err),
                                              int64_t *next_seq, struct moe_err *err);

/* The whole of an importer of such files: read_file hands the arrays of one to moe_arrays_import. */
MOE_MUST_USE enum moe_status moe_arrays_run(char *const *files, int n_files, const struct moe_import_opts *opts,
                                            const struct moe_import_sink *sink,
                                            enum moe_status (*read_file)(struct moe_intake *in, const char *path,
                                                                         int64_t *next_seq, struct moe_err *err),
                                            struct moe_err *err);

#endif
