/* Splits at punctuation. */
#include <stdlib.h>

#include "text/split.h"
#include "text/unicode.h"

struct punctuation {
	enum moe_behavior behavior;
};

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	struct punctuation *pn = calloc(1, sizeof *pn);
	enum moe_status status;

	*self = NULL;
	if (!pn)
		return moe_err_nomem(err, sizeof *pn, "a pre-tokenizer");
	pn->behavior = MOE_SPLIT_ISOLATED;
	status = moe_stage_behavior(obj, where, &pn->behavior, err);
	if (status)
		free(pn);
	else
		*self = pn;
	return status;
}

static enum moe_status steps(const void *self, struct moe_steps *out, struct moe_err *err)
{
	const struct punctuation *pn = self;

	return moe_steps_add(out, (struct moe_step){.kind = MOE_STEP_MATCH, .is = moe_unicode_is_punctuation,
	                                            .behavior = pn->behavior}, err);
}

const struct moe_pretokenizer moe_pretokenizer_punctuation = {
	.part = {.type = "Punctuation", .parse = parse, .free = free},
	.steps = steps,
};
