/* Normal forms and their words. Characters are lowered one by one (a final sigma stays as the mapping gives it); white
 * space and word characters are those of Unicode, punctuation is ASCII's. */
#include "eval/answer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* The next character of *text, U+FFFD for a byte that is none. */
static int32_t take(struct moe_str *text)
{
	utf8proc_int32_t code;
	utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text->p, (utf8proc_ssize_t)text->n, &code);
	if (n < 1) {
		n = 1;
		code = 0xFFFD;
	}
	text->p += n;
	text->n -= (size_t)n;
	return code;
}

static void put(struct moe_buf *out, int32_t code)
{
	utf8proc_uint8_t bytes[4];
	moe_buf_add(out, bytes, (size_t)utf8proc_encode_char(code, bytes));
}

/* White_Space, and the four separators U+001C..1F that Python's split takes for it as well. */
static bool is_space(int32_t code)
{
	if (code < 0x80)
		return code == ' ' || (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x1F);
	const utf8proc_category_t category = utf8proc_category(code);
	return code == 0x85 || category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
	       category == UTF8PROC_CATEGORY_ZP;
}

static bool is_punctuation(int32_t code)
{
	return (code >= 0x21 && code <= 0x2F) || (code >= 0x3A && code <= 0x40) || (code >= 0x5B && code <= 0x60) ||
	       (code >= 0x7B && code <= 0x7E);
}

/* Letters and numbers: what an article may not touch. */
static bool is_word(int32_t code)
{
	const utf8proc_category_t category = utf8proc_category(code);
	return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
	       (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
}

static void lower(struct moe_str text, struct moe_buf *out)
{
	while (text.n > 0) {
		const int32_t code = take(&text);
		if (is_punctuation(code))
			continue;
		/* The one character whose lower case is two. */
		put(out, code == 0x130 ? 'i' : utf8proc_tolower(code));
		if (code == 0x130)
			put(out, 0x307);
	}
}

static bool is_article(const char *p, size_t n)
{
	return (n == 1 && p[0] == 'a') || (n == 2 && memcmp(p, "an", 2) == 0) || (n == 3 && memcmp(p, "the", 3) == 0);
}

/* A run of word characters that is an article becomes a space. */
static void drop_articles(struct moe_str text, struct moe_buf *out)
{
	while (text.n > 0) {
		struct moe_str rest = text;
		const bool word = is_word(take(&rest));
		size_t n = text.n - rest.n;
		while (rest.n > 0) {
			struct moe_str behind = rest;
			if (is_word(take(&behind)) != word)
				break;
			n += rest.n - behind.n;
			rest = behind;
		}
		is_article(text.p, n) ? moe_buf_addc(out, ' ') : moe_buf_add(out, text.p, n);
		text = rest;
	}
}

/* The next word between white space; false at the end. */
static bool next_word(struct moe_str *text, struct moe_str *word)
{
	struct moe_str rest = *text;
	while (rest.n > 0 && is_space(take(&rest)))
		*text = rest;
	*word = (struct moe_str){ text->p, 0 };
	while (text->n > 0) {
		rest = *text;
		if (is_space(take(&rest)))
			break;
		*text = rest;
	}
	word->n = (size_t)(text->p - word->p);
	return word->n > 0;
}

void moe_answer_normalize(struct moe_str text, struct moe_buf *out)
{
	struct moe_buf lowered = { 0 }, bare = { 0 };
	lower(text, &lowered);
	drop_articles((struct moe_str){ lowered.p ? lowered.p : "", lowered.n }, &bare);
	struct moe_str rest = { bare.p ? bare.p : "", bare.n }, word;
	for (bool first = true; next_word(&rest, &word); first = false) {
		moe_buf_adds(out, first ? "" : " ");
		moe_buf_add(out, word.p, word.n);
	}
	out->failed |= lowered.failed || bare.failed;
	moe_buf_free(&lowered);
	moe_buf_free(&bare);
}

/* The words of a normal form, sorted. */
struct words {
	struct moe_str *v;   /* [n] */
	size_t n;
};

static int by_bytes(const void *a, const void *b)
{
	const struct moe_str *x = a, *y = b;
	const size_t n = x->n < y->n ? x->n : y->n;
	const int order = memcmp(x->p, y->p, n);
	return order ? order : x->n < y->n ? -1 : x->n > y->n;
}

static bool split(const struct moe_buf *form, struct words *out)
{
	struct moe_str rest = { form->p ? form->p : "", form->n }, word;
	out->v = calloc(form->n / 2 + 1, sizeof *out->v);
	while (out->v && moe_str_next(&rest, ' ', &word))
		out->v[out->n++] = word;
	if (out->v)
		qsort(out->v, out->n, sizeof *out->v, by_bytes);
	return out->v;
}

static double f1_of(const struct words *a, const struct words *b)
{
	size_t both = 0;
	if (a->n == 0 || b->n == 0)
		return a->n == b->n;
	for (size_t i = 0, j = 0; i < a->n && j < b->n;) {
		const int order = by_bytes(&a->v[i], &b->v[j]);
		both += order == 0;
		i += order <= 0;
		j += order >= 0;
	}
	const double p = (double)both / (double)a->n, r = (double)both / (double)b->n;
	return both ? 2 * p * r / (p + r) : 0;
}

static struct moe_str trim(struct moe_str text)
{
	while (text.n > 0 && strchr(" \t\n\v\f\r", text.p[text.n - 1]) && text.p[text.n - 1])
		text.n--;
	while (text.n > 0 && strchr(" \t\n\v\f\r", *text.p) && *text.p) {
		text.p++;
		text.n--;
	}
	return text;
}

enum moe_status moe_answer_match(struct moe_str text, struct moe_str answer, struct moe_match *out,
                                 struct moe_err *err)
{
	struct moe_buf a = { 0 }, b = { 0 };
	struct words x = { 0 }, y = { 0 };
	const struct moe_str bare = trim(text), wanted = trim(answer);
	moe_answer_normalize(text, &a);
	moe_answer_normalize(answer, &b);
	enum moe_status status = moe_buf_check(&a, err);
	if (!status)
		status = moe_buf_check(&b, err);
	if (!status && (!split(&a, &x) || !split(&b, &y)))
		status = moe_err_nomem(err, a.n + b.n, "the words of an answer");
	if (!status)
		*out = (struct moe_match){
			.literal = bare.n == wanted.n && (bare.n == 0 || memcmp(bare.p, wanted.p, bare.n) == 0),
			.exact = a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0),
			.f1 = f1_of(&x, &y),
		};
	free(x.v);
	free(y.v);
	moe_buf_free(&a);
	moe_buf_free(&b);
	return status;
}

struct moe_match moe_match_best(struct moe_match a, struct moe_match b)
{
	return (struct moe_match){ a.literal || b.literal, a.exact || b.exact, a.f1 > b.f1 ? a.f1 : b.f1 };
}
