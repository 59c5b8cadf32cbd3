/* Sets digits apart, one by one or in runs. */
#include <stdlib.h>

#include "base/json.h"
#include "text/split.h"
#include "text/unicode.h"

struct digits {
	bool individual;
};

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	struct digits *dg = calloc(1, sizeof *dg);
	enum moe_status status;

	*self = NULL;
	if (!dg)
		return moe_err_nomem(err, sizeof *dg, "a pre-tokenizer");
	status = moe_json_bool(obj, "individual_digits", where, &dg->individual, err);
	if (status)
		free(dg);
	else
		*self = dg;
	return status;
}

static enum moe_status steps(const void *self, struct moe_steps *out, struct moe_err *err)
{
	const struct digits *dg = self;

	return moe_steps_add(out, (struct moe_step){.kind = MOE_STEP_MATCH, .is = moe_unicode_is_numeric,
	                                            .behavior = dg->individual ? MOE_SPLIT_ISOLATED
	                                                                       : MOE_SPLIT_CONTIGUOUS}, err);
}

const struct moe_pretokenizer moe_pretokenizer_digits = {
	.part = {.type = "Digits", .parse = parse, .free = free},
	.steps = steps,
};
