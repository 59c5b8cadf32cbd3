/* Visible characters back to the bytes they stand for; all tokens together are read as UTF-8. A token with a character
 * that stands for no byte is literal text. */
#include <string.h>

#include "text/bytechar.h"
#include "text/stage.h"
#include "text/utf8.h"

/* The beginning of a character whose rest has not come yet. */
struct state {
	uint8_t held[4];
	size_t n_held;
	bool begun;
};

static void bytes(const void *self, struct moe_str token, struct moe_buf *out)
{
	const uint8_t *p = (const uint8_t *)token.p;
	size_t first = out->n, used;

	(void)self;
	for (size_t i = 0; i < token.n; i += used ? used : 1) {
		int byte = moe_bytechar_byte(moe_utf8_take(p + i, token.n - i, &used));
		if (byte < 0) {
			out->n = first;
			moe_buf_add(out, token.p, token.n);
			return;
		}
		moe_buf_addc(out, (char)byte);
	}
}

/* Emits what p[0 .. n) holds of whole characters; returns how many bytes that took. */
static enum moe_status emit_chars(struct moe_decode_link *link, const uint8_t *p, size_t n, size_t *taken,
                                  struct moe_err *err)
{
	struct state *st = link->state;
	struct moe_buf text = {0};
	uint8_t utf8[4];
	size_t used;
	enum moe_status status;

	for (*taken = 0; *taken < n; *taken += used) {
		uint32_t code = moe_utf8_take(p + *taken, n - *taken, &used);
		if (used == 0)
			break;
		moe_buf_add(&text, utf8, moe_utf8_put(utf8, code));
	}
	status = moe_buf_check(&text, err);
	if (!status && text.n > 0) {
		status = moe_decode_emit(link->next, (struct moe_str){text.p, text.n}, !st->begun, err);
		st->begun = true;
	}
	moe_buf_free(&text);
	return status;
}

static enum moe_status add(struct moe_decode_link *link, struct moe_str text, bool begins, struct moe_err *err)
{
	struct state *st = link->state;
	struct moe_buf all = {0};
	size_t taken = 0;
	enum moe_status status;

	(void)begins;
	moe_buf_add(&all, st->held, st->n_held);
	if (all.n == st->n_held) {
		struct moe_buf own = {0};
		bytes(NULL, text, &own);
		moe_buf_add(&all, own.p ? own.p : "", own.n);
		all.failed |= own.failed;
		moe_buf_free(&own);
	}
	status = moe_buf_check(&all, err);
	if (!status)
		status = emit_chars(link, (const uint8_t *)all.p, all.n, &taken, err);
	if (!status) {
		st->n_held = all.n - taken;
		memcpy(st->held, all.p ? all.p + taken : "", st->n_held);
	}
	moe_buf_free(&all);
	return status;
}

static enum moe_status finish(struct moe_decode_link *link, struct moe_err *err)
{
	static const char invalid[] = "\xEF\xBF\xBD";
	struct state *st = link->state;

	if (st->n_held == 0)
		return MOE_OK;
	st->n_held = 0;
	return moe_decode_emit(link->next, (struct moe_str){invalid, 3}, !st->begun, err);
}

const struct moe_decoder moe_decoder_bytelevel = {
	.part = {.type = "ByteLevel", .parse = moe_stage_parse_nothing,
	         .free = moe_stage_free_nothing},
	.joins = true,
	.needs_whole = true,
	.state_bytes = sizeof(struct state),
	.add = add,
	.finish = finish,
	.bytes = bytes,
};
