/* Splits by a pattern, which is a regular expression or a fixed string. */
#include <stdlib.h>

#include "base/json.h"
#include "text/split.h"

struct split {
	struct moe_regex *regex;
	enum moe_behavior behavior;
	bool invert;
};

static void split_free(void *self)
{
	struct split *sp = self;

	if (sp)
		moe_regex_free(sp->regex);
	free(sp);
}

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	struct split *sp = calloc(1, sizeof *sp);
	enum moe_status status;

	*self = NULL;
	if (!sp)
		return moe_err_nomem(err, sizeof *sp, "a pre-tokenizer");
	if (moe_json_has(obj, "behavior"))
		status = moe_stage_behavior(obj, where, &sp->behavior, err);
	else
		status = moe_err_set(err, MOE_EFORMAT, "%s.behavior: is missing", where);
	if (!status)
		status = moe_json_bool(obj, "invert", where, &sp->invert, err);
	if (!status)
		status = moe_stage_pattern(obj, where, &sp->regex, err);
	if (status)
		split_free(sp);
	else
		*self = sp;
	return status;
}

static enum moe_status steps(const void *self, struct moe_steps *out, struct moe_err *err)
{
	const struct split *sp = self;

	return moe_steps_add(out, (struct moe_step){.kind = MOE_STEP_MATCH, .regex = sp->regex,
	                                            .behavior = sp->behavior, .invert = sp->invert}, err);
}

const struct moe_pretokenizer moe_pretokenizer_split = {
	.part = {.type = "Split", .parse = parse, .free = split_free},
	.steps = steps,
};
