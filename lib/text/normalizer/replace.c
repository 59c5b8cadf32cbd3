/* Replaces every match of a pattern by a fixed text. */
#include <stdlib.h>

#include "text/stage.h"

struct replace {
	struct moe_regex *regex;
	struct moe_codes content;
};

static void replace_free(void *self)
{
	struct replace *rp = self;

	if (!rp)
		return;
	moe_regex_free(rp->regex);
	moe_codes_free(&rp->content);
	free(rp);
}

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	struct replace *rp = calloc(1, sizeof *rp);
	struct moe_str content;
	enum moe_status status;

	*self = NULL;
	if (!rp)
		return moe_err_nomem(err, sizeof *rp, "a normalizer");
	status = moe_stage_pattern(obj, where, &rp->regex, err);
	if (!status)
		status = moe_stage_str(obj, "content", where, &content, err);
	if (!status)
		status = moe_codes_add_utf8(&rp->content, content.p, content.n, err);
	if (status)
		replace_free(rp);
	else
		*self = rp;
	return status;
}

/* Appends what the text up to `end` becomes: itself, or, for a match, the content. */
static enum moe_status put(const struct replace *rp, struct moe_flow *in, size_t end, bool is_match,
                           struct moe_codes *out, struct moe_err *err)
{
	const size_t n_lead = in->text.n_lead;
	size_t start = in->at;

	in->at = end;
	if (is_match) {
		/* What replaces a match comes from where the last character of the match does. */
		if (n_lead && (end == 0 || end - 1 < n_lead))
			out->n_lead += rp->content.n;
		return moe_codes_add(out, rp->content.p, rp->content.n, err);
	}
	if (start < n_lead)
		out->n_lead += (end < n_lead ? end : n_lead) - start;
	return moe_codes_add(out, in->text.p + start, end - start, err);
}

static enum moe_status replace_all(const struct replace *rp, struct moe_flow *in, struct moe_codes *out,
                                   struct moe_err *err)
{
	const size_t end = in->text.n;

	while (in->last ? in->at <= end : in->at < end) {
		enum moe_regex_found found;
		size_t start, stop;
		enum moe_status status = moe_regex_next(in->scan, 0, end, in->at, in->fresh, !in->last, &found, &start,
		                                        &stop, err);

		if (!status && start > in->at)
			status = put(rp, in, start, false, out, err);
		if (!status && found == MOE_REGEX_MATCH)
			status = put(rp, in, stop, true, out, err);
		in->fresh = found == MOE_REGEX_MATCH;
		if (status || !in->fresh)
			return status;
	}
	return MOE_OK;
}

static enum moe_status apply(const void *self, struct moe_flow *in, struct moe_codes *out, struct moe_err *err)
{
	const struct replace *rp = self;
	const size_t before = out->n, old_lead = out->n_lead;
	enum moe_status status = MOE_OK;

	if (in->text.n == in->at && !in->begun)
		return MOE_OK;
	if (!in->scan)
		status = moe_regex_begin(&in->scan, rp->regex, err);
	in->behind = moe_regex_behind(rp->regex);
	if (!status)
		status = moe_regex_add(in->scan, in->text.p, in->text.n, err);
	if (!status)
		status = replace_all(rp, in, out, err);
	/* What comes from the beginning of the whole text comes out at once. */
	if (!in->begun && !in->last && in->at <= in->text.n_lead) {
		out->n = before;
		out->n_lead = old_lead;
		in->at = 0;
		in->fresh = false;
		return status;
	}
	in->begun = true;
	return status;
}

const struct moe_normalizer moe_normalizer_replace = {
	.part = {.type = "Replace", .parse = parse, .free = replace_free},
	.apply = apply,
};
