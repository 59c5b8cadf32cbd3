/* Makes every character lower case by itself, whatever is beside it. */
#include "text/stage.h"
#include "text/unicode.h"

#define DOTTED_I 0x130u   /* the only one that becomes two: i and U+0307 */

static enum moe_status apply(const void *self, struct moe_codes *text, struct moe_codes *spare, struct moe_err *err)
{
	static const uint32_t dotted[] = {'i', 0x307};
	size_t n_lead = text->n_lead, n_dotted = 0;
	enum moe_status status;

	(void)self;
	for (size_t i = 0; i < text->n; i++) {
		uint32_t c = text->p[i];

		n_dotted += c == DOTTED_I;
		n_lead += c == DOTTED_I && i < text->n_lead;
		if (c < 0x80)
			text->p[i] = c >= 'A' && c <= 'Z' ? c + 32 : c;
		else if (c != DOTTED_I)
			text->p[i] = moe_unicode_to_lower(c);
	}
	if (n_dotted == 0)
		return MOE_OK;
	spare->n = 0;
	status = moe_codes_room(spare, text->n + n_dotted, err);
	if (status)
		return status;
	for (size_t i = 0; i < text->n; i++) {
		if (text->p[i] != DOTTED_I) {
			spare->p[spare->n++] = text->p[i];
			continue;
		}
		spare->p[spare->n++] = dotted[0];
		spare->p[spare->n++] = dotted[1];
	}
	moe_codes_swap(text, spare, n_lead);
	return MOE_OK;
}

const struct moe_normalizer moe_normalizer_lowercase = {
	.part = {.type = "Lowercase", .parse = moe_stage_parse_nothing, .free = moe_stage_free_nothing},
	.apply = apply,
};
