/* One normalizer after the other, as moe_norm has them; an empty list changes nothing. */
#include "text/stage.h"

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	return moe_stages_new((struct moe_stages **)self, MOE_STAGE_NORMALIZER, obj, "normalizers", where, err);
}

static const struct moe_stage *children(const void *self, size_t *n)
{
	const struct moe_stages *stages = self;

	*n = stages->n;
	return stages->v;
}

const struct moe_normalizer moe_normalizer_sequence = {
	.part = {.type = "Sequence", .parse = parse, .free = moe_stages_free},
	.children = children,
};
