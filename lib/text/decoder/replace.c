/* Replaces a fixed string in every token. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/stage.h"

struct replace {
	struct moe_str pattern, content;   /* own copies */
};

static void replace_free(void *self)
{
	struct replace *rp = self;

	if (!rp)
		return;
	free((char *)rp->pattern.p);
	free((char *)rp->content.p);
	free(rp);
}

static enum moe_status copy(struct moe_str *out, struct moe_str from, struct moe_err *err)
{
	char *p = malloc(from.n + 1);

	if (!p)
		return moe_err_nomem(err, from.n, "a decoder");
	memcpy(p, from.p, from.n);
	*out = (struct moe_str){p, from.n};
	return MOE_OK;
}

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	struct replace *rp = calloc(1, sizeof *rp);
	struct moe_str pattern, content;
	const json_t *object = json_object_get(obj, "pattern");
	enum moe_status status;

	*self = NULL;
	if (!rp)
		return moe_err_nomem(err, sizeof *rp, "a decoder");
	if (!moe_json_has(object, "String"))
		status = moe_err_set(err, MOE_EFORMAT, "%s.pattern: only {\"String\": ...} is supported in a decoder",
		                     where);
	else
		status = moe_stage_str(object, "String", where, &pattern, err);
	if (!status && pattern.n == 0)
		status = moe_err_set(err, MOE_EFORMAT, "%s.pattern.String: the pattern is empty", where);
	if (!status)
		status = moe_stage_str(obj, "content", where, &content, err);
	if (!status)
		status = copy(&rp->pattern, pattern, err);
	if (!status)
		status = copy(&rp->content, content, err);
	if (status)
		replace_free(rp);
	else
		*self = rp;
	return status;
}

static void bytes(const void *self, struct moe_str token, struct moe_buf *out)
{
	const struct replace *rp = self;
	const char *hit;

	while (token.n > 0 && (hit = memmem(token.p, token.n, rp->pattern.p, rp->pattern.n))) {
		size_t before = (size_t)(hit - token.p);
		moe_buf_add(out, token.p, before);
		moe_buf_add(out, rp->content.p, rp->content.n);
		token.p = hit + rp->pattern.n;
		token.n -= before + rp->pattern.n;
	}
	moe_buf_add(out, token.p, token.n);
}

static enum moe_status add(struct moe_decode_link *link, struct moe_str text, bool begins, struct moe_err *err)
{
	struct moe_buf out = {0};
	enum moe_status status;

	bytes(link->self, text, &out);
	status = moe_buf_check(&out, err);
	if (!status)
		status = moe_decode_emit(link->next, (struct moe_str){out.p ? out.p : "", out.n}, begins, err);
	moe_buf_free(&out);
	return status;
}

const struct moe_decoder moe_decoder_replace = {
	.part = {.type = "Replace", .parse = parse, .free = replace_free},
	.needs_whole = true,
	.add = add,
	.bytes = bytes,
};
