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

static enum moe_status apply(const void *self, struct moe_codes *text, struct moe_codes *spare, struct moe_err *err)
{
	const struct strip *sp = self;
	size_t start = 0, end = text->n;
	enum moe_status status;

	while (sp->right && end > 0 && moe_unicode_is_space(text->p[end - 1]))
		end--;
	while (sp->left && start < end && moe_unicode_is_space(text->p[start]))
		start++;
	text->n = end;
	if (start == 0)
		return MOE_OK;
	spare->n = 0;
	status = moe_codes_add(spare, text->p + start, end - start, err);
	if (!status)
		moe_codes_swap(text, spare, text->n_lead > start ? text->n_lead - start : 0);
	return status;
}

const struct moe_normalizer moe_normalizer_strip = {
	.part = {.type = "Strip", .parse = parse, .free = free},
	.apply = apply,
};
