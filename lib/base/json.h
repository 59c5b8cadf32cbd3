/* jansson, with what everyone here needs: files of hostile origin, typed lookups, sentences that say where. */
#ifndef MOE_BASE_JSON_H
#define MOE_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/* Parses n bytes. `name` is what messages call them ("model/config.json"). Duplicate keys are refused;
 * a NUL byte inside a string is allowed. What Python's json module writes beyond the standard is read too: integers
 * beyond 64 bits as reals, Infinity as the largest double, NaN as the string "NaN", which is no number to any lookup.
 * *out is a new reference. */
MOE_MUST_USE enum moe_status moe_json_parse(json_t **out, const void *bytes, size_t n, const char *name,
                                            struct moe_err *err);
/* The same from a file of at most limit_bytes. */
MOE_MUST_USE enum moe_status moe_json_load(json_t **out, const char *path, size_t limit_bytes, struct moe_err *err);

/* Typed lookups in an object. `where` is prefixed to the key in messages. Missing or null: *out is left as it is
 * (so it holds the default) and MOE_OK; another type or out of [min, max]: MOE_EFORMAT naming key, expected, found.
 * A real that is whole (4096.0) is an integer too. */
MOE_MUST_USE enum moe_status moe_json_i64(const json_t *obj, const char *key, const char *where, int64_t min,
                                          int64_t max, int64_t *out, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_json_i32(const json_t *obj, const char *key, const char *where, int32_t min,
                                          int32_t max, int32_t *out, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_json_f64(const json_t *obj, const char *key, const char *where, double *out,
                                          struct moe_err *err);
MOE_MUST_USE enum moe_status moe_json_bool(const json_t *obj, const char *key, const char *where, bool *out,
                                           struct moe_err *err);
/* A view into obj. A string with a NUL byte is refused: it would be read as a shorter one. */
MOE_MUST_USE enum moe_status moe_json_str(const json_t *obj, const char *key, const char *where, const char **out,
                                          struct moe_err *err);
/* The string, or NULL: for what is no string, or one with a NUL byte. */
const char *moe_json_word(const json_t *value);
/* MOE_EFORMAT: "WHERE: ", the words that say what was expected, ", found " and the value in short (NULL: nothing). */
enum moe_status moe_json_refuse(struct moe_err *err, const json_t *value, const char *where, const char *expected, ...)
	MOE_PRINTF(4, 5);
/* True if the key is there and not null. */
bool moe_json_has(const json_t *obj, const char *key);

/* Appends text as a JSON string, quotes included; bytes that are not UTF-8 become U+FFFD. */
void moe_json_quote(struct moe_buf *buf, const char *text, size_t n);

#endif
