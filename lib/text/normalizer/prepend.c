/* Puts a fixed text before every text that is not empty. */
#include <stdlib.h>

#include "text/stage.h"

static void prepend_free(void *self)
{
	struct moe_codes *prefix = self;

	if (prefix)
		moe_codes_free(prefix);
	free(prefix);
}

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	struct moe_codes *prefix;
	struct moe_str text;
	enum moe_status status = moe_stage_str(obj, "prepend", where, &text, err);

	*self = NULL;
	if (status)
		return status;
	prefix = calloc(1, sizeof *prefix);
	if (!prefix)
		return moe_err_nomem(err, sizeof *prefix, "a normalizer");
	status = moe_codes_add_utf8(prefix, text.p, text.n, err);
	if (status)
		prepend_free(prefix);
	else
		*self = prefix;
	return status;
}

static enum moe_status apply(const void *self, struct moe_flow *in, struct moe_codes *out, struct moe_err *err)
{
	const struct moe_codes *prefix = self;
	enum moe_status status = MOE_OK;

	if (in->at == in->text.n)
		return MOE_OK;
	if (!in->begun) {
		status = moe_codes_add(out, prefix->p, prefix->n, err);
		out->n_lead = in->text.n_lead ? in->text.n_lead + prefix->n : 0;
		in->begun = true;
	}
	if (!status)
		status = moe_codes_add(out, in->text.p + in->at, in->text.n - in->at, err);
	in->at = in->text.n;
	return status;
}

const struct moe_normalizer moe_normalizer_prepend = {
	.part = {.type = "Prepend", .parse = parse, .free = prepend_free},
	.apply = apply,
};
