/* Error sentences. They may quote hostile names, so control bytes never reach a terminal. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Control bytes (C0, DEL, and C1 as UTF-8) become '?'. */
static void clean_text(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p; p++) {
		if (*p < 0x20 || *p == 0x7f) {
			*p = '?';
		} else if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) {
			p[0] = '?';
			p[1] = '?';
		}
	}
}

/* Formats through a copy, since an argument may be err->text itself. */
static void set_text(struct moe_err *err, enum moe_status status, int errnum, const char *fmt, va_list args)
{
	char text[sizeof err->text];
	const size_t cap = sizeof text;
	int n = vsnprintf(text, cap, fmt, args);
	size_t len = n < 0 ? 0 : (size_t)n < cap ? (size_t)n : cap - 1;

	text[len] = '\0';
	if (errnum != 0 && len < cap - 1) {
		n = snprintf(text + len, cap - len, ": %s", strerror(errnum));
		len += n < 0 ? 0 : (size_t)n;
	}
	if (n < 0 || len >= cap || (size_t)n >= cap)
		memcpy(text + cap - 4, "...", 4);
	clean_text(text);
	memcpy(err->text, text, cap);
	err->status = status;
}

enum moe_status moe_err_set(struct moe_err *err, enum moe_status status, const char *fmt, ...)
{
	va_list args;

	if (!err)
		return status;
	va_start(args, fmt);
	set_text(err, status, 0, fmt, args);
	va_end(args);
	return status;
}

enum moe_status moe_err_sys(struct moe_err *err, const char *fmt, ...)
{
	int errnum = errno;
	va_list args;

	if (!err)
		return MOE_EIO;
	va_start(args, fmt);
	set_text(err, MOE_EIO, errnum, fmt, args);
	va_end(args);
	return MOE_EIO;
}

enum moe_status moe_err_nomem(struct moe_err *err, size_t n_bytes, const char *what)
{
	return moe_err_set(err, MOE_EIO, "out of memory (%zu bytes for %s)", n_bytes, what);
}
