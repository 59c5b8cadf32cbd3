/* Runs of tokens <0xHH> back to the characters their bytes form. If the bytes of a run are not UTF-8, each is U+FFFD:
 * so nothing of a run is certain before it ends. */
#include <stdlib.h>
#include <string.h>

#include "text/stage.h"
#include "text/utf8.h"

struct state {
	uint8_t *run;   /* [n] */
	size_t n, cap;
};

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 32;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that a token stands for, or -1. */
static int token_byte(struct moe_str token)
{
	if (token.n != 6 || memcmp(token.p, "<0x", 3) != 0 || token.p[5] != '>' || hex(token.p[3]) < 0 ||
	    hex(token.p[4]) < 0)
		return -1;
	return hex(token.p[3]) << 4 | hex(token.p[4]);
}

static enum moe_status finish(struct moe_decode_link *link, struct moe_err *err)
{
	static const char invalid[] = "\xEF\xBF\xBD";
	struct state *st = link->state;
	bool valid = true;
	size_t n = st->n, used;
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < n && valid; i += used) {
		uint32_t code = moe_utf8_take(st->run + i, n - i, &used);
		/* U+FFFD itself is three bytes; an invalid subpart never begins with its first. */
		valid = used > 0 && !(code == MOE_CODE_INVALID && (used != 3 || st->run[i] != 0xEF));
	}
	st->n = 0;
	if (n > 0 && valid)
		status = moe_decode_emit(link->next, (struct moe_str){(char *)st->run, n}, true, err);
	for (size_t i = 0; i < n && !valid && !status; i++)
		status = moe_decode_emit(link->next, (struct moe_str){invalid, 3}, true, err);
	free(st->run);
	*st = (struct state){0};
	return status;
}

static enum moe_status add(struct moe_decode_link *link, struct moe_str text, bool begins, struct moe_err *err)
{
	struct state *st = link->state;
	int byte = token_byte(text);
	enum moe_status status;

	if (byte < 0) {
		status = finish(link, err);
		return status ? status : moe_decode_emit(link->next, text, begins, err);
	}
	if (st->n == st->cap) {
		size_t cap = st->cap ? 2 * st->cap : 16;
		uint8_t *grown = realloc(st->run, cap);
		if (!grown)
			return moe_err_nomem(err, cap, "a run of bytes");
		st->run = grown;
		st->cap = cap;
	}
	st->run[st->n++] = (uint8_t)byte;
	return MOE_OK;
}

static void bytes(const void *self, struct moe_str token, struct moe_buf *out)
{
	int byte = token_byte(token);

	(void)self;
	if (byte < 0)
		moe_buf_add(out, token.p, token.n);
	else
		moe_buf_addc(out, (char)byte);
}

const struct moe_decoder moe_decoder_bytefallback = {
	.part = {.type = "ByteFallback", .parse = moe_stage_parse_nothing,
	         .free = moe_stage_free_nothing},
	.needs_whole = true,
	.state_bytes = sizeof(struct state),
	.add = add,
	.finish = finish,
	.bytes = bytes,
};
