/* Hands pieces to the model as bytes. Before that it may put a space before each piece that begins with none, and split
 * by the pattern of GPT-2. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/split.h"

struct bytelevel {
	bool add_prefix_space;
	struct moe_regex *regex;   /* NULL: no splitting */
};

static const char pattern[] =
	"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static void bytelevel_free(void *self)
{
	struct bytelevel *bl = self;

	if (bl)
		moe_regex_free(bl->regex);
	free(bl);
}

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	struct bytelevel *bl = calloc(1, sizeof *bl);
	bool use_regex = true;
	enum moe_status status;

	*self = NULL;
	if (!bl)
		return moe_err_nomem(err, sizeof *bl, "a pre-tokenizer");
	bl->add_prefix_space = true;
	status = moe_json_bool(obj, "add_prefix_space", where, &bl->add_prefix_space, err);
	if (!status)
		status = moe_json_bool(obj, "use_regex", where, &use_regex, err);
	if (!status && use_regex)
		status = moe_regex_compile(&bl->regex, pattern, strlen(pattern), where, err);
	if (status)
		bytelevel_free(bl);
	else
		*self = bl;
	return status;
}

static enum moe_status steps(const void *self, struct moe_steps *out, struct moe_err *err)
{
	const struct bytelevel *bl = self;
	enum moe_status status = MOE_OK;

	if (bl->add_prefix_space)
		status = moe_steps_add(out, (struct moe_step){.kind = MOE_STEP_PREFIX, .code = ' '}, err);
	if (!status && bl->regex)
		status = moe_steps_add(out, (struct moe_step){.kind = MOE_STEP_MATCH, .regex = bl->regex}, err);
	out->byte_level = true;
	return status;
}

const struct moe_pretokenizer moe_pretokenizer_bytelevel = {
	.part = {.type = "ByteLevel", .parse = parse, .free = bytelevel_free},
	.steps = steps,
};
