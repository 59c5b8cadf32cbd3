/* Unicode normalization form C: canonical decomposition, then canonical composition. */
#include "text/normal.h"

static enum moe_status apply(const void *self, struct moe_flow *in, struct moe_codes *out, struct moe_err *err)
{
	(void)self;
	return moe_normal_form(in, out, MOE_FORM_C, err);
}

const struct moe_normalizer moe_normalizer_nfc = {
	.part = {.type = "NFC", .parse = moe_stage_parse_nothing, .free = moe_stage_free_nothing},
	.apply = apply,
};
