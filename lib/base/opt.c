/* The parser of option tables. */
#include "base/opt.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define MAX_SUGGEST_DISTANCE 2
#define MAX_NAME 64

/* An option found on the command line. */
struct found {
	const struct moe_opt *opt;
	char *base;          /* the struct its field is in */
	bool off;            /* given as --no-NAME */
	char shown[MAX_NAME + 8];   /* as messages call it */
};

static bool is_option(const struct moe_opt *opt) { return opt->kind != MOE_OPT_KIND_GROUP; }

static bool takes_value(const struct moe_opt *opt) { return opt->kind != MOE_OPT_KIND_FLAG; }

/* Optimal string alignment of two short names (insertion, deletion, exchange, swap of neighbours). */
static int name_distance(const char *a, const char *b)
{
	int rows[3][MAX_NAME + 1];
	int n_a = (int)strlen(a), n_b = (int)strlen(b);

	if (n_a > MAX_NAME || n_b > MAX_NAME)
		return INT_MAX;
	for (int j = 0; j <= n_b; j++)
		rows[0][j] = j;
	for (int i = 1; i <= n_a; i++) {
		int *now = rows[i % 3], *before = rows[(i + 2) % 3], *earlier = rows[(i + 1) % 3];

		now[0] = i;
		for (int j = 1; j <= n_b; j++) {
			int best = before[j - 1] + (a[i - 1] != b[j - 1]);

			best = before[j] + 1 < best ? before[j] + 1 : best;
			best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && earlier[j - 2] + 1 < best)
				best = earlier[j - 2] + 1;
			now[j] = best;
		}
	}
	return rows[n_a % 3][n_b];
}

/* Calls visit(long name, option, table, off) for every long name, --no-NAME included, until it returns true. */
struct visit {
	bool (*each)(struct visit *visit, const char *name, const struct moe_opt *opt, size_t table, bool off);
	const char *wanted;
	size_t n_wanted;
	const struct moe_opt *opt;
	size_t table;
	bool off, exact;
	int n_matches, distance;
	char best[MAX_NAME + 8], other[MAX_NAME + 8];
};

static void visit_names(const struct moe_opt *const *tables, struct visit *visit)
{
	char negated[MAX_NAME + 8];

	for (size_t t = 0; tables[t]; t++)
		for (const struct moe_opt *opt = tables[t]; opt->kind != MOE_OPT_KIND_END; opt++) {
			if (!is_option(opt) || !opt->name)
				continue;
			if (visit->each(visit, opt->name, opt, t, false))
				return;
			snprintf(negated, sizeof negated, "no-%s", opt->name);
			if (opt->negated && visit->each(visit, negated, opt, t, true))
				return;
		}
}

static bool match_name(struct visit *visit, const char *name, const struct moe_opt *opt, size_t table, bool off)
{
	if (strncmp(name, visit->wanted, visit->n_wanted) != 0)
		return false;
	visit->exact = strlen(name) == visit->n_wanted;
	if (visit->n_matches == 1)
		snprintf(visit->other, sizeof visit->other, "%s", name);
	if (visit->n_matches == 0 || visit->exact) {
		snprintf(visit->best, sizeof visit->best, "%s", name);
		visit->opt = opt;
		visit->table = table;
		visit->off = off;
	}
	visit->n_matches++;
	return visit->exact;
}

static bool match_nearest(struct visit *visit, const char *name, const struct moe_opt *opt, size_t table, bool off)
{
	int distance = name_distance(visit->wanted, name);

	(void)table;
	(void)off;
	if (distance < visit->distance && opt->help) {
		visit->distance = distance;
		snprintf(visit->best, sizeof visit->best, "%s", name);
	}
	return false;
}

static enum moe_status unknown_name(const struct moe_opt *const *tables, const char *name, struct moe_err *err)
{
	struct visit visit = {.each = match_nearest, .wanted = name, .distance = MAX_SUGGEST_DISTANCE + 1};

	visit_names(tables, &visit);
	/* A name as short as the distance is near everything. */
	if (visit.distance <= MAX_SUGGEST_DISTANCE && (size_t)visit.distance < strlen(name))
		return moe_err_set(err, MOE_EUSAGE, "unknown option '--%s'; did you mean '--%s'?", name, visit.best);
	return moe_err_set(err, MOE_EUSAGE, "unknown option '--%s'", name);
}

static enum moe_status find_long(const struct moe_opt *const *tables, void *const *bases, const char *text, size_t n,
                                 struct found *found, struct moe_err *err)
{
	struct visit visit = {.each = match_name, .wanted = text, .n_wanted = n};
	char name[MAX_NAME + 8];

	snprintf(name, sizeof name, "%.*s", (int)(n < MAX_NAME ? n : MAX_NAME), text);
	visit_names(tables, &visit);
	if (visit.n_matches == 0)
		return unknown_name(tables, name, err);
	if (visit.n_matches > 1 && !visit.exact)
		return moe_err_set(err, MOE_EUSAGE, "option '--%s' could be '--%s' or '--%s'", name, visit.best,
		                   visit.other);
	found->opt = visit.opt;
	found->base = bases[visit.table];
	found->off = visit.off;
	snprintf(found->shown, sizeof found->shown, "--%.*s", MAX_NAME, visit.best);
	return MOE_OK;
}

static enum moe_status find_letter(const struct moe_opt *const *tables, void *const *bases, char letter,
                                   struct found *found, struct moe_err *err)
{
	for (size_t t = 0; tables[t]; t++)
		for (const struct moe_opt *opt = tables[t]; opt->kind != MOE_OPT_KIND_END; opt++)
			if (is_option(opt) && opt->letter == letter) {
				found->opt = opt;
				found->base = bases[t];
				found->off = false;
				snprintf(found->shown, sizeof found->shown, "-%c", letter);
				return MOE_OK;
			}
	return moe_err_set(err, MOE_EUSAGE, "unknown option '-%c'", letter);
}

static enum moe_status bad_value(const struct found *found, const char *value, const char *what, struct moe_err *err)
{
	return moe_err_set(err, MOE_EUSAGE, "option %s: '%s' is %s", found->shown, value, what);
}

static enum moe_status out_of_range(const struct found *found, const char *value, struct moe_err *err)
{
	double min = found->opt->min, max = found->opt->max;

	if (found->opt->kind == MOE_OPT_KIND_F64)
		return moe_err_set(err, MOE_EUSAGE, "option %s: %s is out of range %.15g..%.15g", found->shown, value,
		                   min, max);
	return moe_err_set(err, MOE_EUSAGE, "option %s: %s is out of range %jd..%jd", found->shown, value,
	                   (intmax_t)min, max >= 0x1p63 ? (intmax_t)INT64_MAX : (intmax_t)max);
}

/* min == max == 0 means any value. A bound at the edge of the type is not worth naming where it is not passed. */
static enum moe_status check_range(const struct found *found, double v, const char *value, double edge,
                                   struct moe_err *err)
{
	double min = found->opt->min, max = found->opt->max;

	if ((min == 0 && max == 0) || (v >= min && v <= max))
		return MOE_OK;
	if (max >= edge && v < min)
		return moe_err_set(err, MOE_EUSAGE, "option %s: %s is less than %.15g", found->shown, value, min);
	return out_of_range(found, value, err);
}

/* Is it a whole number in decimal, however large? */
static bool is_whole(const char *text)
{
	size_t sign = *text == '-' || *text == '+';

	return text[sign] && strspn(text + sign, "0123456789") == strlen(text + sign);
}

static enum moe_status store_int(const struct found *found, void *field, const char *value, struct moe_err *err)
{
	bool narrow = found->opt->kind == MOE_OPT_KIND_INT;
	enum moe_status status;
	int64_t v;

	if (!moe_parse_i64(moe_str_of(value), &v)) {
		if (!is_whole(value))
			return bad_value(found, value, "not a whole number", err);
		/* Beyond 64 bits. */
		if (found->opt->min == 0 && found->opt->max == 0)
			return bad_value(found, value, "too large", err);
		return *value == '-' ? check_range(found, -0x1p64, value, narrow ? INT32_MAX : 0x1p61, err)
		                     : out_of_range(found, value, err);
	}
	status = check_range(found, (double)v, value, narrow ? INT32_MAX : 0x1p61, err);
	if (status)
		return status;
	if (narrow && (v < INT32_MIN || v > INT32_MAX))
		return bad_value(found, value, "too large", err);
	if (narrow)
		*(int32_t *)field = (int32_t)v;
	else
		*(int64_t *)field = v;
	return MOE_OK;
}

static enum moe_status store_f64(const struct found *found, double *field, const char *value, struct moe_err *err)
{
	enum moe_status status;
	double v;

	if (!moe_parse_f64(moe_str_of(value), &v))
		return bad_value(found, value, "not a number", err);
	status = check_range(found, v, value, 1e300, err);
	if (!status)
		*field = v;
	return status;
}

static enum moe_status store_word(const struct found *found, int32_t *field, const char *value, struct moe_err *err)
{
	struct moe_str rest = moe_str_of(found->opt->words), word;
	char listed[600] = "";
	size_t n = 0;

	for (int32_t i = 0; moe_str_next(&rest, '|', &word); i++) {
		if (moe_str_eq(word, value)) {
			*field = i;
			return MOE_OK;
		}
		if (n < sizeof listed)
			n += (size_t)snprintf(listed + n, sizeof listed - n, "%s%.*s", i ? ", " : "", (int)word.n,
			                      word.p);
	}
	return moe_err_set(err, MOE_EUSAGE, "option %s: '%s' is not one of %s", found->shown, value, listed);
}

static enum moe_status store_item(struct moe_opt_list *list, const char *value, struct moe_err *err)
{
	const char **items = reallocarray(list->items, (size_t)list->n + 1, sizeof *items);

	if (!items)
		return moe_err_nomem(err, ((size_t)list->n + 1) * sizeof *items, "options");
	items[list->n++] = value;
	list->items = items;
	return MOE_OK;
}

static enum moe_status store(const struct found *found, const char *value, struct moe_err *err)
{
	void *field = found->base + found->opt->offset;
	uint64_t n_bytes;

	switch (found->opt->kind) {
	case MOE_OPT_KIND_FLAG:
		*(bool *)field = !found->off;
		return MOE_OK;
	case MOE_OPT_KIND_STR:
		*(const char **)field = value;
		return MOE_OK;
	case MOE_OPT_KIND_INT:
	case MOE_OPT_KIND_I64:
		return store_int(found, field, value, err);
	case MOE_OPT_KIND_F64:
		return store_f64(found, field, value, err);
	case MOE_OPT_KIND_BYTES:
		if (!moe_parse_bytes(moe_str_of(value), &n_bytes))
			return bad_value(found, value, "not a number of bytes (such as 512, 64K or 5G)", err);
		*(uint64_t *)field = n_bytes;
		return MOE_OK;
	case MOE_OPT_KIND_LIST:
		return store_item(field, value, err);
	case MOE_OPT_KIND_ENUM:
		return store_word(found, field, value, err);
	case MOE_OPT_KIND_GROUP:
	case MOE_OPT_KIND_END:
		break;
	}
	return moe_err_set(err, MOE_EUSAGE, "option %s has no kind", found->shown);
}

/* argv[at] is "--name" or "--name=value"; *used is how many words it took. */
static enum moe_status parse_long(int argc, char **argv, int at, const struct moe_opt *const *tables,
                                  void *const *bases, int *used, struct moe_err *err)
{
	const char *text = argv[at] + 2, *equals = strchr(text, '='), *value = equals ? equals + 1 : NULL;
	struct found found = {0};
	enum moe_status status;

	*used = 1;
	status = find_long(tables, bases, text, equals ? (size_t)(equals - text) : strlen(text), &found, err);
	if (status)
		return status;
	if (!takes_value(found.opt) && value)
		return moe_err_set(err, MOE_EUSAGE, "option '%s' takes no value", found.shown);
	if (found.opt->optional && !value)
		return store(&found, "", err);
	if (takes_value(found.opt) && !value) {
		if (at + 1 >= argc)
			return moe_err_set(err, MOE_EUSAGE, "option '%s' needs a value", found.shown);
		value = argv[at + 1];
		*used = 2;
	}
	return store(&found, value, err);
}

/* argv[at] is "-abc", "-k3" or "-k". */
static enum moe_status parse_letters(int argc, char **argv, int at, const struct moe_opt *const *tables,
                                     void *const *bases, int *used, struct moe_err *err)
{
	*used = 1;
	for (const char *p = argv[at] + 1; *p; p++) {
		struct found found = {0};
		enum moe_status status = find_letter(tables, bases, *p, &found, err);

		if (status)
			return status;
		if (!takes_value(found.opt)) {
			status = store(&found, NULL, err);
			if (status)
				return status;
			continue;
		}
		if (p[1])
			return store(&found, p + 1, err);
		if (at + 1 >= argc)
			return moe_err_set(err, MOE_EUSAGE, "option '%s' needs a value", found.shown);
		*used = 2;
		return store(&found, argv[at + 1], err);
	}
	return MOE_OK;
}

enum moe_status moe_opt_parse(int argc, char **argv, const struct moe_opt *const *tables, void *const *bases,
                              int *first, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	char **operands = malloc(((size_t)argc + 1) * sizeof *operands);
	int n_operands = 0, n_options = 1, used;

	if (!operands)
		return moe_err_nomem(err, ((size_t)argc + 1) * sizeof *operands, "operands");
	/* Words of options move forward over operands already set aside, so nothing is overwritten. */
	for (int at = 1; !status && at < argc; at += used) {
		char *word = argv[at];

		used = 1;
		if (word[0] != '-' || word[1] == '\0') {
			operands[n_operands++] = word;
			continue;
		}
		if (strcmp(word, "--") == 0) {
			argv[n_options++] = word;
			while (++at < argc)
				operands[n_operands++] = argv[at];
			break;
		}
		status = word[1] == '-' ? parse_long(argc, argv, at, tables, bases, &used, err)
		                        : parse_letters(argc, argv, at, tables, bases, &used, err);
		for (int i = 0; !status && i < used; i++)
			argv[n_options++] = argv[at + i];
	}
	if (!status) {
		memcpy(argv + n_options, operands, (size_t)n_operands * sizeof *operands);
		*first = n_options;
	}
	free(operands);
	return status;
}

void moe_opt_free(const struct moe_opt *const *tables, void *const *bases)
{
	for (size_t t = 0; tables[t]; t++)
		for (const struct moe_opt *opt = tables[t]; opt->kind != MOE_OPT_KIND_END; opt++)
			if (opt->kind == MOE_OPT_KIND_LIST) {
				struct moe_opt_list *list = (struct moe_opt_list *)((char *)bases[t] + opt->offset);

				free(list->items);
				*list = (struct moe_opt_list){0};
			}
}
