/* JSON as text whose numbers read back as themselves. Private to this folder. */
#ifndef MOE_CONVERT_JSON_TEXT_H
#define MOE_CONVERT_JSON_TEXT_H

#include <jansson.h>

#include "base/str.h"

/* Appends the value, indented by two spaces a level, keys in their order, no newline at the end. */
void moe_json_text(struct moe_buf *buf, const json_t *value, int level);

#endif
