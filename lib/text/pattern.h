/* The parser of patterns: from Oniguruma's syntax to a list of syntax bytes and sets of code points. Indoors of
 * regex.c. */
#ifndef MOE_TEXT_PATTERN_H
#define MOE_TEXT_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "text/charset.h"

/* A piece of the parsed pattern: syntax (set < 0) or the set of that index. */
struct moe_pattern_item {
	int set;
	char syntax[24];
};

struct moe_pattern {
	const char *where;                /* begins messages */
	uint32_t *codes;                  /* [n] what is parsed */
	size_t n, at;
	bool caseless;
	int depth;
	struct moe_pattern_item *items;   /* [n_items] what comes out */
	size_t n_items, cap_items;
	struct moe_charset *sets;         /* [n_sets], no two equal */
	size_t n_sets, cap_sets;
	struct moe_err *err;
};

/* From n bytes of UTF-8. literal: every character stands for itself. To be freed also on failure. */
MOE_MUST_USE enum moe_status moe_pattern_parse(struct moe_pattern *ps, const char *text, size_t n, bool literal,
                                               const char *where, struct moe_err *err);
void moe_pattern_free(struct moe_pattern *ps);

#endif
