/* All tokens become one. */
#include "text/stage.h"

struct state {
	bool begun;
};

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	(void)obj, (void)where, (void)err;
	*self = NULL;
	return MOE_OK;
}

static void nothing_to_free(void *self)
{
	(void)self;
}

static enum moe_status add(struct moe_decode_link *link, struct moe_str text, bool begins, struct moe_err *err)
{
	struct state *st = link->state;

	begins = !st->begun;
	st->begun = true;
	return moe_decode_emit(link->next, text, begins, err);
}

const struct moe_decoder moe_decoder_fuse = {
	.part = {.type = "Fuse", .parse = parse, .free = nothing_to_free},
	.joins = true,
	.state_bytes = sizeof(struct state),
	.add = add,
};
