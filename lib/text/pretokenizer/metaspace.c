/* Spaces become a visible character, which is also put before a text, and begins a piece wherever it is. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/split.h"

enum scheme { ALWAYS, FIRST, NEVER };

struct metaspace {
	uint32_t replacement;
	enum scheme scheme;
	bool split;
};

static enum moe_status read_scheme(const json_t *obj, const char *where, enum scheme *out, struct moe_err *err)
{
	static const char *const names[] = {[ALWAYS] = "always", [FIRST] = "first", [NEVER] = "never"};
	const char *name = NULL;
	bool add_prefix_space = true;
	enum moe_status status = moe_json_str(obj, "prepend_scheme", where, &name, err);

	if (!status)
		status = moe_json_bool(obj, "add_prefix_space", where, &add_prefix_space, err);
	if (status)
		return status;
	/* Older files have add_prefix_space instead. */
	*out = name || add_prefix_space ? ALWAYS : NEVER;
	for (int i = ALWAYS; name && i <= NEVER; i++) {
		if (strcmp(name, names[i]) != 0)
			continue;
		*out = (enum scheme)i;
		if (!add_prefix_space && *out != NEVER)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: add_prefix_space is false and prepend_scheme '%s': which is meant?",
			                   where, name);
		return MOE_OK;
	}
	return name ? moe_err_set(err, MOE_EFORMAT, "%s.prepend_scheme: '%.100s' is not one of always, first, never",
	                          where, name) : MOE_OK;
}

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	struct metaspace *ms = calloc(1, sizeof *ms);
	enum moe_status status;

	*self = NULL;
	if (!ms)
		return moe_err_nomem(err, sizeof *ms, "a pre-tokenizer");
	ms->split = true;
	status = moe_stage_char(obj, "replacement", where, &ms->replacement, err);
	if (!status)
		status = read_scheme(obj, where, &ms->scheme, err);
	if (!status)
		status = moe_json_bool(obj, "split", where, &ms->split, err);
	if (status)
		free(ms);
	else
		*self = ms;
	return status;
}

static enum moe_status steps(const void *self, struct moe_steps *out, struct moe_err *err)
{
	const struct metaspace *ms = self;
	enum moe_status status = MOE_OK;

	if (ms->replacement != ' ')
		status = moe_steps_add(out, (struct moe_step){.kind = MOE_STEP_MAP, .code = ' ', .to = ms->replacement},
		                       err);
	if (!status && ms->scheme != NEVER)
		status = moe_steps_add(out, (struct moe_step){.kind = MOE_STEP_PREFIX, .code = ms->replacement,
		                                              .only_lead = ms->scheme == FIRST}, err);
	if (!status && ms->split)
		status = moe_steps_add(out, (struct moe_step){.kind = MOE_STEP_MATCH, .code = ms->replacement,
		                                              .behavior = MOE_SPLIT_WITH_NEXT}, err);
	return status;
}

const struct moe_pretokenizer moe_pretokenizer_metaspace = {
	.part = {.type = "Metaspace", .parse = parse, .free = free},
	.steps = steps,
};
