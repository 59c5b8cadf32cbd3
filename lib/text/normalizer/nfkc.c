/* Unicode normalization form KC: compatibility decomposition, then canonical composition. */
#include "text/normal.h"

static enum moe_status apply(const void *self, struct moe_flow *in, struct moe_codes *out, struct moe_err *err)
{
	(void)self;
	return moe_normal_form(in, out, MOE_FORM_KC, err);
}

const struct moe_normalizer moe_normalizer_nfkc = {
	.part = {.type = "NFKC", .parse = moe_stage_parse_nothing, .free = moe_stage_free_nothing},
	.apply = apply,
};
