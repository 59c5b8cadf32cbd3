/* Replaces every match of a pattern in every token. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/stage.h"
#include "text/utf8.h"

struct replace {
	struct moe_str pattern, content;   /* own copies; pattern.p NULL: the regex */
	struct moe_regex *regex;
};

static void replace_free(void *self)
{
	struct replace *rp = self;

	if (!rp)
		return;
	free((char *)rp->pattern.p);
	free((char *)rp->content.p);
	moe_regex_free(rp->regex);
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
	/* Says what is wrong with a pattern of either form. */
	status = moe_stage_pattern(obj, where, &rp->regex, err);
	if (!status)
		status = moe_stage_str(obj, "content", where, &content, err);
	if (!status && moe_json_has(object, "String")) {
		moe_regex_free(rp->regex);
		rp->regex = NULL;
		status = moe_stage_str(object, "String", where, &pattern, err);
		if (!status)
			status = copy(&rp->pattern, pattern, err);
	}
	if (!status)
		status = copy(&rp->content, content, err);
	if (status)
		replace_free(rp);
	else
		*self = rp;
	return status;
}

/* Replacements that replacements make of each other grow without end. `out` begins with this token. */
static bool is_full(const struct moe_buf *out, struct moe_str token)
{
	return out->n > MOE_DECODED_MAX && out->n > token.n;
}

static void add_codes(struct moe_buf *out, const uint32_t *codes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t utf8[4];
		moe_buf_add(out, utf8, moe_utf8_put(utf8, codes[i]));
	}
}

static enum moe_status replace_matches(const struct replace *rp, struct moe_str token, struct moe_buf *out,
                                       struct moe_err *err)
{
	struct moe_codes codes = {0};
	struct moe_regex_scan *scan = NULL;
	size_t at = 0, start, stop;
	enum moe_regex_found found = MOE_REGEX_NONE;
	enum moe_status status = moe_codes_add_utf8(&codes, token.p, token.n, err);

	if (!status)
		status = moe_regex_begin(&scan, rp->regex, err);
	if (!status)
		status = moe_regex_add(scan, codes.p, codes.n, err);
	while (codes.n > 0 && !status && !is_full(out, token)) {
		status = moe_regex_next(scan, 0, codes.n, at, found == MOE_REGEX_MATCH, false, &found, &start, &stop,
		                        err);
		if (status)
			break;
		add_codes(out, codes.p + at, start - at);
		if (found != MOE_REGEX_MATCH)
			break;
		moe_buf_add(out, rp->content.p, rp->content.n);
		at = stop;
	}
	moe_regex_finish(scan);
	moe_codes_free(&codes);
	return status ? status : moe_buf_check(out, err);
}

/* The same for a fixed string. */
static void replace_copies(const struct replace *rp, struct moe_str token, struct moe_buf *out)
{
	struct moe_str rest = token;
	const char *hit;

	while (rest.n > 0 && !is_full(out, token) && (hit = memmem(rest.p, rest.n, rp->pattern.p, rp->pattern.n))) {
		size_t before = (size_t)(hit - rest.p);
		moe_buf_add(out, rest.p, before);
		moe_buf_add(out, rp->content.p, rp->content.n);
		rest.p = hit + rp->pattern.n;
		rest.n -= before + rp->pattern.n;
	}
	moe_buf_add(out, rest.p, rest.n);
}

static void bytes(const void *self, struct moe_str token, struct moe_buf *out)
{
	const struct replace *rp = self;
	size_t first = out->n;

	if (rp->pattern.p) {
		replace_copies(rp, token, out);
	} else if (replace_matches(rp, token, out, NULL)) {
		out->n = first;
		moe_buf_add(out, token.p, token.n);
	}
}

static enum moe_status add(struct moe_decode_link *link, struct moe_str text, bool begins, struct moe_err *err)
{
	const struct replace *rp = link->self;
	struct moe_buf out = {0};
	enum moe_status status = MOE_OK;

	if (rp->pattern.p)
		replace_copies(rp, text, &out);
	else
		status = replace_matches(rp, text, &out, err);
	if (!status)
		status = moe_buf_check(&out, err);
	if (!status && is_full(&out, text))
		status = moe_err_set(err, MOE_EFORMAT, "decoder: makes more than %d bytes of a token",
		                     MOE_DECODED_MAX);
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
