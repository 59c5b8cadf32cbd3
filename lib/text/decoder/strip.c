/* Takes up to `start` copies of a character off the beginning of each token and up to `stop` off its end. The copies at
 * the end of what has come are held back until it is known whether the token goes on. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/stage.h"
#include "text/utf8.h"

struct strip {
	char content[8];
	size_t n_content;
	int32_t start, stop;
};

struct state {
	int32_t n_taken;   /* off the beginning */
	bool inside;       /* something else has come */
	int32_t n_held;    /* copies that may be the end, at most `stop` */
	bool emitted;      /* something of it went on */
};

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	struct strip *sp = calloc(1, sizeof *sp);
	struct moe_str content;
	size_t used = 0;
	enum moe_status status;

	*self = NULL;
	if (!sp)
		return moe_err_nomem(err, sizeof *sp, "a decoder");
	status = moe_stage_str(obj, "content", where, &content, err);
	if (!status && content.n > 0)
		(void)moe_utf8_take((const uint8_t *)content.p, content.n, &used);
	if (!status && (content.n == 0 || used != content.n))
		status = moe_err_set(err, MOE_EFORMAT, "%s.content: one character is expected", where);
	if (!status)
		status = moe_json_i32(obj, "start", where, 0, 1 << 20, &sp->start, err);
	if (!status)
		status = moe_json_i32(obj, "stop", where, 0, 1 << 20, &sp->stop, err);
	if (status) {
		free(sp);
		return status;
	}
	memcpy(sp->content, content.p, content.n);
	sp->n_content = content.n;
	*self = sp;
	return MOE_OK;
}

static enum moe_status pass_on(struct moe_decode_link *link, struct moe_str text, struct moe_err *err)
{
	struct state *st = link->state;
	bool begins = !st->emitted;

	st->emitted = true;
	return moe_decode_emit(link->next, text, begins, err);
}

/* The end of a token: what is held back is what `stop` takes off. */
static enum moe_status finish(struct moe_decode_link *link, struct moe_err *err)
{
	struct state *st = link->state;

	(void)err;
	*st = (struct state){0};
	return MOE_OK;
}

static enum moe_status add(struct moe_decode_link *link, struct moe_str text, bool begins, struct moe_err *err)
{
	const struct strip *sp = link->self;
	struct state *st = link->state;
	const struct moe_str one = {sp->content, sp->n_content};
	enum moe_status status = MOE_OK;

	if (begins)
		status = finish(link, err);
	while (text.n > 0 && !status) {
		size_t n = 1;

		if (text.n >= one.n && memcmp(text.p, one.p, one.n) == 0) {
			n = one.n;
			if (!st->inside && st->n_taken < sp->start) {
				st->n_taken++;
			} else if (st->n_held < sp->stop) {
				st->n_held++;
				st->inside = true;
			} else {
				status = pass_on(link, one, err);
				st->inside = true;
			}
		} else {
			for (; st->n_held > 0 && !status; st->n_held--)
				status = pass_on(link, one, err);
			while (n < text.n && !(text.n - n >= one.n && memcmp(text.p + n, one.p, one.n) == 0))
				n++;
			if (!status)
				status = pass_on(link, (struct moe_str){text.p, n}, err);
			st->inside = true;
		}
		text.p += n;
		text.n -= n;
	}
	return status;
}

const struct moe_decoder moe_decoder_strip = {
	.part = {.type = "Strip", .parse = parse, .free = free},
	.state_bytes = sizeof(struct state),
	.add = add,
	.finish = finish,
};
