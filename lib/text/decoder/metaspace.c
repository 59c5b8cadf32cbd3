/* The visible character back to a space; in the first token it goes, as it was put there. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/stage.h"
#include "text/utf8.h"

struct metaspace {
	char replacement[4];
	size_t n_replacement;
	bool keeps_first;
};

struct state {
	size_t n_tokens;   /* begun; does not pass 2 */
};

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	struct metaspace *ms = calloc(1, sizeof *ms);
	const char *scheme = NULL;
	bool add_prefix_space = true;
	uint32_t code = 0;
	enum moe_status status;

	*self = NULL;
	if (!ms)
		return moe_err_nomem(err, sizeof *ms, "a decoder");
	status = moe_stage_char(obj, "replacement", where, &code, err);
	if (!status)
		status = moe_json_str(obj, "prepend_scheme", where, &scheme, err);
	if (!status)
		status = moe_json_bool(obj, "add_prefix_space", where, &add_prefix_space, err);
	if (!status && scheme && strcmp(scheme, "always") != 0 && strcmp(scheme, "first") != 0 &&
	    strcmp(scheme, "never") != 0)
		status = moe_err_set(err, MOE_EFORMAT,
		                     "%s.prepend_scheme: '%.100s' is not one of always, first, never", where, scheme);
	if (status) {
		free(ms);
		return status;
	}
	ms->n_replacement = moe_utf8_put((uint8_t *)ms->replacement, code);
	ms->keeps_first = scheme ? strcmp(scheme, "never") == 0 : !add_prefix_space;
	*self = ms;
	return MOE_OK;
}

/* Appends text with `space` in place of every replacement. */
static void respace(const struct metaspace *ms, struct moe_str text, const char *space, struct moe_buf *out)
{
	const char *hit;

	while (text.n > 0 && (hit = memmem(text.p, text.n, ms->replacement, ms->n_replacement))) {
		size_t before = (size_t)(hit - text.p);
		moe_buf_add(out, text.p, before);
		moe_buf_adds(out, space);
		text.p = hit + ms->n_replacement;
		text.n -= before + ms->n_replacement;
	}
	moe_buf_add(out, text.p, text.n);
}

static void bytes(const void *self, struct moe_str token, struct moe_buf *out)
{
	respace(self, token, " ", out);
}

static enum moe_status add(struct moe_decode_link *link, struct moe_str text, bool begins, struct moe_err *err)
{
	const struct metaspace *ms = link->self;
	struct state *st = link->state;
	struct moe_buf out = {0};
	enum moe_status status;

	if (begins && st->n_tokens < 2)
		st->n_tokens++;
	respace(ms, text, st->n_tokens < 2 && !ms->keeps_first ? "" : " ", &out);
	status = moe_buf_check(&out, err);
	if (!status)
		status = moe_decode_emit(link->next, (struct moe_str){out.p ? out.p : "", out.n}, begins, err);
	moe_buf_free(&out);
	return status;
}

const struct moe_decoder moe_decoder_metaspace = {
	.part = {.type = "Metaspace", .parse = parse, .free = free},
	.state_bytes = sizeof(struct state),
	.add = add,
	.bytes = bytes,
};
