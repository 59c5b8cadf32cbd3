/* Removes combining marks; what is composed keeps them, unless a decomposition comes before. */
#include "text/stage.h"
#include "text/unicode.h"

static enum moe_status apply(const void *self, struct moe_flow *in, struct moe_codes *out, struct moe_err *err)
{
	enum moe_status status = moe_codes_room(out, in->text.n - in->at, err);

	(void)self;
	for (; in->at < in->text.n && !status; in->at++) {
		const uint32_t c = in->text.p[in->at];

		if (c >= 0x300 && moe_unicode_in(moe_unicode_accent, moe_unicode_n_accent, c))
			continue;
		out->p[out->n++] = c;
		out->n_lead += in->at < in->text.n_lead;
	}
	return status;
}

const struct moe_normalizer moe_normalizer_stripaccents = {
	.part = {.type = "StripAccents", .parse = moe_stage_parse_nothing, .free = moe_stage_free_nothing},
	.apply = apply,
};
