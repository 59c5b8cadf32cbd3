/* Removes control characters, and makes other ones that are seen as blanks into spaces. */
#include "text/stage.h"

static bool is_removed(uint32_t c)
{
	return (c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
}

static bool is_blank(uint32_t c)
{
	return c == 0x9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
	       c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
}

static enum moe_status apply(const void *self, struct moe_codes *text, struct moe_codes *spare, struct moe_err *err)
{
	size_t kept = 0, n_lead = text->n_lead;

	(void)self, (void)spare, (void)err;
	for (size_t i = 0; i < text->n; i++) {
		uint32_t c = text->p[i];

		n_lead -= is_removed(c) && i < text->n_lead;
		text->p[kept] = is_blank(c) ? ' ' : c;
		kept += !is_removed(c);
	}
	text->n = kept;
	text->n_lead = n_lead;
	return MOE_OK;
}

const struct moe_normalizer moe_normalizer_nmt = {
	.part = {.type = "Nmt", .parse = moe_stage_parse_nothing, .free = moe_stage_free_nothing},
	.apply = apply,
};
