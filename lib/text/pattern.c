/* Recursive descent over the code points of a pattern. What is not known to mean the same to PCRE2 is refused. */
#include "text/pattern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/utf8.h"

enum {
	MAX_PATTERN = 1 << 16,   /* bytes; bounds the work of dividing */
	MAX_SETS = 4096,
	MAX_DEPTH = 100,
};

static enum moe_status parse_alternatives(struct moe_pattern *ps);
static enum moe_status parse_class(struct moe_pattern *ps, struct moe_charset *set);

static enum moe_status refuse(struct moe_pattern *ps, size_t at, const char *what)
{
	return moe_err_set(ps->err, MOE_EFORMAT, "%s: %s at character %zu of the pattern is not supported", ps->where,
	                   what, at + 1);
}

static enum moe_status add_item(struct moe_pattern *ps, int set, const char *syntax)
{
	if (ps->n_items == ps->cap_items) {
		size_t cap = ps->cap_items ? ps->cap_items * 2 : 64;
		struct moe_pattern_item *grown = realloc(ps->items, cap * sizeof *grown);
		if (!grown)
			return moe_err_nomem(ps->err, cap * sizeof *grown, "a pattern");
		ps->items = grown;
		ps->cap_items = cap;
	}
	ps->items[ps->n_items].set = set;
	snprintf(ps->items[ps->n_items++].syntax, sizeof ps->items->syntax, "%s", syntax);
	return MOE_OK;
}

static bool same_set(const struct moe_charset *a, const struct moe_charset *b)
{
	return a->n == b->n && (a->n == 0 || memcmp(a->ranges, b->ranges, a->n * sizeof *a->ranges) == 0);
}

/* Takes the set over, also on failure. */
static enum moe_status add_set(struct moe_pattern *ps, struct moe_charset *set)
{
	size_t i = 0;

	moe_charset_tidy(set);
	if (set->failed) {
		moe_charset_free(set);
		return moe_err_nomem(ps->err, 0, "a pattern's character class");
	}
	while (i < ps->n_sets && !same_set(&ps->sets[i], set))
		i++;
	if (i < ps->n_sets) {
		moe_charset_free(set);
		return add_item(ps, (int)i, "");
	}
	if (ps->n_sets == MAX_SETS) {
		moe_charset_free(set);
		return refuse(ps, ps->at, "one more character class, beyond 4096,");
	}
	if (ps->n_sets == ps->cap_sets) {
		size_t cap = ps->cap_sets ? ps->cap_sets * 2 : 32;
		struct moe_charset *grown = realloc(ps->sets, cap * sizeof *grown);
		if (!grown) {
			moe_charset_free(set);
			return moe_err_nomem(ps->err, cap * sizeof *grown, "a pattern");
		}
		ps->sets = grown;
		ps->cap_sets = cap;
	}
	ps->sets[ps->n_sets++] = *set;
	*set = (struct moe_charset){0};
	return add_item(ps, (int)i, "");
}

static enum moe_status add_code(struct moe_pattern *ps, uint32_t code)
{
	struct moe_charset set = {0};

	moe_charset_add(&set, code, code);
	if (ps->caseless)
		moe_charset_fold(&set);
	return add_set(ps, &set);
}

static bool looking_at(const struct moe_pattern *ps, const char *text)
{
	size_t i;

	for (i = 0; text[i]; i++) {
		if (ps->at + i >= ps->n || ps->codes[ps->at + i] != (uint8_t)text[i])
			return false;
	}
	return true;
}

static int hex_value(uint32_t c)
{
	if (c >= '0' && c <= '9')
		return (int)(c - '0');
	if ((c | 32) >= 'a' && (c | 32) <= 'f')
		return (int)((c | 32) - 'a' + 10);
	return -1;
}

/* At least one and at most max hexadecimal digits. */
static bool take_hex(struct moe_pattern *ps, int max, uint32_t *out)
{
	int n = 0;

	*out = 0;
	while (n < max && ps->at < ps->n && hex_value(ps->codes[ps->at]) >= 0) {
		*out = *out << 4 | (uint32_t)hex_value(ps->codes[ps->at++]);
		n++;
	}
	return n > 0 && *out <= MOE_CODE_MAX;
}

/* "{L}", "{^L}" behind \p (inverted: \P). */
static enum moe_status take_property(struct moe_pattern *ps, bool inverted, struct moe_charset *set)
{
	size_t start = ps->at, n = 0;
	char name[32], what[64];
	uint32_t mask;
	bool is_han;

	if (!looking_at(ps, "{"))
		return refuse(ps, start, "\\p without a name in braces");
	ps->at++;
	if (looking_at(ps, "^")) {
		inverted = !inverted;
		ps->at++;
	}
	while (ps->at < ps->n && ps->codes[ps->at] != '}' && n < sizeof name - 1 && ps->codes[ps->at] < 0x80)
		name[n++] = (char)ps->codes[ps->at++];
	name[n] = '\0';
	snprintf(what, sizeof what, "the property '%s'", name);
	mask = moe_unicode_category_mask(name, n);
	is_han = strcmp(name, "Han") == 0;
	if (!looking_at(ps, "}") || (mask == 0 && !is_han))
		return refuse(ps, start, what);
	ps->at++;
	if (is_han) {
		struct moe_charset han = {0};
		moe_charset_add_ranges(&han, moe_unicode_han, moe_unicode_n_han);
		if (inverted)
			moe_charset_invert(&han);
		moe_charset_add_ranges(set, han.ranges, han.n);
		set->failed |= han.failed;
		moe_charset_free(&han);
		return MOE_OK;
	}
	if (inverted)
		mask = ~mask & ((UINT32_C(1) << MOE_N_CATEGORIES) - 1);
	moe_charset_add_categories(set, mask);
	return MOE_OK;
}

/* One escape, ps->at behind the backslash. *single: it stands for one code point, which *code gets; otherwise it is
 * a class, added to set. */
static enum moe_status take_escape(struct moe_pattern *ps, struct moe_charset *set, bool *single, uint32_t *code)
{
	static const char letters[] = "ntrfvae", values[] = "\n\t\r\f\v\a\033";
	struct moe_charset part = {0};
	size_t start = ps->at;
	const char *hit;
	char what[32];
	uint32_t c;

	if (ps->at == ps->n)
		return refuse(ps, start, "a backslash at the end");
	c = ps->codes[ps->at++];
	*single = true;
	*code = c;
	if (c >= 0x80 || !((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z')))
		return MOE_OK;
	hit = strchr(letters, (int)c);
	if (hit) {
		*code = (uint8_t)values[hit - letters];
		return MOE_OK;
	}
	if (c == 'x' || c == 'u') {
		bool braces = c == 'x' && looking_at(ps, "{");
		ps->at += braces;
		if (!take_hex(ps, braces ? 6 : c == 'u' ? 4 : 2, code) || (braces && !looking_at(ps, "}")))
			return refuse(ps, start, "this hexadecimal escape");
		ps->at += braces;
		return MOE_OK;
	}
	*single = false;
	switch (c) {
	case 's': case 'S':
		moe_charset_add_ranges(&part, moe_unicode_space, moe_unicode_n_space);
		break;
	case 'd': case 'D':
		moe_charset_add_categories(&part, UINT32_C(1) << MOE_ND);
		break;
	case 'w': case 'W':
		moe_charset_add_ranges(&part, moe_unicode_word, moe_unicode_n_word);
		break;
	case 'h': case 'H':
		moe_charset_add(&part, '0', '9');
		moe_charset_add(&part, 'A', 'F');
		moe_charset_add(&part, 'a', 'f');
		break;
	case 'p': case 'P':
		return take_property(ps, c == 'P', set);
	default:
		snprintf(what, sizeof what, "the escape '\\%c'", (char)c);
		return refuse(ps, start, what);
	}
	if (c < 'a')
		moe_charset_invert(&part);
	moe_charset_add_ranges(set, part.ranges, part.n);
	set->failed |= part.failed;
	moe_charset_free(&part);
	return MOE_OK;
}

/* One member of a class that may begin or end a range. */
static enum moe_status take_member(struct moe_pattern *ps, struct moe_charset *set, bool *single, uint32_t *code)
{
	if (ps->codes[ps->at] == '\\') {
		ps->at++;
		if (looking_at(ps, "b")) {
			ps->at++;
			*single = true;
			*code = '\b';
			return MOE_OK;
		}
		return take_escape(ps, set, single, code);
	}
	*single = true;
	*code = ps->codes[ps->at++];
	return MOE_OK;
}

/* The members up to ']' or "&&", which is left. */
static enum moe_status parse_members(struct moe_pattern *ps, struct moe_charset *set, bool first)
{
	while (ps->at < ps->n && !looking_at(ps, "&&")) {
		size_t start = ps->at;
		uint32_t low, high;
		bool single;
		enum moe_status status;

		if (ps->codes[ps->at] == ']' && !first)
			return MOE_OK;
		first = false;
		if (looking_at(ps, "[:"))
			return refuse(ps, start, "a class by name ('[:')");
		if (ps->codes[ps->at] == '[') {
			struct moe_charset inner = {0};
			ps->at++;
			status = parse_class(ps, &inner);
			moe_charset_add_ranges(set, inner.ranges, inner.n);
			set->failed |= inner.failed;
			moe_charset_free(&inner);
			if (status)
				return status;
			continue;
		}
		status = take_member(ps, set, &single, &low);
		if (status)
			return status;
		high = low;
		if (looking_at(ps, "-") && ps->at + 1 < ps->n && ps->codes[ps->at + 1] != ']') {
			bool single_high = false;
			if (!single)
				return refuse(ps, start, "a range that begins with a class");
			ps->at++;
			if (ps->codes[ps->at] == '[')
				return refuse(ps, start, "a range that ends with a class");
			status = take_member(ps, set, &single_high, &high);
			if (status)
				return status;
			if (!single_high || high < low)
				return refuse(ps, start, "a range that ends before it begins, or with a class,");
		}
		if (single)
			moe_charset_add(set, low, high);
	}
	return MOE_OK;
}

/* A class behind its '[', through its ']'. */
static enum moe_status parse_class(struct moe_pattern *ps, struct moe_charset *set)
{
	size_t start = ps->at;
	bool inverted = looking_at(ps, "^"), first = true;
	enum moe_status status;

	if (++ps->depth > MAX_DEPTH)
		return refuse(ps, start, "a class nested deeper than 100");
	ps->at += inverted;
	status = parse_members(ps, set, first);
	if (status)
		return status;
	while (looking_at(ps, "&&")) {
		struct moe_charset right = {0};
		ps->at += 2;
		status = parse_members(ps, &right, false);
		moe_charset_intersect(set, &right);
		moe_charset_free(&right);
		if (status)
			return status;
	}
	if (!looking_at(ps, "]"))
		return refuse(ps, start, "a class without its ']'");
	ps->at++;
	ps->depth--;
	if (ps->caseless)
		moe_charset_fold(set);
	if (inverted)
		moe_charset_invert(set);
	return MOE_OK;
}

/* Behind '(': a group through its ')'. (?i) alone holds to the end of the group around it. */
static enum moe_status parse_group(struct moe_pattern *ps)
{
	static const char *const openings[] = {"?:", "?=", "?!", "?<=", "?<!", "?>"};
	size_t start = ps->at;
	bool caseless = ps->caseless;
	const char *opening = NULL;
	char syntax[8];
	enum moe_status status;

	for (size_t i = 0; i < sizeof openings / sizeof *openings && !opening; i++) {
		if (looking_at(ps, openings[i]))
			opening = openings[i];
	}
	if (opening) {
		ps->at += strlen(opening);
	} else if (looking_at(ps, "?i:") || looking_at(ps, "?-i:")) {
		ps->caseless = ps->codes[ps->at + 1] == 'i';
		ps->at += ps->caseless ? 3 : 4;
		opening = "?:";
	} else if (looking_at(ps, "?i)") || looking_at(ps, "?-i)")) {
		ps->caseless = ps->codes[ps->at + 1] == 'i';
		ps->at += ps->caseless ? 3 : 4;
		if (++ps->depth > MAX_DEPTH)
			return refuse(ps, start, "a group nested deeper than 100");
		/* As if the rest of the group around it were a group of its own, alternatives included. */
		status = add_item(ps, -1, "(?:");
		if (!status)
			status = parse_alternatives(ps);
		ps->depth--;
		ps->caseless = caseless;
		return status ? status : add_item(ps, -1, ")");
	} else if (looking_at(ps, "?")) {
		return refuse(ps, start, "this kind of group");
	} else {
		opening = "?:";
	}
	if (++ps->depth > MAX_DEPTH)
		return refuse(ps, start, "a group nested deeper than 100");
	snprintf(syntax, sizeof syntax, "(%s", opening);
	status = add_item(ps, -1, syntax);
	if (!status)
		status = parse_alternatives(ps);
	if (status)
		return status;
	if (!looking_at(ps, ")"))
		return refuse(ps, start, "a group without its ')'");
	ps->at++;
	ps->depth--;
	ps->caseless = caseless;
	return add_item(ps, -1, ")");
}

/* A number of at most five digits; -1: none. */
static int take_count(struct moe_pattern *ps)
{
	int n = -1;

	for (int i = 0; i < 5 && ps->at < ps->n && ps->codes[ps->at] >= '0' && ps->codes[ps->at] <= '9'; i++)
		n = (n < 0 ? 0 : n * 10) + (int)(ps->codes[ps->at++] - '0');
	return n;
}

/* "{n}", "{n,}", "{n,m}" or "{,m}"; *is false, and nothing taken, where the brace stands for itself. */
static enum moe_status take_braces(struct moe_pattern *ps, bool *is)
{
	size_t start = ps->at;
	char syntax[24];
	int low, high;

	ps->at++;
	low = take_count(ps);
	high = low;
	if (looking_at(ps, ",")) {
		ps->at++;
		high = take_count(ps);
		*is = low >= 0 || high >= 0;
		snprintf(syntax, sizeof syntax, high < 0 ? "{%d,}" : "{%d,%d}", low < 0 ? 0 : low, high);
	} else {
		*is = low >= 0;
		snprintf(syntax, sizeof syntax, "{%d}", low);
	}
	*is = *is && looking_at(ps, "}");
	if (!*is) {
		ps->at = start;
		return MOE_OK;
	}
	ps->at++;
	if (looking_at(ps, "+") || (low == high && looking_at(ps, "?")))
		return refuse(ps, start, "a count in braces followed by '+' or '?'");
	return add_item(ps, -1, syntax);
}

static enum moe_status take_quantifier(struct moe_pattern *ps)
{
	bool braces = false;
	char one[2] = "";
	enum moe_status status;

	if (ps->at == ps->n)
		return MOE_OK;
	if (looking_at(ps, "{")) {
		status = take_braces(ps, &braces);
		if (status || !braces)
			return status;
	} else if (looking_at(ps, "*") || looking_at(ps, "+") || looking_at(ps, "?")) {
		one[0] = (char)ps->codes[ps->at++];
		status = add_item(ps, -1, one);
		if (status)
			return status;
	} else {
		return MOE_OK;
	}
	if (looking_at(ps, "?") || (!braces && looking_at(ps, "+"))) {
		one[0] = (char)ps->codes[ps->at++];
		status = add_item(ps, -1, one);
		if (status)
			return status;
	}
	if (looking_at(ps, "*") || looking_at(ps, "+") || looking_at(ps, "?"))
		return refuse(ps, ps->at, "a quantifier of a quantifier");
	return MOE_OK;
}

static enum moe_status add_newline_test(struct moe_pattern *ps, bool behind)
{
	enum moe_status status = add_item(ps, -1, behind ? "(?:\\A|(?<=" : "(?=\\z|");
	bool caseless = ps->caseless;

	ps->caseless = false;
	if (!status)
		status = add_code(ps, '\n');
	ps->caseless = caseless;
	return status ? status : add_item(ps, -1, behind ? ")(?!\\z))" : ")");
}

static enum moe_status parse_atom(struct moe_pattern *ps)
{
	size_t start = ps->at;
	struct moe_charset set = {0};
	uint32_t c = ps->codes[ps->at++], code;
	bool single;
	enum moe_status status;

	switch (c) {
	case '(':
		return parse_group(ps);
	case '^':
		return add_newline_test(ps, true);
	case '$':
		return add_newline_test(ps, false);
	case '*': case '+': case '?':
		return refuse(ps, start, "a quantifier of nothing");
	case '.':
		moe_charset_add(&set, '\n', '\n');
		moe_charset_invert(&set);
		return add_set(ps, &set);
	case '[':
		status = parse_class(ps, &set);
		break;
	case '\\':
		if (looking_at(ps, "A") || looking_at(ps, "z")) {
			ps->at++;
			return add_item(ps, -1, ps->codes[ps->at - 1] == 'A' ? "\\A" : "\\z");
		}
		status = take_escape(ps, &set, &single, &code);
		if (!status && single)
			return add_code(ps, code);
		if (!status && ps->caseless)
			moe_charset_fold(&set);
		break;
	default:
		return add_code(ps, c);
	}
	if (status) {
		moe_charset_free(&set);
		return status;
	}
	return add_set(ps, &set);
}

/* Up to the end or an unmatched ')'. */
static enum moe_status parse_alternatives(struct moe_pattern *ps)
{
	while (ps->at < ps->n && ps->codes[ps->at] != ')') {
		enum moe_status status;
		if (ps->codes[ps->at] == '|') {
			ps->at++;
			status = add_item(ps, -1, "|");
		} else {
			status = parse_atom(ps);
			if (!status)
				status = take_quantifier(ps);
		}
		if (status)
			return status;
	}
	return MOE_OK;
}

enum moe_status moe_pattern_parse(struct moe_pattern *ps, const char *text, size_t n, bool literal, const char *where,
                                  struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	size_t used;

	*ps = (struct moe_pattern){.where = where, .err = err};
	if (n > MAX_PATTERN)
		return moe_err_set(err, MOE_EFORMAT, "%s: a pattern of %zu bytes, at most %d are supported", where, n,
		                   MAX_PATTERN);
	ps->codes = malloc((n + 1) * sizeof *ps->codes);
	if (!ps->codes)
		return moe_err_nomem(err, (n + 1) * sizeof *ps->codes, "a pattern");
	for (size_t i = 0; i < n; i += used ? used : 1)
		ps->codes[ps->n++] = moe_utf8_take((const uint8_t *)text + i, n - i, &used);
	for (size_t i = 0; literal && i < ps->n && !status; i++)
		status = add_code(ps, ps->codes[i]);
	if (literal || status)
		return status;
	status = parse_alternatives(ps);
	if (!status && ps->at < ps->n)
		return refuse(ps, ps->at, "a ')' without its '('");
	return status;
}

void moe_pattern_free(struct moe_pattern *ps)
{
	for (size_t i = 0; i < ps->n_sets; i++)
		moe_charset_free(&ps->sets[i]);
	free(ps->sets);
	free(ps->items);
	free(ps->codes);
	*ps = (struct moe_pattern){0};
}
