/* Unicode normalization form C: canonical decomposition, canonical order, canonical composition.
 *
 * The reference does this with the tables of Unicode 9. Characters assigned since then that combine or compose are
 * left where they are, as starters that compose with nothing; for all others later versions say the same. */
#include <limits.h>
#include <stdlib.h>
#include <utf8proc.h>

#include "text/stage.h"
#include "text/unicode.h"

enum {
	FIRST_COMBINING = 0x300,   /* what is below is its own normal form, and so is any text made of it */
	MAX_DECOMPOSED = 4,        /* code points of the longest canonical decomposition */
	SHORT_RUN = 32,
};

static enum moe_status parse(void **self, const json_t *obj, const char *where, struct moe_err *err)
{
	(void)obj, (void)where, (void)err;
	*self = NULL;
	return MOE_OK;
}

static void nothing_to_free(void *self)
{
	(void)self;
}

static bool is_plain(uint32_t code)
{
	/* Unified ideographs neither decompose nor combine; they make most of a Chinese text. */
	return code < FIRST_COMBINING || (code >= 0x4E00 && code <= 0x9FA5);
}

/* Characters that are copied as they are and keep what is before them from what is behind. U+11A7 is one short of the
 * trailing jamo and composes with nothing, which utf8proc 2.8 forgets. */
static bool is_barrier(uint32_t code)
{
	return code >= FIRST_COMBINING && (code == 0x11A7 ||
	       moe_unicode_in(moe_unicode_uncombined, moe_unicode_n_uncombined, code));
}

static int combining_class(uint32_t code)
{
	return utf8proc_get_property((utf8proc_int32_t)code)->combining_class;
}

struct mark {
	uint32_t code;
	uint32_t class;
	size_t at;
};

static int compare_marks(const void *a, const void *b)
{
	const struct mark *x = a, *y = b;

	if (x->class != y->class)
		return x->class < y->class ? -1 : 1;
	return (x->at > y->at) - (x->at < y->at);
}

/* Sorts a run of non-starters by combining class, stably. Hostile text has runs of any length. */
static enum moe_status order_run(uint32_t *p, size_t n, struct moe_err *err)
{
	struct mark few[SHORT_RUN], *marks = few;

	if (n < 2)
		return MOE_OK;
	if (n > SHORT_RUN) {
		marks = malloc(n * sizeof *marks);
		if (!marks)
			return moe_err_nomem(err, n * sizeof *marks, "a run of combining characters");
	}
	for (size_t i = 0; i < n; i++)
		marks[i] = (struct mark){p[i], (uint32_t)combining_class(p[i]), i};
	qsort(marks, n, sizeof *marks, compare_marks);
	for (size_t i = 0; i < n; i++)
		p[i] = marks[i].code;
	if (marks != few)
		free(marks);
	return MOE_OK;
}

/* Appends the normal form of p[0 .. n), which holds no barrier. */
static enum moe_status add_normalized(struct moe_codes *out, const uint32_t *p, size_t n, struct moe_err *err)
{
	size_t first = out->n, i = 0;
	enum moe_status status = MOE_OK;
	utf8proc_ssize_t kept;

	for (size_t k = 0; k < n; k++) {
		int boundary = 0;
		utf8proc_ssize_t used;

		status = moe_codes_room(out, MAX_DECOMPOSED + 1, err);
		if (status)
			return status;
		used = utf8proc_decompose_char((utf8proc_int32_t)p[k], (utf8proc_int32_t *)(out->p + out->n),
		                               MAX_DECOMPOSED, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &boundary);
		if (used < 0 || used > MAX_DECOMPOSED)
			return moe_err_set(err, MOE_EFORMAT, "U+%04X does not decompose: %s", p[k],
			                   used < 0 ? utf8proc_errmsg(used) : "too long");
		out->n += (size_t)used;
	}
	for (i = first; i < out->n && !status;) {
		size_t end = i;
		while (end < out->n && combining_class(out->p[end]) != 0)
			end++;
		status = order_run(out->p + i, end - i, err);
		i = end + 1;
	}
	if (status || out->n == first)
		return status;
	kept = utf8proc_normalize_utf32((utf8proc_int32_t *)(out->p + first), (utf8proc_ssize_t)(out->n - first),
	                                UTF8PROC_STABLE | UTF8PROC_COMPOSE);
	if (kept < 0)
		return moe_err_set(err, MOE_EFORMAT, "a text does not compose: %s", utf8proc_errmsg(kept));
	out->n = first + (size_t)kept;
	return MOE_OK;
}

static enum moe_status apply(const void *self, struct moe_codes *text, struct moe_codes *spare, struct moe_err *err)
{
	struct moe_codes old = *text;
	size_t done = 0, i = 0;
	enum moe_status status = MOE_OK;

	(void)self;
	while (i < text->n && is_plain(text->p[i]))
		i++;
	if (i == text->n)
		return MOE_OK;
	spare->n = 0;
	for (; i < text->n && !status; i++) {
		if (!is_barrier(text->p[i]))
			continue;
		status = add_normalized(spare, text->p + done, i - done, err);
		if (!status)
			status = moe_codes_add(spare, text->p + i, 1, err);
		done = i + 1;
	}
	if (!status)
		status = add_normalized(spare, text->p + done, text->n - done, err);
	if (!status) {
		*text = *spare;
		*spare = old;
	}
	return status;
}

const struct moe_normalizer moe_normalizer_nfc = {
	.part = {.type = "NFC", .parse = parse, .free = nothing_to_free},
	.apply = apply,
};
