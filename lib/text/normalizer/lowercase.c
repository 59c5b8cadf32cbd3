/* Makes every character lower case by itself, whatever is beside it. */
#include "text/stage.h"
#include "text/unicode.h"

#define DOTTED_I 0x130u   /* the only one that becomes two: i and U+0307 */

static enum moe_status apply(const void *self, struct moe_flow *in, struct moe_codes *out, struct moe_err *err)
{
	const size_t n = in->text.n - in->at;
	uint32_t *to;
	enum moe_status status = moe_codes_room(out, n, err);

	(void)self;
	if (status)
		return status;
	to = out->p + out->n;
	for (; in->at < in->text.n; in->at++) {
		const uint32_t c = in->text.p[in->at];

		out->n_lead += in->at < in->text.n_lead;
		if (c == DOTTED_I) {
			/* Room for what is left and one more. */
			*to++ = 'i';
			out->n = (size_t)(to - out->p);
			status = moe_codes_room(out, in->text.n - in->at, err);
			if (status)
				return status;
			to = out->p + out->n;
			*to++ = 0x307;
			out->n_lead += in->at < in->text.n_lead;
		} else if (c < 0x80) {
			*to++ = c >= 'A' && c <= 'Z' ? c + 32 : c;
		} else {
			*to++ = moe_unicode_to_lower(c);
		}
	}
	out->n = (size_t)(to - out->p);
	return MOE_OK;
}

const struct moe_normalizer moe_normalizer_lowercase = {
	.part = {.type = "Lowercase", .parse = moe_stage_parse_nothing, .free = moe_stage_free_nothing},
	.apply = apply,
};
