/* One normalizer after the other; an empty list changes nothing. */
#include "text/stage.h"

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	return moe_stages_new((struct moe_stages **)self, MOE_STAGE_NORMALIZER, obj, "normalizers", where, err);
}

static enum moe_status apply(const void *self, struct moe_codes *text, struct moe_codes *spare, struct moe_err *err)
{
	const struct moe_stages *stages = self;
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < stages->n && !status; i++) {
		const struct moe_normalizer *kind = (const struct moe_normalizer *)stages->v[i].part;
		status = kind->apply(stages->v[i].self, text, spare, err);
	}
	return status;
}

const struct moe_normalizer moe_normalizer_sequence = {
	.part = {.type = "Sequence", .parse = parse, .free = moe_stages_free},
	.apply = apply,
};
