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

/* How many code points before a place may say what matches there; at least 1. */
size_t moe_regex_behind(const struct moe_regex *regex);

/* A text being searched, by one thread, which may come bit by bit; keeps a view of regex but not of the text. */
struct moe_regex_scan;
MOE_MUST_USE enum moe_status moe_regex_begin(struct moe_regex_scan **out, const struct moe_regex *regex,
                                             struct moe_err *err);
/* The text is now codes[0 .. n), of which it has the beginning already. */
MOE_MUST_USE enum moe_status moe_regex_add(struct moe_regex_scan *scan, const uint32_t *codes, size_t n,
                                           struct moe_err *err);
/* The text goes on with n bytes of valid UTF-8. */
MOE_MUST_USE enum moe_status moe_regex_add_utf8(struct moe_regex_scan *scan, const char *text, size_t n,
                                                struct moe_err *err);
size_t moe_regex_n(const struct moe_regex_scan *scan);   /* code points it has */
/* Takes the first n code points off, at most all. */
void moe_regex_drop(struct moe_regex_scan *scan, size_t n);

enum moe_regex_found {
	MOE_REGEX_NONE,    /* no match begins before *start, the end of the piece */
	MOE_REGEX_MATCH,   /* [*start, *stop), which may be empty */
	MOE_REGEX_OPEN,    /* none begins before *start; whether one does there depends on what follows the piece */
};

/* Searches the piece [first, end) as if it were the whole text, from `from` on (first <= from <= end). `more`: it is
 * only the beginning of the piece, and from < end; what is found then is found whatever follows. */
MOE_MUST_USE enum moe_status moe_regex_find(struct moe_regex_scan *scan, size_t first, size_t end, size_t from,
                                            bool more, enum moe_regex_found *found, size_t *start, size_t *stop,
                                            struct moe_err *err);
/* The same, where an empty match right behind another does not count; behind_match: one ends at `from`. */
MOE_MUST_USE enum moe_status moe_regex_next(struct moe_regex_scan *scan, size_t first, size_t end, size_t from,
                                            bool behind_match, bool more, enum moe_regex_found *found, size_t *start,
                                            size_t *stop, struct moe_err *err);
void moe_regex_finish(struct moe_regex_scan *scan);   /* NULL is fine */

#endif
