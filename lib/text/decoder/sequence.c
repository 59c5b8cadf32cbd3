/* One decoder after the other; whoever builds the chain asks for the children. */
#include "text/stage.h"

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	return moe_stages_new((struct moe_stages **)self, MOE_STAGE_DECODER, obj, "decoders", where, err);
}

static const struct moe_stage *children(const void *self, size_t *n)
{
	const struct moe_stages *stages = self;

	*n = stages->n;
	return stages->v;
}

const struct moe_decoder moe_decoder_sequence = {
	.part = {.type = "Sequence", .parse = parse, .free = moe_stages_free},
	.children = children,
};
