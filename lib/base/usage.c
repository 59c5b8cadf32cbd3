/* Option tables as text: --help for people, lines for shells and tests. */
#include "base/opt.h"

#include <string.h>

#include "base/str.h"

#define HELP_COLUMN 28
#define LINE_WIDTH 79

/* Cells that text takes on a terminal, near enough: bytes that do not continue a UTF-8 sequence. */
static int text_width(const char *p, size_t n)
{
	int width = 0;

	for (size_t i = 0; i < n; i++)
		width += ((unsigned char)p[i] & 0xc0) != 0x80;
	return width;
}

/* Words from HELP_COLUMN on, the cursor standing at column `at`. */
static void print_help(struct moe_str help, int at, FILE *to)
{
	struct moe_str word;
	bool first = true;

	if (at > HELP_COLUMN - 2) {
		fputc('\n', to);
		at = 0;
	}
	fprintf(to, "%*s", HELP_COLUMN - at, "");
	at = HELP_COLUMN;
	while (moe_str_next(&help, ' ', &word)) {
		int width = text_width(word.p, word.n);

		if (!first && at + 1 + width > LINE_WIDTH) {
			fprintf(to, "\n%*s", HELP_COLUMN, "");
			at = HELP_COLUMN;
			first = true;
		}
		fprintf(to, "%s%.*s", first ? "" : " ", (int)word.n, word.p);
		at += !first + width;
		first = false;
	}
	fputc('\n', to);
}

static void print_option(const struct moe_opt *opt, FILE *to)
{
	int at;

	if (opt->letter)
		at = fprintf(to, "  -%c%s", opt->letter, opt->name ? ", " : "");
	else
		at = fprintf(to, "      ");
	if (opt->name)
		at += fprintf(to, "--%s%s", opt->negated ? "[no-]" : "", opt->name);
	if (opt->value)
		at += fprintf(to, opt->optional ? "[=%s]" : " %s", opt->value);
	print_help(moe_str_of(opt->help), at, to);
}

void moe_opt_usage(const struct moe_opt *const *tables, FILE *to)
{
	bool any = false;

	for (size_t t = 0; tables[t]; t++)
		for (const struct moe_opt *opt = tables[t]; opt->kind != MOE_OPT_KIND_END; opt++) {
			if (!opt->help)
				continue;
			if (opt->kind == MOE_OPT_KIND_GROUP)
				fprintf(to, "%s%s:\n", any ? "\n" : "", opt->help);
			else
				print_option(opt, to);
			any = true;
		}
}

static void print_words(const struct moe_opt *opt, FILE *to)
{
	if (!opt->words)
		fputc('-', to);
	for (const char *p = opt->words; p && *p; p++)
		fputc(*p == '|' ? ' ' : *p, to);
}

static void print_line(const struct moe_opt *opt, bool off, FILE *to)
{
	static const char *const kinds[] = {
		[MOE_VALUE_PLAIN] = "value", [MOE_VALUE_FILE] = "file", [MOE_VALUE_DIR] = "dir",
	};

	fprintf(to, "%c\t%s%s\t%s\t%s\t", opt->letter && !off ? opt->letter : '-', off ? "no-" : "",
	        opt->name ? opt->name : "-", opt->value ? opt->value : "-",
	        opt->kind == MOE_OPT_KIND_FLAG || opt->optional ? "flag" : opt->word_at ? "ask" : kinds[opt->takes]);
	print_words(opt, to);
	fprintf(to, "\t%s\n", opt->help);
}

void moe_opt_complete(const struct moe_opt *const *tables, FILE *to)
{
	for (size_t t = 0; tables[t]; t++)
		for (const struct moe_opt *opt = tables[t]; opt->kind != MOE_OPT_KIND_END; opt++) {
			if (opt->kind == MOE_OPT_KIND_GROUP || !opt->help)
				continue;
			print_line(opt, false, to);
			if (opt->negated)
				print_line(opt, true, to);
		}
}

void moe_opt_words(const struct moe_opt *const *tables, const char *name, FILE *to)
{
	struct moe_str rest, word;

	for (size_t t = 0; tables[t]; t++)
		for (const struct moe_opt *opt = tables[t]; opt->kind != MOE_OPT_KIND_END; opt++) {
			if (!opt->name || strcmp(opt->name, name) != 0)
				continue;
			for (size_t i = 0; opt->word_at && opt->word_at(i); i++)
				fprintf(to, "%s\n", opt->word_at(i));
			rest = moe_str_of(opt->words ? opt->words : "");
			while (moe_str_next(&rest, '|', &word))
				fprintf(to, "%.*s\n", (int)word.n, word.p);
		}
}

static bool is_among(const char *const *list, const char *name)
{
	for (size_t i = 0; list[i]; i++)
		if (strcmp(list[i], name) == 0)
			return true;
	return false;
}

static void add_value(const struct moe_opt *opt, const void *field, struct moe_buf *out)
{
	if (opt->kind == MOE_OPT_KIND_LIST) {
		const struct moe_opt_list *list = field;

		for (int i = 0; i < list->n; i++)
			moe_buf_addf(out, "%s=%zu:%s\n", opt->name, strlen(list->items[i]), list->items[i]);
		return;
	}
	if (opt->kind == MOE_OPT_KIND_STR && !*(const char *const *)field)
		return;
	moe_buf_addf(out, "%s=", opt->name);
	if (opt->kind == MOE_OPT_KIND_STR)
		moe_buf_adds(out, *(const char *const *)field);
	else if (opt->kind == MOE_OPT_KIND_FLAG)
		moe_buf_adds(out, *(const bool *)field ? "1" : "0");
	else if (opt->kind == MOE_OPT_KIND_F64)
		moe_buf_add_f64(out, *(const double *)field);
	else if (opt->kind == MOE_OPT_KIND_I64)
		moe_buf_addf(out, "%jd", (intmax_t)*(const int64_t *)field);
	else if (opt->kind == MOE_OPT_KIND_BYTES)
		moe_buf_addf(out, "%ju", (uintmax_t)*(const uint64_t *)field);
	else
		moe_buf_addf(out, "%d", (int)*(const int32_t *)field);
	moe_buf_addc(out, '\n');
}

void moe_opt_values(const struct moe_opt *const *tables, void *const *bases, const char *const *skip,
                    struct moe_buf *out)
{
	for (size_t t = 0; tables[t]; t++)
		for (const struct moe_opt *opt = tables[t]; opt->kind != MOE_OPT_KIND_END; opt++)
			if (opt->kind != MOE_OPT_KIND_GROUP && !is_among(skip, opt->name))
				add_value(opt, (const char *)bases[t] + opt->offset, out);
}
