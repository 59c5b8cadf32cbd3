/* TAP for unit tests: every check prints a line, and done() prints the plan. One main() includes this, once. */
#ifndef MOE_TESTS_TAP_H
#define MOE_TESTS_TAP_H

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_n_run, tap_n_failed;

__attribute__((format(printf, 4, 0), unused))
static bool tap_line(bool good, const char *file, int line, const char *fmt, va_list args)
{
	tap_n_run++;
	tap_n_failed += !good;
	printf("%sok %d - ", good ? "" : "not ", tap_n_run);
	vprintf(fmt, args);
	printf("\n");
	if (!good)
		printf("# %s:%d\n", file, line);
	fflush(stdout);
	return good;
}

__attribute__((format(printf, 4, 5), unused))
static bool tap_ok(bool good, const char *file, int line, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	tap_line(good, file, line, fmt, args);
	va_end(args);
	return good;
}

__attribute__((format(printf, 5, 6), unused))
static bool tap_is_i64(int64_t got, int64_t wanted, const char *file, int line, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	tap_line(got == wanted, file, line, fmt, args);
	va_end(args);
	if (got != wanted)
		printf("# got %jd, wanted %jd\n", (intmax_t)got, (intmax_t)wanted);
	return got == wanted;
}

__attribute__((format(printf, 5, 6), unused))
static bool tap_is_str(const char *got, const char *wanted, const char *file, int line, const char *fmt, ...)
{
	bool good = got && wanted ? strcmp(got, wanted) == 0 : got == wanted;
	va_list args;

	va_start(args, fmt);
	tap_line(good, file, line, fmt, args);
	va_end(args);
	if (!good)
		printf("# got    '%s'\n# wanted '%s'\n", got ? got : "(null)", wanted ? wanted : "(null)");
	return good;
}

__attribute__((format(printf, 6, 7), unused))
static bool tap_is_close(double got, double wanted, double tolerance, const char *file, int line, const char *fmt, ...)
{
	bool good = fabs(got - wanted) <= tolerance || got == wanted || (isnan(got) && isnan(wanted));
	va_list args;

	va_start(args, fmt);
	tap_line(good, file, line, fmt, args);
	va_end(args);
	if (!good)
		printf("# got %.17g, wanted %.17g within %g\n", got, wanted, tolerance);
	return good;
}

__attribute__((format(printf, 5, 6), unused))
static bool tap_is_like(const char *text, const char *part, const char *file, int line, const char *fmt, ...)
{
	bool good = text && strstr(text, part);
	va_list args;

	va_start(args, fmt);
	tap_line(good, file, line, fmt, args);
	va_end(args);
	if (!good)
		printf("# got    '%s'\n# without '%s'\n", text ? text : "(null)", part);
	return good;
}

/* Each is true if the check held. The name of the check is a printf format. */
#define ok(cond, ...) tap_ok((cond), __FILE__, __LINE__, __VA_ARGS__)
#define is_i64(got, wanted, ...) tap_is_i64((got), (wanted), __FILE__, __LINE__, __VA_ARGS__)
#define is_str(got, wanted, ...) tap_is_str((got), (wanted), __FILE__, __LINE__, __VA_ARGS__)
/* |got - wanted| <= tolerance; NaN is close to NaN. */
#define is_close(got, wanted, tolerance, ...) \
	tap_is_close((got), (wanted), (tolerance), __FILE__, __LINE__, __VA_ARGS__)
/* The text holds the part. */
#define is_like(text, part, ...) tap_is_like((text), (part), __FILE__, __LINE__, __VA_ARGS__)

/* A check that cannot be made here. */
__attribute__((unused)) static void skip(const char *what, const char *reason)
{
	tap_n_run++;
	printf("ok %d - %s # SKIP %s\n", tap_n_run, what, reason);
}

/* `return done();` */
__attribute__((unused)) static int done(void)
{
	printf("1..%d\n", tap_n_run);
	return tap_n_failed > 0 || tap_n_run == 0 || fflush(stdout) != 0 || ferror(stdout);
}

#endif
