/* Splits at white space, which goes. */
#include "text/stage.h"
#include "text/unicode.h"

static enum moe_status split(const void *self, struct moe_split *split, struct moe_err *err)
{
	(void)self;
	return moe_split_where(split, moe_unicode_is_space, MOE_SPLIT_REMOVED, err);
}

const struct moe_pretokenizer moe_pretokenizer_whitespacesplit = {
	.part = {.type = "WhitespaceSplit", .parse = moe_stage_parse_nothing, .free = moe_stage_free_nothing},
	.split = split,
};
