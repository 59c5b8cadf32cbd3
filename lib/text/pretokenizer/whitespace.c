/* Splits at white space, which goes, and between runs of word characters and runs of others. */
#include "text/stage.h"
#include "text/unicode.h"

static enum moe_status split(const void *self, struct moe_split *split, struct moe_err *err)
{
	enum moe_status status = moe_split_where(split, moe_unicode_is_space, MOE_SPLIT_REMOVED, err);

	(void)self;
	return status ? status : moe_split_where(split, moe_unicode_is_adjacent, MOE_SPLIT_CONTIGUOUS, err);
}

const struct moe_pretokenizer moe_pretokenizer_whitespace = {
	.part = {.type = "Whitespace", .parse = moe_stage_parse_nothing, .free = moe_stage_free_nothing},
	.split = split,
};
