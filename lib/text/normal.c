/* Unicode normalization forms: decomposition, canonical order, composition.
 *
 * The reference does this with the tables of Unicode 9. Characters assigned since then that decompose, combine or
 * compose are left where they are, as starters that compose with nothing; for all others later versions say the
 * same. */
#include "text/normal.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/unicode.h"

enum {
	FIRST_COMBINING = 0x300,   /* what is below is its own form C, and so is any text made of it */
	MAX_DECOMPOSED = 18,       /* code points of the longest decomposition */
	SHORT_RUN = 32,
	N_CLASSES = 256,           /* combining classes, from 0 */
};

/* Characters that no form changes, whatever is beside them. Unified ideographs neither decompose nor combine; they
 * make most of a Chinese text. */
static bool is_plain(uint32_t code, enum moe_form form)
{
	if (code < 0x80 || (code >= 0x4E00 && code <= 0x9FA5))
		return true;
	return form == MOE_FORM_C && code < FIRST_COMBINING;
}

/* Characters that are copied as they are and keep what is before them from what is behind. U+11A7 is one short of the
 * trailing jamo and composes with nothing, which utf8proc 2.8 forgets. */
static bool is_barrier(uint32_t code, enum moe_form form)
{
	if (code < FIRST_COMBINING)
		return false;
	return code == 0x11A7 || moe_unicode_in(moe_unicode_uncombined, moe_unicode_n_uncombined, code) ||
	       ((form & MOE_FORM_KD) &&
	        moe_unicode_in(moe_unicode_undecomposed, moe_unicode_n_undecomposed, code));
}

static int combining_class(uint32_t code)
{
	return utf8proc_get_property((utf8proc_int32_t)code)->combining_class;
}

/* Sorts a run of non-starters by combining class, stably. Hostile text has runs of any length. */
static enum moe_status order_run(uint32_t *p, size_t n, struct moe_err *err)
{
	size_t starts[N_CLASSES + 1] = {0};
	uint32_t *sorted;

	for (size_t i = 1; i < n && n <= SHORT_RUN; i++) {
		const uint32_t code = p[i];
		size_t k = i;

		for (; k > 0 && combining_class(p[k - 1]) > combining_class(code); k--)
			p[k] = p[k - 1];
		p[k] = code;
	}
	if (n <= SHORT_RUN)
		return MOE_OK;
	sorted = malloc(n * sizeof *sorted);
	if (!sorted)
		return moe_err_nomem(err, n * sizeof *sorted, "a run of combining characters");
	for (size_t i = 0; i < n; i++)
		starts[combining_class(p[i]) + 1]++;
	for (size_t c = 1; c < N_CLASSES; c++)
		starts[c] += starts[c - 1];
	for (size_t i = 0; i < n; i++)
		sorted[starts[combining_class(p[i])]++] = p[i];
	memcpy(p, sorted, n * sizeof *p);
	free(sorted);
	return MOE_OK;
}

/* Appends the normal form of p[0 .. n), which holds no barrier. */
static enum moe_status add_normalized(struct moe_codes *out, const uint32_t *p, size_t n, enum moe_form form,
                                      struct moe_err *err)
{
	const int options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (form & MOE_FORM_KD ? UTF8PROC_COMPAT : 0);
	size_t first = out->n, i;
	enum moe_status status = MOE_OK;
	utf8proc_ssize_t kept;

	for (size_t k = 0; k < n; k++) {
		int boundary = 0;
		utf8proc_ssize_t used;

		status = moe_codes_room(out, MAX_DECOMPOSED + 1, err);
		if (status)
			return status;
		used = utf8proc_decompose_char((utf8proc_int32_t)p[k], (utf8proc_int32_t *)(out->p + out->n),
		                               MAX_DECOMPOSED, options, &boundary);
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
	if (status || out->n == first || !(form & MOE_FORM_C))
		return status;
	kept = utf8proc_normalize_utf32((utf8proc_int32_t *)(out->p + first), (utf8proc_ssize_t)(out->n - first),
	                                UTF8PROC_STABLE | UTF8PROC_COMPOSE);
	if (kept < 0)
		return moe_err_set(err, MOE_EFORMAT, "a text does not compose: %s", utf8proc_errmsg(kept));
	out->n = first + (size_t)kept;
	return MOE_OK;
}

/* Appends the form of p[0 .. n), from barrier to barrier. */
static enum moe_status add_all(struct moe_codes *out, const uint32_t *p, size_t n, enum moe_form form,
                               struct moe_err *err)
{
	size_t done = 0;
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < n && !status; i++) {
		if (!is_barrier(p[i], form))
			continue;
		status = add_normalized(out, p + done, i - done, form, err);
		if (!status)
			status = moe_codes_add(out, p + i, 1, err);
		done = i + 1;
	}
	return status ? status : add_normalized(out, p + done, n - done, form, err);
}

/* Nothing is put before it, and it composes with nothing before it: no mark, and no jamo but a leading one. */
static bool begins_decomposed(uint32_t code)
{
	const utf8proc_property_t *property = utf8proc_get_property((utf8proc_int32_t)code);

	return property->combining_class == 0 && property->category != UTF8PROC_CATEGORY_MN &&
	       property->category != UTF8PROC_CATEGORY_MC && property->category != UTF8PROC_CATEGORY_ME &&
	       !(code >= 0x1160 && code <= 0x11FF);
}

bool moe_normal_begins(uint32_t code, enum moe_form form)
{
	const int options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (form & MOE_FORM_KD ? UTF8PROC_COMPAT : 0);
	utf8proc_int32_t parts[MAX_DECOMPOSED];
	int boundary = 0;
	utf8proc_ssize_t n;

	if (code < FIRST_COMBINING || is_plain(code, form) || is_barrier(code, form))
		return true;
	if (!begins_decomposed(code))
		return false;
	n = utf8proc_decompose_char((utf8proc_int32_t)code, parts, MAX_DECOMPOSED, options, &boundary);
	return n > 0 && n <= MAX_DECOMPOSED && begins_decomposed((uint32_t)parts[0]);
}

/* How many of the first code points come from the beginning of the whole text, when those of the text do not yet have
 * their form. */
static enum moe_status form_lead(const struct moe_flow *in, struct moe_codes *out, enum moe_form form,
                                 struct moe_err *err)
{
	const size_t before = out->n, n_lead = in->text.n_lead;
	enum moe_status status = MOE_OK;

	out->n_lead = n_lead;
	if (n_lead > 0 && !is_plain(in->text.p[0], form)) {
		status = add_all(out, in->text.p, n_lead < in->text.n ? n_lead : in->text.n, form, err);
		out->n_lead = out->n - before;
		out->n = before;
	}
	return status;
}

enum moe_status moe_normal_form(struct moe_flow *in, struct moe_codes *out, enum moe_form form, struct moe_err *err)
{
	size_t end = in->text.n, i = in->at;
	const uint32_t *p = in->text.p;
	enum moe_status status = MOE_OK;

	while (!in->last && end > in->at && !(end < in->text.n && moe_normal_begins(p[end], form)))
		end--;
	if (end == in->at || (!in->begun && !in->last && end < in->text.n_lead))
		return MOE_OK;
	if (!in->begun)
		status = form_lead(in, out, form, err);
	in->begun = true;
	while (i < end && is_plain(p[i], form))
		i++;
	if (!status)
		status = i == end ? moe_codes_add(out, p + in->at, end - in->at, err)
		                  : add_all(out, p + in->at, end - in->at, form, err);
	in->at = end;
	return status;
}
