/* Patterns of tokenizer.json (Oniguruma's dialect) over code points.
 *
 * Every atom of a pattern is a set of code points. Compiling divides all code points into the classes that the pattern
 * tells apart (a few dozen), so a text becomes one byte per code point and PCRE2 matches bytes: which Unicode PCRE2
 * knows does not matter, and a class of a thousand ranges costs no more than a letter. */
#ifndef MOE_TEXT_REGEX_H
#define MOE_TEXT_REGEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct moe_regex;

/* From n bytes of UTF-8. `where` begins messages ("tokenizer.json: pre_tokenizer.pattern.Regex"). What is not known to
 * mean the same to PCRE2 is refused: back references, captures by name, \b, options other than i. */
MOE_MUST_USE enum moe_status moe_regex_compile(struct moe_regex **out, const char *pattern, size_t n, const char *where,
                                               struct moe_err *err);
/* The same for a pattern in which every character stands for itself. */
MOE_MUST_USE enum moe_status moe_regex_compile_literal(struct moe_regex **out, const char *text, size_t n,
                                                       const char *where, struct moe_err *err);
void moe_regex_free(struct moe_regex *regex);   /* NULL is fine */

/* A text being searched, by one thread; keeps a view of regex but not of the code points. */
struct moe_regex_scan;
MOE_MUST_USE enum moe_status moe_regex_begin(struct moe_regex_scan **out, const struct moe_regex *regex,
                                             const uint32_t *codes, size_t n, struct moe_err *err);
/* Searches the piece [first, end) as if it were the whole text, from `from` on (first <= from <= end). *found false:
 * no match; otherwise [*start, *stop), which may be empty. */
MOE_MUST_USE enum moe_status moe_regex_find(struct moe_regex_scan *scan, size_t first, size_t end, size_t from,
                                            bool *found, size_t *start, size_t *stop, struct moe_err *err);
void moe_regex_finish(struct moe_regex_scan *scan);   /* NULL is fine */

#endif
