/* Three steps: pattern.c turns a pattern into a list of syntax bytes and sets; divide() finds the classes of code
 * points that no set tells apart and numbers them; emit() writes the pattern again over those numbers, for PCRE2. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "text/pattern.h"
#include "text/utf8.h"

enum {
	MAX_CLASSES = 256,
	BLOCK = 256,             /* code points per block of the two-level map */
	N_BLOCKS = (MOE_CODE_MAX + 1) / BLOCK,
	MAX_JIT_STACK = 64 << 20,
	MATCH_STEPS = 64,        /* per code point of the text, on top of PCRE2's own limit for short ones */
	MATCH_STEPS_MIN = 10000000,
	STARTS = 64,             /* places at which one call of PCRE2 tries to begin a match */
	LOOK_AT_CLOCK = 256,     /* after as many matches */
	KEEP_CLASSES = 1 << 22,  /* room for an empty text; more has been for a long piece */
};

/* Seconds of one thread that a search through a text may take, and more per code point: hundreds of times what
 * patterns of linear time need. PCRE2's own limit is one per place where a match may begin, so that a pattern may still
 * take the square of a text's length. */
#define SECONDS 5.0
#define SECONDS_PER_CODE 5e-6

struct moe_regex {
	pcre2_code *code;
	size_t behind;                 /* code points that look-behinds may step back, and one more */
	char *where;
	uint8_t ascii[128];            /* the classes of the first code points once more */
	uint8_t *blocks;               /* [n_blocks][BLOCK] class of each code point */
	size_t n_blocks;
	uint16_t block_of[N_BLOCKS];
};

struct moe_regex_scan {
	const struct moe_regex *regex;
	pcre2_match_data *match;
	pcre2_match_context *context;
	pcre2_jit_stack *stack;
	uint8_t *classes;              /* [n] */
	size_t n, cap;
	size_t n_calls;
	double seconds;                /* of this thread that it may take */
	double spent;                  /* of these, up to when the text last went on */
	double since, now;             /* what the thread's clock said at the first look since then, and at the last */
	struct timespec tick;          /* the coarse clock's at the last look */
};

/* The classes: an elementary interval is a run of code points that no range of any set divides; two intervals are of
 * one class if they are in the same sets. */
struct division {
	uint32_t *starts;    /* [n] first code point of each interval, ascending, starts[0] = 0 */
	int16_t *class_of;   /* [n] */
	size_t n;
	int n_classes;
};

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static enum moe_status find_intervals(const struct moe_pattern *ps, struct division *dv)
{
	size_t n = 1, kept = 0;

	for (size_t i = 0; i < ps->n_sets; i++)
		n += 2 * ps->sets[i].n;
	dv->starts = calloc(n, sizeof *dv->starts);
	if (!dv->starts)
		return moe_err_nomem(ps->err, n * sizeof *dv->starts, "a pattern's classes");
	n = 1;
	for (size_t i = 0; i < ps->n_sets; i++) {
		for (size_t j = 0; j < ps->sets[i].n; j++) {
			dv->starts[n++] = ps->sets[i].ranges[j].first;
			dv->starts[n++] = ps->sets[i].ranges[j].last + 1;
		}
	}
	qsort(dv->starts, n, sizeof *dv->starts, compare_u32);
	for (size_t i = 1; i < n; i++) {
		if (dv->starts[i] != dv->starts[kept] && dv->starts[i] <= MOE_CODE_MAX)
			dv->starts[++kept] = dv->starts[i];
	}
	dv->n = kept + 1;
	dv->class_of = calloc(dv->n, sizeof *dv->class_of);
	return dv->class_of ? MOE_OK : moe_err_nomem(ps->err, dv->n, "a pattern's classes");
}

static enum moe_status divide(const struct moe_pattern *ps, struct division *dv)
{
	enum moe_status status = find_intervals(ps, dv);

	dv->n_classes = 1;
	for (size_t i = 0; i < ps->n_sets && !status; i++) {
		int16_t inside_of[MAX_CLASSES];      /* new class of the members of a class that are in this set */
		bool has_outside[MAX_CLASSES] = {false};

		for (size_t k = 0; k < dv->n; k++) {
			if (!moe_unicode_in(ps->sets[i].ranges, ps->sets[i].n, dv->starts[k]))
				has_outside[dv->class_of[k]] = true;
		}
		memset(inside_of, -1, sizeof inside_of);
		for (size_t k = 0; k < dv->n; k++) {
			int16_t old = dv->class_of[k];
			if (!moe_unicode_in(ps->sets[i].ranges, ps->sets[i].n, dv->starts[k]) || !has_outside[old])
				continue;
			if (inside_of[old] < 0) {
				if (dv->n_classes == MAX_CLASSES)
					return moe_err_set(ps->err, MOE_EFORMAT,
					                   "%s: the pattern tells more than %d kinds of "
					                   "characters apart, which is not supported", ps->where,
					                   MAX_CLASSES);
				inside_of[old] = (int16_t)dv->n_classes++;
			}
			dv->class_of[k] = inside_of[old];
		}
	}
	return status;
}

/* The two-level map, equal blocks stored once. */
static enum moe_status build_map(struct moe_regex *re, const struct division *dv, struct moe_err *err)
{
	size_t cap = 64, k = 0;
	uint8_t block[BLOCK];

	re->blocks = malloc(cap * BLOCK);
	if (!re->blocks)
		return moe_err_nomem(err, cap * BLOCK, "a pattern's classes");
	for (uint32_t b = 0; b < N_BLOCKS; b++) {
		size_t same = re->n_blocks;
		for (uint32_t i = 0; i < BLOCK; i++) {
			while (k + 1 < dv->n && dv->starts[k + 1] <= b * BLOCK + i)
				k++;
			block[i] = (uint8_t)dv->class_of[k];
		}
		for (size_t j = re->n_blocks; j-- > 0;) {
			if (memcmp(re->blocks + j * BLOCK, block, BLOCK) == 0) {
				same = j;
				break;
			}
		}
		if (same == re->n_blocks) {
			if (re->n_blocks == cap) {
				uint8_t *grown = realloc(re->blocks, 2 * cap * BLOCK);
				if (!grown)
					return moe_err_nomem(err, 2 * cap * BLOCK, "a pattern's classes");
				re->blocks = grown;
				cap *= 2;
			}
			memcpy(re->blocks + re->n_blocks++ * BLOCK, block, BLOCK);
		}
		re->block_of[b] = (uint16_t)same;
	}
	for (uint32_t c = 0; c < sizeof re->ascii; c++)
		re->ascii[c] = re->blocks[re->block_of[0] * (size_t)BLOCK + c];
	return MOE_OK;
}

/* The classes of a set, as PCRE2 syntax. */
static void emit_set(struct moe_buf *out, const struct moe_charset *set, const struct division *dv)
{
	bool in[MAX_CLASSES] = {false};
	int n = 0, last = 0;

	for (size_t k = 0; k < dv->n; k++) {
		int16_t c = dv->class_of[k];
		if (!in[c] && moe_unicode_in(set->ranges, set->n, dv->starts[k])) {
			in[c] = true;
			last = c;
			n++;
		}
	}
	if (n == 0) {
		moe_buf_adds(out, "(?!)");
		return;
	}
	if (n == 1) {
		moe_buf_addf(out, "\\x%02x", last);
		return;
	}
	moe_buf_addc(out, '[');
	for (int c = 0; c < MAX_CLASSES; c++) {
		int end = c;
		if (!in[c])
			continue;
		while (end + 1 < MAX_CLASSES && in[end + 1])
			end++;
		moe_buf_addf(out, end > c ? "\\x%02x-\\x%02x" : "\\x%02x", c, end);
		c = end;
	}
	moe_buf_addc(out, ']');
}

/* One look-behind may be within another, and each steps back at most as far as PCRE2 says; one more code point shows
 * that the text does not begin there. */
static size_t count_behind(const struct moe_pattern *ps, const pcre2_code *code)
{
	uint32_t longest = 0;
	size_t n = 1;

	for (size_t i = 0; i < ps->n_items; i++)
		n += ps->items[i].set < 0 && strstr(ps->items[i].syntax, "(?<") != NULL;
	(void)pcre2_pattern_info(code, PCRE2_INFO_MAXLOOKBEHIND, &longest);
	return n * longest + 1;
}

static enum moe_status emit(const struct moe_pattern *ps, const struct division *dv, struct moe_regex *re)
{
	struct moe_buf out = {0};
	PCRE2_UCHAR text[256];
	PCRE2_SIZE at = 0;
	int code = 0;
	enum moe_status status;

	for (size_t i = 0; i < ps->n_items; i++) {
		if (ps->items[i].set < 0)
			moe_buf_adds(&out, ps->items[i].syntax);
		else
			emit_set(&out, &ps->sets[ps->items[i].set], dv);
	}
	status = moe_buf_check(&out, ps->err);
	if (!status) {
		re->code = pcre2_compile((PCRE2_SPTR)(out.p ? out.p : ""), out.n, PCRE2_NEVER_UTF | PCRE2_NEVER_UCP |
		                         PCRE2_USE_OFFSET_LIMIT, &code, &at, NULL);
		if (!re->code) {
			pcre2_get_error_message(code, text, sizeof text);
			status = moe_err_set(ps->err, MOE_EFORMAT, "%s: the pattern does not compile: %s", ps->where,
			                     (const char *)text);
		} else {
			/* Without JIT (not on this machine, or refused) PCRE2 interprets the same code. */
			(void)pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);
			re->behind = count_behind(ps, re->code);
		}
	}
	moe_buf_free(&out);
	return status;
}

static enum moe_status compile(struct moe_regex **out, const char *pattern, size_t n, bool literal, const char *where,
                               struct moe_err *err)
{
	struct moe_pattern ps = {0};
	struct division dv = {0};
	struct moe_regex *re = calloc(1, sizeof *re);
	enum moe_status status;

	*out = NULL;
	if (!re || !(re->where = strdup(where))) {
		free(re);
		return moe_err_nomem(err, sizeof *re, "a pattern");
	}
	status = moe_pattern_parse(&ps, pattern, n, literal, where, err);
	if (!status)
		status = divide(&ps, &dv);
	if (!status)
		status = build_map(re, &dv, err);
	if (!status)
		status = emit(&ps, &dv, re);
	moe_pattern_free(&ps);
	free(dv.starts);
	free(dv.class_of);
	if (status)
		moe_regex_free(re);
	else
		*out = re;
	return status;
}

enum moe_status moe_regex_compile(struct moe_regex **out, const char *pattern, size_t n, const char *where,
                                  struct moe_err *err)
{
	return compile(out, pattern, n, false, where, err);
}

enum moe_status moe_regex_compile_literal(struct moe_regex **out, const char *text, size_t n, const char *where,
                                          struct moe_err *err)
{
	return compile(out, text, n, true, where, err);
}

void moe_regex_free(struct moe_regex *regex)
{
	if (!regex)
		return;
	pcre2_code_free(regex->code);
	free(regex->blocks);
	free(regex->where);
	free(regex);
}

size_t moe_regex_behind(const struct moe_regex *regex)
{
	return regex->behind;
}

enum moe_status moe_regex_begin(struct moe_regex_scan **out, const struct moe_regex *regex, struct moe_err *err)
{
	struct moe_regex_scan *scan = calloc(1, sizeof *scan);

	*out = NULL;
	if (!scan)
		return moe_err_nomem(err, sizeof *scan, "a search");
	scan->regex = regex;
	scan->seconds = SECONDS;
	scan->match = pcre2_match_data_create(1, NULL);
	scan->context = pcre2_match_context_create(NULL);
	if (!scan->match || !scan->context) {
		moe_regex_finish(scan);
		return moe_err_nomem(err, sizeof *scan, "a search");
	}
	*out = scan;
	return MOE_OK;
}

/* Room for n more classes; starts the clock again. */
static enum moe_status more_room(struct moe_regex_scan *scan, size_t n, struct moe_err *err)
{
	size_t cap = scan->cap ? scan->cap : 256;
	uint8_t *grown;

	scan->spent += scan->now - scan->since;
	scan->since = scan->now = 0;
	if (n <= scan->cap - scan->n)
		return MOE_OK;
	while (cap - scan->n < n)
		cap += cap / 2;
	grown = realloc(scan->classes, cap);
	if (!grown)
		return moe_err_nomem(err, cap, "a search");
	scan->classes = grown;
	scan->cap = cap;
	return MOE_OK;
}

/* Enough for every pattern that takes linear time, on any text; one that takes more is stopped. */
static void set_limits(struct moe_regex_scan *scan, size_t n_new)
{
	pcre2_set_match_limit(scan->context, scan->n < (UINT32_MAX - MATCH_STEPS_MIN) / MATCH_STEPS
	                                     ? MATCH_STEPS_MIN + MATCH_STEPS * (uint32_t)scan->n : UINT32_MAX);
	scan->seconds += SECONDS_PER_CODE * (double)n_new;
}

static uint8_t class_of(const struct moe_regex *regex, uint32_t code)
{
	return regex->blocks[regex->block_of[code / BLOCK] * (size_t)BLOCK + code % BLOCK];
}

enum moe_status moe_regex_add(struct moe_regex_scan *scan, const uint32_t *codes, size_t n, struct moe_err *err)
{
	const size_t n_old = scan->n;
	enum moe_status status = more_room(scan, n - n_old, err);

	if (status)
		return status;
	for (size_t i = n_old; i < n; i++)
		scan->classes[i] = class_of(scan->regex, codes[i]);
	scan->n = n;
	set_limits(scan, n - n_old);
	return MOE_OK;
}

enum moe_status moe_regex_add_utf8(struct moe_regex_scan *scan, const char *text, size_t n, struct moe_err *err)
{
	const uint8_t *p = (const uint8_t *)text, *end = p + n;
	const struct moe_regex *regex = scan->regex;
	const size_t n_old = scan->n;
	enum moe_status status = more_room(scan, n, err);
	uint8_t *to;

	if (status)
		return status;
	to = scan->classes + scan->n;
	while (p < end) {
		if (*p < 0x80)
			*to++ = regex->ascii[*p++];
		else
			*to++ = class_of(regex, moe_utf8_next(&p));
	}
	scan->n = (size_t)(to - scan->classes);
	set_limits(scan, scan->n - n_old);
	return MOE_OK;
}

size_t moe_regex_n(const struct moe_regex_scan *scan)
{
	return scan->n;
}

void moe_regex_drop(struct moe_regex_scan *scan, size_t n)
{
	if (n == 0 || scan->n == 0)
		return;
	if (n > scan->n)
		n = scan->n;
	scan->n -= n;
	memmove(scan->classes, scan->classes + n, scan->n);
	if (scan->cap > KEEP_CLASSES && scan->n < KEEP_CLASSES / 2) {
		uint8_t *less = realloc(scan->classes, KEEP_CLASSES);
		scan->classes = less ? less : scan->classes;
		scan->cap = less ? KEEP_CLASSES : scan->cap;
	}
}

/* Whether the search has taken too long. The thread's clock takes a system call, so it is looked at only where the
 * coarse clock, which takes none and moves every few milliseconds, has moved. */
static bool is_late(struct moe_regex_scan *scan)
{
	struct timespec now = scan->tick;

	(void)!clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if (now.tv_nsec == scan->tick.tv_nsec && now.tv_sec == scan->tick.tv_sec)
		return false;
	scan->tick = now;
	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) != 0)
		return false;
	scan->now = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
	if (scan->since == 0)
		scan->since = scan->now;
	return scan->spent + scan->now - scan->since > scan->seconds;
}

/* The result of PCRE2 for a match that begins at `from` or up to STARTS behind it. With PCRE2_PARTIAL_HARD a search
 * that comes upon the end of the piece says so at once, so that what it says otherwise stays true whatever follows. */
static int match(struct moe_regex_scan *scan, size_t first, size_t end, size_t from, uint32_t options)
{
	int rc;

	pcre2_set_offset_limit(scan->context, from - first + STARTS);
	rc = pcre2_match(scan->regex->code, scan->classes + first, end - first, from - first, options, scan->match,
	                 scan->context);
	if (rc == PCRE2_ERROR_JIT_STACKLIMIT && !scan->stack) {
		/* The 32 KiB that PCRE2 takes from the caller's stack do for all but long runs of a repeated group. */
		scan->stack = pcre2_jit_stack_create(1 << 15, MAX_JIT_STACK, NULL);
		pcre2_jit_stack_assign(scan->context, NULL, scan->stack);
		rc = pcre2_match(scan->regex->code, scan->classes + first, end - first, from - first, options,
		                 scan->match, scan->context);
	}
	return rc;
}

enum moe_status moe_regex_find(struct moe_regex_scan *scan, size_t first, size_t end, size_t from, bool more,
                               enum moe_regex_found *found, size_t *start, size_t *stop, struct moe_err *err)
{
	const PCRE2_SIZE *at = pcre2_get_ovector_pointer(scan->match);
	const uint32_t options = more ? PCRE2_PARTIAL_HARD : 0;
	PCRE2_UCHAR text[256];
	int rc = match(scan, first, end, from, options);
	bool late = ++scan->n_calls % LOOK_AT_CLOCK == 0 && is_late(scan);

	while (rc == PCRE2_ERROR_NOMATCH && end - from > STARTS && !late) {
		from += STARTS + 1;
		rc = match(scan, first, end, from, options);
		late = is_late(scan);
	}
	if (late)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: the pattern takes more than %.0f seconds on a piece of %zu characters",
		                   scan->regex->where, scan->seconds, end - first);
	*found = MOE_REGEX_NONE;
	*start = *stop = end;
	if (rc == PCRE2_ERROR_NOMATCH)
		return MOE_OK;
	if (rc == PCRE2_ERROR_PARTIAL) {
		*found = MOE_REGEX_OPEN;
		*start = first + at[0] > from ? first + at[0] : from;
		return MOE_OK;
	}
	if (rc < 0) {
		pcre2_get_error_message(rc, text, sizeof text);
		return moe_err_set(err, MOE_EFORMAT, "%s: the pattern fails on a piece of %zu characters: %s",
		                   scan->regex->where, end - first, (const char *)text);
	}
	if (more && first + at[0] == end)
		return MOE_OK;
	*found = MOE_REGEX_MATCH;
	*start = first + at[0];
	*stop = first + at[1];
	return MOE_OK;
}

enum moe_status moe_regex_next(struct moe_regex_scan *scan, size_t first, size_t end, size_t from, bool behind_match,
                               bool more, enum moe_regex_found *found, size_t *start, size_t *stop,
                               struct moe_err *err)
{
	enum moe_status status = moe_regex_find(scan, first, end, from, more, found, start, stop, err);

	if (status || *found != MOE_REGEX_MATCH || !behind_match || *start != from || *stop != from)
		return status;
	if (from + more < end)
		return moe_regex_find(scan, first, end, from + 1, more, found, start, stop, err);
	*found = MOE_REGEX_NONE;
	*start = *stop = end;
	return MOE_OK;
}

void moe_regex_finish(struct moe_regex_scan *scan)
{
	if (!scan)
		return;
	pcre2_match_data_free(scan->match);
	pcre2_match_context_free(scan->context);
	pcre2_jit_stack_free(scan->stack);
	free(scan->classes);
	free(scan);
}
