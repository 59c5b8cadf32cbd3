/* Splits at white space, which goes, and between runs of word characters and runs of others. */
#include "text/split.h"
#include "text/unicode.h"

static enum moe_status steps(const void *self, struct moe_steps *out, struct moe_err *err)
{
	static const struct moe_step blanks = {
		.kind = MOE_STEP_MATCH, .is = moe_unicode_is_space, .behavior = MOE_SPLIT_REMOVED,
	}, words = {
		.kind = MOE_STEP_MATCH, .is = moe_unicode_is_adjacent, .behavior = MOE_SPLIT_CONTIGUOUS,
	};
	enum moe_status status = moe_steps_add(out, blanks, err);

	(void)self;
	return status ? status : moe_steps_add(out, words, err);
}

const struct moe_pretokenizer moe_pretokenizer_whitespace = {
	.part = {.type = "Whitespace", .parse = moe_stage_parse_nothing, .free = moe_stage_free_nothing},
	.steps = steps,
};
