/* One pre-tokenizer after the other, each on every piece of the one before. */
#include "text/split.h"

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	return moe_stages_new((struct moe_stages **)self, MOE_STAGE_PRETOKENIZER, obj, "pretokenizers", where, err);
}

static enum moe_status steps(const void *self, struct moe_steps *out, struct moe_err *err)
{
	const struct moe_stages *stages = self;
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < stages->n && !status; i++) {
		const struct moe_pretokenizer *kind = (const struct moe_pretokenizer *)stages->v[i].part;
		if (out->byte_level)
			return moe_err_set(err, MOE_EFORMAT,
			                   "the pre-tokenizer %s behind ByteLevel would split visible "
			                   "characters that stand for bytes, which is not supported", kind->part.type);
		status = kind->steps(stages->v[i].self, out, err);
	}
	return status;
}

const struct moe_pretokenizer moe_pretokenizer_sequence = {
	.part = {.type = "Sequence", .parse = parse, .free = moe_stages_free},
	.steps = steps,
};
