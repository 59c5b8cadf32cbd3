/* Options as one static table: parsing, --help, and the words of shell completion all come from it. */
#ifndef MOE_BASE_OPT_H
#define MOE_BASE_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/str.h"

enum moe_opt_kind {
	MOE_OPT_KIND_END,
	MOE_OPT_KIND_GROUP,   /* a heading in --help */
	MOE_OPT_KIND_FLAG,    /* bool: set to true; with `negated` also --no-NAME, which sets false */
	MOE_OPT_KIND_STR,     /* const char *: a view of argv */
	MOE_OPT_KIND_INT,     /* int32_t within [min, max] */
	MOE_OPT_KIND_I64,     /* int64_t within [min, max] */
	MOE_OPT_KIND_F64,     /* double within [min, max] */
	MOE_OPT_KIND_BYTES,   /* uint64_t: 512, 64K, 5G, 80GiB */
	MOE_OPT_KIND_LIST,    /* struct moe_opt_list: may be given several times */
	MOE_OPT_KIND_ENUM,    /* int32_t: index of the word in `words` ("a|b|c") */
};

/* What a value is, so that shells complete it. */
enum moe_opt_value { MOE_VALUE_PLAIN, MOE_VALUE_FILE, MOE_VALUE_DIR };

struct moe_opt {
	enum moe_opt_kind kind;
	char letter;            /* 0: none */
	const char *name;       /* without "--" */
	const char *value;      /* "N", "FILE"; NULL for flags */
	size_t offset;          /* of the field in the config struct */
	const char *help;       /* one line, default in brackets; NULL hides the option from --help and completion */
	const char *words;      /* ENUM: "a|b|c"; STR: the same only as completion words, or NULL */
	double min, max;        /* both 0: any value */
	enum moe_opt_value takes;
	bool negated;
	bool optional;          /* STR: the value, if there is one, stands behind "="; without one the field is "" */
	const char *(*word_at)(size_t i);   /* STR: words it takes that only the program can list; NULL past the end */
};

/* Values of an option given several times; views of argv. */
struct moe_opt_list {
	const char **items;
	int n;
};

#define MOE_OPT_GROUP(text) { .kind = MOE_OPT_KIND_GROUP, .help = text }
#define MOE_OPT_FLAG(l, n, type, field, h) \
	{ .kind = MOE_OPT_KIND_FLAG, .letter = l, .name = n, .offset = offsetof(type, field), .help = h }
#define MOE_OPT_STR(l, n, v, type, field, h) \
	{ .kind = MOE_OPT_KIND_STR, .letter = l, .name = n, .value = v, .offset = offsetof(type, field), .help = h }
#define MOE_OPT_LISTED(l, n, v, list, type, field, h) \
	{ .kind = MOE_OPT_KIND_STR, .letter = l, .name = n, .value = v, .offset = offsetof(type, field), .help = h, \
	  .word_at = list }
#define MOE_OPT_OPTIONAL(n, v, list, type, field, h) \
	{ .kind = MOE_OPT_KIND_STR, .name = n, .value = v, .offset = offsetof(type, field), .help = h, \
	  .word_at = list, .optional = true }
#define MOE_OPT_FILE(l, n, v, type, field, h) \
	{ .kind = MOE_OPT_KIND_STR, .letter = l, .name = n, .value = v, .offset = offsetof(type, field), .help = h, \
	  .takes = MOE_VALUE_FILE }
#define MOE_OPT_DIR(l, n, v, type, field, h) \
	{ .kind = MOE_OPT_KIND_STR, .letter = l, .name = n, .value = v, .offset = offsetof(type, field), .help = h, \
	  .takes = MOE_VALUE_DIR }
#define MOE_OPT_FILES(l, n, v, type, field, h) \
	{ .kind = MOE_OPT_KIND_LIST, .letter = l, .name = n, .value = v, .offset = offsetof(type, field), .help = h, \
	  .takes = MOE_VALUE_FILE }
#define MOE_OPT_INT(l, n, v, type, field, lo, hi, h) \
	{ .kind = MOE_OPT_KIND_INT, .letter = l, .name = n, .value = v, .offset = offsetof(type, field), .help = h, \
	  .min = lo, .max = hi }
#define MOE_OPT_I64(l, n, v, type, field, lo, hi, h) \
	{ .kind = MOE_OPT_KIND_I64, .letter = l, .name = n, .value = v, .offset = offsetof(type, field), .help = h, \
	  .min = lo, .max = hi }
#define MOE_OPT_F64(l, n, v, type, field, lo, hi, h) \
	{ .kind = MOE_OPT_KIND_F64, .letter = l, .name = n, .value = v, .offset = offsetof(type, field), .help = h, \
	  .min = lo, .max = hi }
#define MOE_OPT_BYTES(l, n, v, type, field, h) \
	{ .kind = MOE_OPT_KIND_BYTES, .letter = l, .name = n, .value = v, .offset = offsetof(type, field), .help = h }
#define MOE_OPT_LIST(l, n, v, type, field, h) \
	{ .kind = MOE_OPT_KIND_LIST, .letter = l, .name = n, .value = v, .offset = offsetof(type, field), .help = h }
#define MOE_OPT_ENUM(l, n, w, type, field, h) \
	{ .kind = MOE_OPT_KIND_ENUM, .letter = l, .name = n, .value = w, .words = w, .offset = offsetof(type, field), \
	  .help = h }
#define MOE_OPT_END { .kind = MOE_OPT_KIND_END }

/* Parses argv[1..] as getopt_long does (options and operands may be mixed, "--" ends options, unambiguous prefixes
 * of long names are taken). `tables` is a NULL-terminated list of tables; bases[i] is the struct that tables[i]
 * fills. Operands are moved to the end of argv; *first is the index of the first. Misuse is MOE_EUSAGE with a
 * sentence; lists are allocated and freed by moe_opt_free. */
MOE_MUST_USE enum moe_status moe_opt_parse(int argc, char **argv, const struct moe_opt *const *tables,
                                           void *const *bases, int *first, struct moe_err *err);
void moe_opt_free(const struct moe_opt *const *tables, void *const *bases);

/* The option lines of --help, wrapped at 79 columns. */
void moe_opt_usage(const struct moe_opt *const *tables, FILE *to);

/* One line per option for completion scripts and tests: "letter TAB name TAB value TAB kind TAB words TAB help";
 * kind: flag value file dir ask (moe_opt_words tells); words are separated by spaces. A negated flag gives a second
 * line for no-NAME. Empty fields are "-". */
void moe_opt_complete(const struct moe_opt *const *tables, FILE *to);

/* Appends "name=value" and a newline for every option that has a value, but for those whose names are in `skip`, a
 * NULL-terminated list: what of the command line bears on the result. */
void moe_opt_values(const struct moe_opt *const *tables, void *const *bases, const char *const *skip,
                    struct moe_buf *out);

/* The words that option --NAME takes, one a line; none where they are not listed. */
void moe_opt_words(const struct moe_opt *const *tables, const char *name, FILE *to);

#endif
