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
/* name stored decoded, of a view in Hugging Face naming. */
MOE_MUST_USE enum moe_status moe_hash_rows(struct moe_rows *r, const struct moe_view *view, struct moe_pool *pool,
                                             struct moe_err *err);

struct moe_verdict {
	int64_t n_nan, n_inf;
	int64_t n_different;     /* tensors beyond the tolerance */
	double max;              /* largest difference, and where */
	const char *worst;       /* a view of the view's name */
};

/* ref NULL: name nan inf, of tensors that have any. Else name max rms rel cosine of every tensor; a tensor that only
 * one of the two has is MOE_ECHECK. *v is zero-initialised by the caller. */
MOE_MUST_USE enum moe_status moe_verify_rows(struct moe_rows *r, const struct moe_view *view,
                                               const struct moe_view *ref, double tolerance, struct moe_pool *pool,
                                               struct moe_verdict *v, struct moe_err *err);

#endif
