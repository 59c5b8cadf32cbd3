/* One sentence and one status: how every library function reports failure.
 * Library code never prints and never exits. */
#ifndef MOE_BASE_ERR_H
#define MOE_BASE_ERR_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MOE_MUST_USE __attribute__((warn_unused_result))
#define MOE_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define MOE_NORETURN __attribute__((noreturn))

enum moe_status {
	MOE_OK = 0,
	MOE_EIO,       /* the system refused: open, read, write, memory, device */
	MOE_EFORMAT,   /* an input is not what it claims to be */
	MOE_EUSAGE,    /* the caller asked for something that makes no sense: exit 2 */
	MOE_ECHECK,    /* done, and the check asked for said no: exit 3 */
};

/* The caller owns it, zero-initialised; the first failure fills it. */
struct moe_err {
	enum moe_status status;
	char text[1200];
};

/* Stores the sentence and returns the status, so that `return moe_err_set(...)` reads well.
 * err may be NULL (the status alone is returned). */
enum moe_status moe_err_set(struct moe_err *err, enum moe_status status, const char *fmt, ...)
	MOE_PRINTF(3, 4);

/* As moe_err_set with MOE_EIO, and appends ": " and the text of errno. */
enum moe_status moe_err_sys(struct moe_err *err, const char *fmt, ...) MOE_PRINTF(2, 3);

/* "out of memory (N bytes for WHAT)". */
enum moe_status moe_err_nomem(struct moe_err *err, size_t n_bytes, const char *what);

#ifdef __cplusplus
}
#endif
#endif
