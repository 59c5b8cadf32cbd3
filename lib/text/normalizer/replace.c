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

static enum moe_status apply(const void *self, struct moe_codes *text, struct moe_codes *spare, struct moe_err *err)
{
	const struct replace *rp = self;
	struct moe_pieces matches = {0};
	size_t n_lead = 0;
	struct moe_regex_scan *scan;
	enum moe_status status = moe_regex_begin(&scan, rp->regex, text->p, text->n, err);

	if (!status && text->n > 0)
		status = moe_pieces_match(&matches, scan, (struct moe_piece){0, text->n, false}, false, err);
	moe_regex_finish(scan);
	spare->n = 0;
	for (size_t i = 0; i < matches.n && !status; i++) {
		const struct moe_piece *v = &matches.v[i];

		/* What replaces a match comes from where the last character of the match does. */
		if (text->n_lead && v->is_match && (v->end == 0 || v->end - 1 < text->n_lead))
			n_lead += rp->content.n;
		else if (!v->is_match && v->start < text->n_lead)
			n_lead += (v->end < text->n_lead ? v->end : text->n_lead) - v->start;
		status = v->is_match ? moe_codes_add(spare, rp->content.p, rp->content.n, err)
		                     : moe_codes_add(spare, text->p + v->start, v->end - v->start, err);
	}
	free(matches.v);
	if (!status)
		moe_codes_swap(text, spare, n_lead);
	return status;
}

const struct moe_normalizer moe_normalizer_replace = {
	.part = {.type = "Replace", .parse = parse, .free = replace_free},
	.apply = apply,
};
