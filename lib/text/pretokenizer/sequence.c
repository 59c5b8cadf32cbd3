/* One pre-tokenizer after the other, each on every piece of the one before. */
#include "text/stage.h"

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	return moe_stages_new((struct moe_stages **)self, MOE_STAGE_PRETOKENIZER, obj, "pretokenizers", where, err);
}

static enum moe_status split(const void *self, struct moe_split *split, struct moe_err *err)
{
	const struct moe_stages *stages = self;
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < stages->n && !status; i++) {
		const struct moe_pretokenizer *kind = (const struct moe_pretokenizer *)stages->v[i].part;
		if (split->byte_level)
			return moe_err_set(err, MOE_EFORMAT,
			                   "the pre-tokenizer %s behind ByteLevel would split visible "
			                   "characters that stand for bytes, which is not supported", kind->part.type);
		status = kind->split(stages->v[i].self, split, err);
	}
	return status;
}

const struct moe_pretokenizer moe_pretokenizer_sequence = {
	.part = {.type = "Sequence", .parse = parse, .free = moe_stages_free},
	.split = split,
};
