/* The steps of pre-tokenizers on a stream of pieces. */
#include "text/split.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/utf8.h"

enum moe_status moe_steps_add(struct moe_steps *steps, struct moe_step step, struct moe_err *err)
{
	if (steps->n == steps->cap) {
		size_t cap = steps->cap ? 2 * steps->cap : 8;
		struct moe_step *grown = realloc(steps->v, cap * sizeof *grown);
		if (!grown)
			return moe_err_nomem(err, cap * sizeof *grown, "a pre-tokenizer");
		steps->v = grown;
		steps->cap = cap;
	}
	steps->v[steps->n++] = step;
	return MOE_OK;
}

enum { KEEP_BYTES = 1 << 22 };   /* of a buffer that is empty again; a larger one has held a long piece */

/* -- streams ------------------------------------------------------------------------------------------------------ */

static enum moe_status add_end(struct moe_stream *stream, size_t end, struct moe_err *err)
{
	if (stream->n_ends == stream->cap_ends) {
		size_t cap = stream->cap_ends ? stream->cap_ends * 2 : 64;
		size_t *grown = realloc(stream->ends, cap * sizeof *grown);
		if (!grown)
			return moe_err_nomem(err, cap * sizeof *grown, "the pieces of a text");
		stream->ends = grown;
		stream->cap_ends = cap;
	}
	stream->ends[stream->n_ends++] = end;
	return MOE_OK;
}

enum moe_status moe_stream_put(struct moe_stream *stream, const char *text, size_t n, size_t n_lead,
                               struct moe_err *err)
{
	moe_buf_add(&stream->text, text, n);
	stream->n_lead += n_lead;
	stream->open |= n > 0;
	return moe_buf_check(&stream->text, err);
}

enum moe_status moe_stream_close(struct moe_stream *stream, struct moe_err *err)
{
	if (!stream->open)
		return MOE_OK;
	stream->open = false;
	return add_end(stream, stream->text.n, err);
}

void moe_stream_drop(struct moe_stream *stream, size_t n)
{
	struct moe_buf *text = &stream->text;

	stream->n_ends = 0;
	if (n == 0)
		return;
	text->n -= n;
	memmove(text->p, text->p + n, text->n);
	stream->at -= n;
	stream->n_lead -= n < stream->n_lead ? n : stream->n_lead;
	if (text->cap > KEEP_BYTES && text->n < KEEP_BYTES / 2) {
		char *less = realloc(text->p, KEEP_BYTES);
		text->p = less ? less : text->p;
		text->cap = less ? KEEP_BYTES : text->cap;
	}
}

void moe_stream_free(struct moe_stream *stream)
{
	moe_buf_free(&stream->text);
	free(stream->ends);
	*stream = (struct moe_stream){0};
}

/* -- writing ------------------------------------------------------------------------------------------------------ */

/* What goes from one stream to the next: a run of text that is copied at once, with the pieces that end in it. */
struct writer {
	struct moe_splitter *sp;
	struct moe_stream *out;
	size_t from, to;   /* of sp->in, not yet copied */
	struct moe_err *err;
};

static enum moe_status flush(struct writer *w)
{
	const struct moe_stream *in = &w->sp->in;
	size_t n = w->to - w->from, n_lead = 0;

	if (n == 0)
		return MOE_OK;
	if (w->from < in->n_lead)
		n_lead = (w->to < in->n_lead ? w->to : in->n_lead) - w->from;
	moe_buf_add(&w->out->text, in->text.p + w->from, n);
	w->out->n_lead += n_lead;
	w->from = w->to;
	return moe_buf_check(&w->out->text, w->err);
}

/* The text up to `end` goes into the piece that is being written. */
static enum moe_status copy_to(struct writer *w, size_t end)
{
	struct moe_stream *in = &w->sp->in;
	enum moe_status status = MOE_OK;

	if (w->to != in->at) {
		status = flush(w);
		w->from = in->at;
	}
	w->out->open |= end > in->at;
	w->to = in->at = end;
	return status;
}

static enum moe_status close_piece(struct writer *w)
{
	if (!w->out->open)
		return MOE_OK;
	w->out->open = false;
	return add_end(w->out, w->out->text.n + (w->to - w->from), w->err);
}

/* Whether a match or gap is of one piece with what is before it. */
static bool joins(enum moe_behavior behavior, bool was_match, bool is_match)
{
	switch (behavior) {
	case MOE_SPLIT_WITH_PREVIOUS:
		return is_match && !was_match;
	case MOE_SPLIT_WITH_NEXT:
		/* Of several matches in a row only the last goes with the gap behind them. */
		return was_match && !is_match;
	case MOE_SPLIT_CONTIGUOUS:
		return is_match == was_match;
	case MOE_SPLIT_ISOLATED:
	case MOE_SPLIT_REMOVED:
		break;
	}
	return false;
}

/* The text up to `end` is a match or belongs to a gap. */
static enum moe_status write_part(struct writer *w, size_t end, bool is_match, bool is_gap)
{
	struct moe_splitter *sp = w->sp;
	enum moe_status status = MOE_OK;

	if (!(is_gap && sp->in_gap)) {
		if (sp->any && !joins(sp->step->behavior, sp->was_match, is_match))
			status = close_piece(w);
		sp->any = true;
		sp->was_match = is_match;
		sp->in_gap = is_gap;
	}
	if (is_match && sp->step->behavior == MOE_SPLIT_REMOVED)
		sp->in.at = end;
	else if (!status)
		status = copy_to(w, end);
	return status;
}

/* -- matching ----------------------------------------------------------------------------------------------------- */

static enum moe_status match_chars(struct writer *w, size_t end)
{
	const struct moe_step *step = w->sp->step;
	const char *p = w->sp->in.text.p;
	size_t at = w->sp->in.at;
	enum moe_status status = MOE_OK;

	while (at < end && !status) {
		const uint8_t *next = (const uint8_t *)p + at;
		const uint32_t code = moe_utf8_next(&next);
		const size_t after = (size_t)((const char *)next - p);

		if (step->is ? step->is(code) : code == step->code) {
			if (at > w->sp->in.at)
				status = write_part(w, at, false, true);
			if (!status)
				status = write_part(w, after, true, false);
		}
		at = after;
	}
	if (!status && end > w->sp->in.at)
		status = write_part(w, end, false, true);
	return status;
}

/* Where the code point is in the text, at or behind in.at. */
static size_t byte_of(const struct moe_splitter *sp, size_t code)
{
	const uint8_t *p = (const uint8_t *)sp->in.text.p;
	size_t at = sp->in.at, n = code - sp->code_at;

	/* All text that the scan has is ASCII, or all of it that is left. */
	if (moe_regex_n(sp->scan) - sp->code_at == sp->n_scanned - at)
		return at + n;
	while (n-- > 0)
		at += moe_utf8_length(p[at]);
	return at;
}

static size_t count_codes(const char *p, size_t n)
{
	size_t n_codes = 0;

	for (size_t i = 0; i < n; i++)
		n_codes += ((uint8_t)p[i] & 0xC0) != 0x80;
	return n_codes;
}

/* The same as write_part up to a code point. */
static enum moe_status write_codes(struct writer *w, size_t code, bool is_match, bool is_gap)
{
	enum moe_status status = write_part(w, byte_of(w->sp, code), is_match, is_gap);

	w->sp->code_at = code;
	return status;
}

/* What is found from code_at on; *goes_on: it is worth while to look again. */
static enum moe_status match_next(struct writer *w, size_t end, bool closed, bool *goes_on)
{
	struct moe_splitter *sp = w->sp;
	const bool invert = sp->step->invert;
	enum moe_regex_found found;
	size_t start, stop;
	enum moe_status status = moe_regex_next(sp->scan, sp->first, end, sp->code_at, sp->fresh, !closed, &found,
	                                        &start, &stop, w->err);

	if (status)
		return status;
	*goes_on = found == MOE_REGEX_MATCH;
	if (start > sp->code_at) {
		sp->fresh = false;
		status = write_codes(w, start, invert, true);
	}
	if (!*goes_on || status)
		return status;
	sp->fresh = true;
	if (start == stop && sp->step->behavior == MOE_SPLIT_ISOLATED) {
		sp->in_gap = false;
		return MOE_OK;
	}
	return write_codes(w, stop, !invert, false);
}

/* The piece up to the byte `end`, with which it ends if it is closed. */
static enum moe_status match_regex(struct writer *w, size_t end, bool closed)
{
	struct moe_splitter *sp = w->sp;
	const size_t end_code = sp->code_at + count_codes(sp->in.text.p + sp->in.at, end - sp->in.at);
	bool goes_on = true;
	enum moe_status status = MOE_OK;

	while (goes_on && !status && (closed || sp->code_at < end_code))
		status = match_next(w, end_code, closed, &goes_on);
	if (closed) {
		sp->first = end_code;
		sp->fresh = false;
	}
	return status;
}

/* -- the other steps ---------------------------------------------------------------------------------------------- */

static enum moe_status put_char(struct writer *w, uint32_t code, bool is_lead)
{
	uint8_t utf8[4];
	size_t n = moe_utf8_put(utf8, code);
	enum moe_status status = flush(w);

	return status ? status : moe_stream_put(w->out, (const char *)utf8, n, is_lead ? n : 0, w->err);
}

static enum moe_status add_prefix(struct writer *w, size_t end)
{
	const struct moe_splitter *sp = w->sp;
	const uint8_t *p = (const uint8_t *)sp->in.text.p + sp->in.at;
	const bool leads = sp->in.at < sp->in.n_lead;
	enum moe_status status = MOE_OK;

	if (end == sp->in.at)
		return MOE_OK;
	if (!sp->any && moe_utf8_next(&p) != sp->step->code && (leads || !sp->step->only_lead))
		status = put_char(w, sp->step->code, leads);
	w->sp->any = true;
	return status ? status : copy_to(w, end);
}

static enum moe_status map_chars(struct writer *w, size_t end)
{
	struct moe_stream *in = &w->sp->in;
	enum moe_status status = MOE_OK;

	for (size_t at = in->at, after; at < end && !status; at = after) {
		const uint8_t *next = (const uint8_t *)in->text.p + at;
		const uint32_t code = moe_utf8_next(&next);

		after = (size_t)((const char *)next - in->text.p);
		if (code != w->sp->step->code)
			continue;
		if (at > in->at)
			status = copy_to(w, at);
		if (!status)
			status = put_char(w, w->sp->step->to, at < in->n_lead);
		in->at = after;
	}
	return status || in->at == end ? status : copy_to(w, end);
}

static enum moe_status run_piece(struct writer *w, size_t end, bool closed)
{
	struct moe_splitter *sp = w->sp;
	enum moe_status status;

	switch (sp->step->kind) {
	case MOE_STEP_PREFIX:
		status = add_prefix(w, end);
		break;
	case MOE_STEP_MAP:
		status = map_chars(w, end);
		break;
	case MOE_STEP_MATCH:
	default:
		status = sp->step->regex ? match_regex(w, end, closed) : match_chars(w, end);
		break;
	}
	if (!closed || status)
		return status;
	sp->any = sp->in_gap = false;
	return close_piece(w);
}

/* Lets go of what is used up and out of sight. */
static void let_go(struct moe_splitter *sp)
{
	struct moe_stream *in = &sp->in;
	size_t at = in->at, behind = sp->scan ? moe_regex_behind(sp->step->regex) : 0;

	/* Nobody looks behind the beginning of a piece. */
	if (sp->scan && behind > sp->code_at - sp->first)
		behind = sp->code_at - sp->first;
	for (size_t i = 0; i < behind; i++) {
		while (((uint8_t)in->text.p[--at] & 0xC0) == 0x80)
			continue;
	}
	if (sp->scan) {
		const size_t n = sp->code_at - behind;
		moe_regex_drop(sp->scan, n);
		sp->code_at = behind;
		sp->first -= n < sp->first ? n : sp->first;
		sp->n_scanned -= at;
	}
	moe_stream_drop(in, at);
}

enum moe_status moe_splitter_run(struct moe_splitter *sp, struct moe_stream *out, struct moe_err *err)
{
	struct moe_stream *in = &sp->in;
	struct writer w = {sp, out, in->at, in->at, err};
	enum moe_status status = MOE_OK;

	if (in->n_ends == 0 && in->text.n - in->at < sp->need)
		return MOE_OK;
	if (sp->step->regex) {
		if (!sp->scan)
			status = moe_regex_begin(&sp->scan, sp->step->regex, err);
		if (!status)
			status = moe_regex_add_utf8(sp->scan, in->text.p + sp->n_scanned, in->text.n - sp->n_scanned,
			                            err);
		sp->n_scanned = in->text.n;
	}
	for (size_t i = 0; i < in->n_ends && !status; i++)
		status = run_piece(&w, in->ends[i], true);
	if (!status && in->at < in->text.n)
		status = run_piece(&w, in->text.n, false);
	if (!status)
		status = flush(&w);
	if (status)
		return status;
	sp->need = 2 * (in->text.n - in->at);
	let_go(sp);
	return MOE_OK;
}

void moe_splitter_free(struct moe_splitter *sp)
{
	moe_stream_free(&sp->in);
	moe_regex_finish(sp->scan);
	*sp = (struct moe_splitter){0};
}

/* -- reading ------------------------------------------------------------------------------------------------------ */

enum moe_status moe_stage_behavior(const json_t *obj, const char *where, enum moe_behavior *out, struct moe_err *err)
{
	static const char *const names[] = {
		[MOE_SPLIT_ISOLATED] = "Isolated", [MOE_SPLIT_REMOVED] = "Removed",
		[MOE_SPLIT_WITH_PREVIOUS] = "MergedWithPrevious", [MOE_SPLIT_WITH_NEXT] = "MergedWithNext",
		[MOE_SPLIT_CONTIGUOUS] = "Contiguous",
	};
	const char *name = names[*out];
	enum moe_status status = moe_json_str(obj, "behavior", where, &name, err);

	if (status)
		return status;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (strcmp(names[i], name) == 0) {
			*out = (enum moe_behavior)i;
			return MOE_OK;
		}
	}
	return moe_err_set(err, MOE_EFORMAT,
	                   "%s.behavior: '%.100s' is not one of Isolated, Removed, MergedWithPrevious, "
	                   "MergedWithNext, Contiguous", where, name);
}
