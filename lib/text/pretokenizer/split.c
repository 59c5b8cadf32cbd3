/* Splits by a pattern, which is a regular expression or a fixed string. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/stage.h"

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

static enum moe_status read_behavior(const json_t *obj, const char *where, enum moe_behavior *out, struct moe_err *err)
{
	static const char *const names[] = {
		[MOE_SPLIT_ISOLATED] = "Isolated", [MOE_SPLIT_REMOVED] = "Removed",
		[MOE_SPLIT_WITH_PREVIOUS] = "MergedWithPrevious", [MOE_SPLIT_WITH_NEXT] = "MergedWithNext",
		[MOE_SPLIT_CONTIGUOUS] = "Contiguous",
	};
	const char *name = "";
	enum moe_status status = moe_json_str(obj, "behavior", where, &name, err);

	if (status)
		return status;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (strcmp(names[i], name) == 0) {
			*out = (enum moe_behavior)i;
			return MOE_OK;
		}
	}
	return moe_err_set(err, MOE_EFORMAT,
	                   "%s.behavior: '%.100s' is not one of Isolated, Removed, MergedWithPrevious, "
	                   "MergedWithNext, Contiguous", where, name);
}

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	struct split *sp = calloc(1, sizeof *sp);
	enum moe_status status;

	*self = NULL;
	if (!sp)
		return moe_err_nomem(err, sizeof *sp, "a pre-tokenizer");
	status = read_behavior(obj, where, &sp->behavior, err);
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

static enum moe_status apply(const void *self, struct moe_split *split, struct moe_err *err)
{
	const struct split *sp = self;

	return moe_split_regex(split, sp->regex, sp->behavior, sp->invert, err);
}

const struct moe_pretokenizer moe_pretokenizer_split = {
	.part = {.type = "Split", .parse = parse, .free = split_free},
	.split = apply,
};
