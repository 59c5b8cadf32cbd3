/* Unicode normalization forms as the reference has them. Indoors of normalizer/. */
#ifndef MOE_TEXT_NORMAL_H
#define MOE_TEXT_NORMAL_H

#include "text/stage.h"

/* Bits: C composes, KD decomposes what is only compatible too. */
enum moe_form { MOE_FORM_D = 0, MOE_FORM_C = 1, MOE_FORM_KD = 2, MOE_FORM_KC = 3 };

/* As moe_normalizer.apply. */
MOE_MUST_USE enum moe_status moe_normal_form(struct moe_flow *in, struct moe_codes *out, enum moe_form form,
                                             struct moe_err *err);
/* Whether a character neither changes with what is before it nor changes that. */
bool moe_normal_begins(uint32_t code, enum moe_form form);

#endif
