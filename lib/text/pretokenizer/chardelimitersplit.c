/* Splits at every copy of a character, which goes. */
#include <stdlib.h>

#include "text/split.h"

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	uint32_t *delimiter = calloc(1, sizeof *delimiter);
	enum moe_status status;

	*self = NULL;
	if (!delimiter)
		return moe_err_nomem(err, sizeof *delimiter, "a pre-tokenizer");
	status = moe_stage_char(obj, "delimiter", where, delimiter, err);
	if (status)
		free(delimiter);
	else
		*self = delimiter;
	return status;
}

static enum moe_status steps(const void *self, struct moe_steps *out, struct moe_err *err)
{
	const uint32_t *delimiter = self;

	return moe_steps_add(out, (struct moe_step){.kind = MOE_STEP_MATCH, .code = *delimiter,
	                                            .behavior = MOE_SPLIT_REMOVED}, err);
}

const struct moe_pretokenizer moe_pretokenizer_chardelimitersplit = {
	.part = {.type = "CharDelimiterSplit", .parse = parse, .free = free},
	.steps = steps,
};
