/* Text: views that own nothing, a buffer that grows, and numbers read strictly. */
#ifndef MOE_BASE_STR_H
#define MOE_BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* A view of n bytes, not NUL-terminated, any bytes. */
struct moe_str {
	const char *p;
	size_t n;
};

/* Bytes that grow. Zero-initialise; p is NUL-terminated whenever it is not NULL.
 * A failed growth sets `failed` and drops the addition, so a run of appends needs one check at its end. */
struct moe_buf {
	char *p;
	size_t n, cap;
	bool failed;
};

void moe_buf_add(struct moe_buf *buf, const void *bytes, size_t n);
void moe_buf_adds(struct moe_buf *buf, const char *text);
void moe_buf_addc(struct moe_buf *buf, char c);
void moe_buf_addf(struct moe_buf *buf, const char *fmt, ...) MOE_PRINTF(2, 3);
/* Room for n more bytes behind p + n, which the caller fills before raising n; NULL on failure. */
char *moe_buf_room(struct moe_buf *buf, size_t n);
/* MOE_OK, or a sentence if any append failed. */
MOE_MUST_USE enum moe_status moe_buf_check(const struct moe_buf *buf, struct moe_err *err);
void moe_buf_free(struct moe_buf *buf);

struct moe_str moe_str_of(const char *text);
bool moe_str_eq(struct moe_str a, const char *text);

/* The whole of `text` as a decimal number; false where it is empty, has other characters, or does not fit. */
bool moe_parse_i64(struct moe_str text, int64_t *out);
bool moe_parse_f64(struct moe_str text, double *out);
/* A byte count: 4096, 64K, 1.5G, 80GiB (powers of 1024 for K M G T with or without iB; powers of 1000 for
 * kB MB GB TB). */
bool moe_parse_bytes(struct moe_str text, uint64_t *out);

/* The next item of a list separated by `sep`, taken off the front of *rest; false at the end. Items may be empty,
 * but a separator at the very end only closes the last one, as a newline closes a line. */
bool moe_str_next(struct moe_str *rest, char sep, struct moe_str *item);

/* "1.5 GiB", "312 B": for people. buf holds at least 24 bytes; returns buf. */
char *moe_format_bytes(char *buf, double n_bytes);

/* The shortest decimal text that reads back as the same double, e.g. "0.5", "1e-06", "3". Never locale-dependent. */
void moe_buf_add_f64(struct moe_buf *buf, double value);

#endif
