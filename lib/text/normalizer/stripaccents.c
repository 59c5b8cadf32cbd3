/* Removes combining marks; what is composed keeps them, unless a decomposition comes before. */
#include "text/stage.h"
#include "text/unicode.h"

static enum moe_status apply(const void *self, struct moe_codes *text, struct moe_codes *spare, struct moe_err *err)
{
	size_t kept = 0, n_lead = text->n_lead;

	(void)self, (void)spare, (void)err;
	for (size_t i = 0; i < text->n; i++) {
		bool is_mark = text->p[i] >= 0x300 &&
		               moe_unicode_in(moe_unicode_accent, moe_unicode_n_accent, text->p[i]);
		n_lead -= is_mark && i < text->n_lead;
		text->p[kept] = text->p[i];
		kept += !is_mark;
	}
	text->n = kept;
	text->n_lead = n_lead;
	return MOE_OK;
}

const struct moe_normalizer moe_normalizer_stripaccents = {
	.part = {.type = "StripAccents", .parse = moe_stage_parse_nothing, .free = moe_stage_free_nothing},
	.apply = apply,
};
