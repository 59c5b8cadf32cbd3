/* All tokens become one. */
#include "text/stage.h"

struct state {
	bool begun;
};

static enum moe_status add(struct moe_decode_link *link, struct moe_str text, bool begins, struct moe_err *err)
{
	struct state *st = link->state;

	begins = !st->begun;
	st->begun = true;
	return moe_decode_emit(link->next, text, begins, err);
}

const struct moe_decoder moe_decoder_fuse = {
	.part = {.type = "Fuse", .parse = moe_stage_parse_nothing,
	         .free = moe_stage_free_nothing},
	.joins = true,
	.state_bytes = sizeof(struct state),
	.add = add,
};
