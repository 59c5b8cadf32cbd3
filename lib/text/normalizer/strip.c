/* Takes white space off the beginning and the end of a text. */
#include <stdlib.h>

#include "base/json.h"
#include "text/stage.h"
#include "text/unicode.h"

struct strip {
	bool left, right;
};

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	struct strip *sp = calloc(1, sizeof *sp);
	enum moe_status status;

	*self = NULL;
	if (!sp)
		return moe_err_nomem(err, sizeof *sp, "a normalizer");
	status = moe_json_bool(obj, "strip_left", where, &sp->left, err);
	if (!status)
		status = moe_json_bool(obj, "strip_right", where, &sp->right, err);
	if (status)
		free(sp);
	else
		*self = sp;
	return status;
}

/* White space is held back until something else follows. */
static enum moe_status apply(const void *self, struct moe_flow *in, struct moe_codes *out, struct moe_err *err)
{
	const struct strip *sp = self;
	size_t end = in->text.n;
	enum moe_status status = MOE_OK;

	while (sp->left && !in->begun && in->at < end && moe_unicode_is_space(in->text.p[in->at]))
		in->at++;
	while (sp->right && end > in->at && moe_unicode_is_space(in->text.p[end - 1]))
		end--;
	if (in->at < end) {
		if (!in->begun && in->text.n_lead > in->at)
			out->n_lead = in->text.n_lead - in->at;
		in->begun = true;
		status = moe_codes_add(out, in->text.p + in->at, end - in->at, err);
		in->at = end;
	}
	if (in->last)
		in->at = in->text.n;
	return status;
}

const struct moe_normalizer moe_normalizer_strip = {
	.part = {.type = "Strip", .parse = parse, .free = free},
	.apply = apply,
};
