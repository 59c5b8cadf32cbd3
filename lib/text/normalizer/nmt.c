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

static enum moe_status apply(const void *self, struct moe_flow *in, struct moe_codes *out, struct moe_err *err)
{
	enum moe_status status = moe_codes_room(out, in->text.n - in->at, err);

	(void)self;
	for (; in->at < in->text.n && !status; in->at++) {
		const uint32_t c = in->text.p[in->at];

		if (is_removed(c))
			continue;
		out->p[out->n++] = is_blank(c) ? ' ' : c;
		out->n_lead += in->at < in->text.n_lead;
	}
	return status;
}

const struct moe_normalizer moe_normalizer_nmt = {
	.part = {.type = "Nmt", .parse = moe_stage_parse_nothing, .free = moe_stage_free_nothing},
	.apply = apply,
};
