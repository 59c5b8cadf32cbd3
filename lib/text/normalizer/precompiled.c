/* The rules of a SentencePiece model: a double array from UTF-8 to where in a block of texts, each ended by NUL, the
 * replacement begins.
 *
 * The reference asks it grapheme by grapheme. A grapheme of up to 5 bytes is replaced as a whole as soon as any key is
 * the beginning of it, by the text of the shortest such key; in others each character is looked up by itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/graphemes.h"
#include "text/stage.h"
#include "text/utf8.h"

enum { MAX_WHOLE = 5 };   /* bytes of a grapheme that is looked up as one */

#define IS_LEAF (UINT32_C(1) << 31)

struct precompiled {
	uint32_t *units;     /* [n_units] */
	size_t n_units;
	struct moe_buf texts;
	struct moe_graphemes graphemes;
};

static void precompiled_free(void *self)
{
	struct precompiled *pc = self;

	if (!pc)
		return;
	free(pc->units);
	moe_buf_free(&pc->texts);
	free(pc);
}

/* -- reading ------------------------------------------------------------------------------------------------------ */

static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static enum moe_status decode_base64(struct moe_buf *out, struct moe_str text, const char *where, struct moe_err *err)
{
	uint32_t bits = 0;
	size_t n = text.n;

	while (n > 0 && text.n - n < 2 && text.p[n - 1] == '=')
		n--;
	for (size_t i = 0; i < n; i++) {
		int digit = base64_digit(text.p[i]);
		if (digit < 0)
			return moe_err_set(err, MOE_EFORMAT, "%s: not base64 at character %zu", where, i);
		bits = bits << 6 | (uint32_t)digit;
		if (i % 4 > 0)
			moe_buf_addc(out, (char)(bits >> (6 - 2 * (i % 4))));
	}
	if (text.n % 4 != 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: base64 of %zu characters, which is no multiple of 4", where,
		                   text.n);
	return moe_buf_check(out, err);
}

/* Where the children of a unit are, each at this position ^ its byte. */
static size_t children_of(uint32_t unit, size_t at)
{
	return at ^ (size_t)(unit >> 10) << ((unit & (1 << 9)) >> 6);
}

/* Every child of every unit is inside, and every replacement begins with a character. */
static enum moe_status check_units(const struct precompiled *pc, const char *where, struct moe_err *err)
{
	for (size_t i = 0; i < pc->n_units; i++) {
		uint32_t unit = pc->units[i];
		size_t at = unit & ~IS_LEAF;

		if (!(unit & IS_LEAF) && (children_of(unit, i) | 0xFF) >= pc->n_units)
			return moe_err_set(err, MOE_EFORMAT, "%s: unit %zu leads outside of the %zu units", where, i,
			                   pc->n_units);
		if (unit & IS_LEAF && (at >= pc->texts.n || ((uint8_t)pc->texts.p[at] & 0xC0) == 0x80))
			return moe_err_set(err, MOE_EFORMAT, "%s: unit %zu says that a replacement begins at byte %zu "
			                   "of %zu, where none can begin", where, i, at, pc->texts.n);
	}
	return MOE_OK;
}

static enum moe_status check_texts(const struct moe_buf *texts, const char *where, struct moe_err *err)
{
	const uint8_t *p = (const uint8_t *)texts->p;
	size_t used;

	for (size_t i = 0; i < texts->n; i += used) {
		uint32_t code = moe_utf8_take(p + i, texts->n - i, &used);
		if (used == 0 || (code == MOE_CODE_INVALID && (used != 3 || p[i] != 0xEF)))
			return moe_err_set(err, MOE_EFORMAT, "%s: the replacements are not UTF-8 at byte %zu", where,
			                   i);
	}
	if (texts->n > 0 && texts->p[texts->n - 1] != 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: the last replacement does not end", where);
	return MOE_OK;
}

static enum moe_status read_map(struct precompiled *pc, const struct moe_buf *map, const char *where,
                                struct moe_err *err)
{
	const uint8_t *p = (const uint8_t *)map->p;
	size_t n_bytes = 0;
	enum moe_status status;

	if (map->n >= 4)
		n_bytes = p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
	if (n_bytes == 0 || n_bytes % 4 != 0 || n_bytes > map->n - 4)
		return moe_err_set(err, MOE_EFORMAT, "%s: %zu bytes that begin with a trie of %zu bytes, which is not "
		                   "possible", where, map->n, n_bytes);
	pc->n_units = n_bytes / 4;
	pc->units = malloc(n_bytes);
	if (!pc->units)
		return moe_err_nomem(err, n_bytes, "a normalizer");
	for (size_t i = 0; i < pc->n_units; i++) {
		const uint8_t *b = p + 4 + 4 * i;
		pc->units[i] = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
	}
	moe_buf_add(&pc->texts, p + 4 + n_bytes, map->n - 4 - n_bytes);
	status = moe_buf_check(&pc->texts, err);
	if (!status)
		status = check_texts(&pc->texts, where, err);
	return status ? status : check_units(pc, where, err);
}

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	struct precompiled *pc = calloc(1, sizeof *pc);
	struct moe_buf map = {0};
	struct moe_str text;
	char path[600];
	enum moe_status status;

	*self = NULL;
	if (!pc)
		return moe_err_nomem(err, sizeof *pc, "a normalizer");
	snprintf(path, sizeof path, "%s.precompiled_charsmap", where);
	status = moe_stage_str(obj, "precompiled_charsmap", where, &text, err);
	if (!status)
		status = decode_base64(&map, text, path, err);
	if (!status)
		status = read_map(pc, &map, path, err);
	moe_buf_free(&map);
	if (status) {
		precompiled_free(pc);
		return status;
	}
	moe_graphemes_fill(&pc->graphemes);
	*self = pc;
	return MOE_OK;
}

/* -- applying ----------------------------------------------------------------------------------------------------- */

/* The replacement of the shortest key that begins bytes[0 .. n); NULL: none does. */
static const char *find(const struct precompiled *pc, const uint8_t *bytes, size_t n)
{
	size_t at = children_of(pc->units[0], 0);

	for (size_t i = 0; i < n && bytes[i] != 0; i++) {
		uint32_t unit;

		at ^= bytes[i];
		unit = pc->units[at];
		if ((unit & (IS_LEAF | 0xFF)) != bytes[i])
			return NULL;
		at = children_of(unit, at);
		if (unit >> 8 & 1)
			return pc->texts.p + (pc->units[at] & ~IS_LEAF);
	}
	return NULL;
}

/* Which characters of the result come from the first n_in of the text. Each takes the place of the next character of
 * the text (change 0), also of -change more behind it, or is inserted (1). What is removed belongs to the last. */
struct origin {
	size_t n_in, n_taken, n_out;
	long change;   /* of the last character, which may yet change */
	bool any;
};

static void settle(struct origin *origin)
{
	if (!origin->any)
		return;
	if (origin->change > 0) {
		origin->n_out += origin->n_taken <= origin->n_in;
	} else {
		origin->n_out += origin->n_taken < origin->n_in;
		origin->n_taken += 1 + (size_t)-origin->change;
	}
	origin->any = false;
}

static void follow(struct origin *origin, size_t n_old, size_t n_new)
{
	bool any = origin->any;

	if (origin->n_taken > origin->n_in)
		return;
	for (size_t i = 0; i < n_new; i++) {
		settle(origin);
		origin->change = i >= n_old;
		origin->any = any = true;
	}
	if (any && n_new < n_old)
		origin->change -= (long)(n_old - n_new);
}

struct pass {
	const struct precompiled *pc;
	struct moe_codes *out;
	struct origin origin;
	struct moe_err *err;
};

/* Appends the replacement of n_old characters, or, without one, the only character. */
static enum moe_status put(struct pass *ps, const char *text, const uint32_t *codes, size_t n_old)
{
	size_t n = ps->out->n;
	enum moe_status status = text ? moe_codes_add_utf8(ps->out, text, strlen(text), ps->err)
	                              : moe_codes_add(ps->out, codes, 1, ps->err);

	follow(&ps->origin, n_old, ps->out->n - n);
	return status;
}

static enum moe_status put_grapheme(struct pass *ps, const uint32_t *codes, size_t n)
{
	uint8_t bytes[MAX_WHOLE + 4];
	const char *text = NULL;
	size_t n_bytes = 0;
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < n && n_bytes <= MAX_WHOLE; i++)
		n_bytes += moe_utf8_put(bytes + n_bytes, codes[i]);
	if (n_bytes <= MAX_WHOLE)
		text = find(ps->pc, bytes, n_bytes);
	if (text || n == 1)
		return put(ps, text, codes, n);
	for (size_t i = 0; i < n && !status; i++)
		status = put(ps, find(ps->pc, bytes, moe_utf8_put(bytes, codes[i])), codes + i, 1);
	return status;
}

/* A grapheme is known by what follows it. Until it is certain what comes from the beginning of the whole text, nothing
 * comes out. */
static enum moe_status apply(const void *self, struct moe_flow *in, struct moe_codes *out, struct moe_err *err)
{
	struct pass ps = {self, out, {.n_in = in->begun ? 0 : in->text.n_lead}, err};
	const size_t before = out->n;
	size_t at = in->at;
	enum moe_status status = MOE_OK;

	while (at < in->text.n && !status) {
		size_t end = moe_grapheme_end(&ps.pc->graphemes, in->text.p, in->text.n, at);
		if (end == in->text.n && !in->last)
			break;
		status = put_grapheme(&ps, in->text.p + at, end - at);
		at = end;
	}
	settle(&ps.origin);
	if (!in->last && ps.origin.n_in && ps.origin.n_taken <= ps.origin.n_in) {
		out->n = before;
		return status;
	}
	if (ps.origin.n_in)
		out->n_lead = ps.origin.n_out;
	in->begun |= at > in->at;
	in->at = at;
	return status;
}

const struct moe_normalizer moe_normalizer_precompiled = {
	.part = {.type = "Precompiled", .parse = parse, .free = precompiled_free},
	.apply = apply,
};
