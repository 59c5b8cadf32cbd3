/* The reports of moe-convert: text of --info, rows of --list, --hash and --verify. */
#ifndef MOE_CONVERT_REPORT_H
#define MOE_CONVERT_REPORT_H

#include <jansson.h>

#include "base/pool.h"
#include "convert/rows.h"
#include "convert/view.h"

/* The object of moe_info as text for people. */
void moe_info_text(struct moe_buf *b, const json_t *info);

/* name dtype shape file offset bytes role layer expert; config NULL where it is not known. */
MOE_MUST_USE enum moe_status moe_report_tensors(struct moe_rows *r, const struct moe_ckpt *ckpt,
                                             const struct moe_config *config, struct moe_err *err);
/* name stored decoded, and where asked for sha256, of a view in Hugging Face naming. */
MOE_MUST_USE enum moe_status moe_hash_rows(struct moe_rows *r, const struct moe_view *view, bool sha256,
                                           struct moe_pool *pool, struct moe_err *err);

struct moe_verdict {
	int64_t n_nan, n_inf;
	int64_t n_different;     /* tensors beyond the tolerance */
	double max;              /* largest difference, and where */
	const char *worst;       /* a view of the view's name */
};

/* ref NULL: name nan inf, of tensors that have any. Else name max rms rel cosine nan inf of every tensor; a tensor that
 * only one of the two has is MOE_ECHECK. by_role: a row for each role, its name and how many tensors it has before the
 * numbers, and the defects of all. *v is zero-initialised by the caller. */
MOE_MUST_USE enum moe_status moe_verify_rows(struct moe_rows *r, const struct moe_view *view,
                                             const struct moe_view *ref, double tolerance, bool by_role,
                                             struct moe_pool *pool, struct moe_verdict *v, struct moe_err *err);

/* In what two checkpoints are compared. */
enum moe_diff_what {
	MOE_DIFF_CONFIG = 1, MOE_DIFF_NAMES = 2, MOE_DIFF_SHAPES = 4, MOE_DIFF_TYPES = 8, MOE_DIFF_VALUES = 16,
	MOE_DIFF_ALL = 31,
};
/* "config,names,...": words of the above. Another word, or one given twice, is MOE_EUSAGE. */
MOE_MUST_USE enum moe_status moe_diff_parse(unsigned *what, const char *text, struct moe_err *err);

struct moe_differences {
	int64_t n_config, n_names, n_shapes, n_types, n_values;
};
/* Rows what name a b max rms rel, of differences alone: keys of the configs, tensors that one of the two has, and those
 * of another shape, type or value. Both views are in Hugging Face naming. *d is zero-initialised by the caller. */
MOE_MUST_USE enum moe_status moe_diff_configs(struct moe_rows *r, const json_t *a, const json_t *b,
                                              struct moe_differences *d, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_diff_tensors(struct moe_rows *r, const struct moe_view *a, const struct moe_view *b,
                                              unsigned what, struct moe_pool *pool, struct moe_differences *d,
                                              struct moe_err *err);

#endif
