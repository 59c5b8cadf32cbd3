/* Splits at white space, which goes. */
#include "text/split.h"
#include "text/unicode.h"

static enum moe_status steps(const void *self, struct moe_steps *out, struct moe_err *err)
{
	(void)self;
	return moe_steps_add(out, (struct moe_step){.kind = MOE_STEP_MATCH, .is = moe_unicode_is_space,
	                                            .behavior = MOE_SPLIT_REMOVED}, err);
}

const struct moe_pretokenizer moe_pretokenizer_whitespacesplit = {
	.part = {.type = "WhitespaceSplit", .parse = moe_stage_parse_nothing, .free = moe_stage_free_nothing},
	.steps = steps,
};
