/* Sets of code points: union by appending, then sorting; the rest by walking sorted ranges. */
#include "text/charset.h"

#include <stdlib.h>
#include <string.h>

void moe_charset_add(struct moe_charset *set, uint32_t first, uint32_t last)
{
	if (set->n == set->cap) {
		size_t cap = set->cap ? set->cap * 2 : 8;
		struct moe_range *grown = set->failed ? NULL : realloc(set->ranges, cap * sizeof *grown);
		if (!grown) {
			set->failed = true;
			return;
		}
		set->ranges = grown;
		set->cap = cap;
	}
	set->ranges[set->n++] = (struct moe_range){first, last};
}

void moe_charset_add_ranges(struct moe_charset *set, const struct moe_range *ranges, size_t n)
{
	for (size_t i = 0; i < n; i++)
		moe_charset_add(set, ranges[i].first, ranges[i].last);
}

void moe_charset_add_categories(struct moe_charset *set, uint32_t mask)
{
	for (size_t i = 0; i < moe_unicode_n_categories; i++) {
		uint32_t first = moe_unicode_categories[i] >> 5, end = MOE_CODE_MAX + 1;
		if (i + 1 < moe_unicode_n_categories)
			end = moe_unicode_categories[i + 1] >> 5;
		if (mask >> (moe_unicode_categories[i] & 31) & 1)
			moe_charset_add(set, first, end - 1);
	}
}

static int compare_ranges(const void *a, const void *b)
{
	uint32_t x = ((const struct moe_range *)a)->first, y = ((const struct moe_range *)b)->first;
	return (x > y) - (x < y);
}

void moe_charset_tidy(struct moe_charset *set)
{
	size_t kept = 0;

	if (set->n < 2)
		return;
	qsort(set->ranges, set->n, sizeof *set->ranges, compare_ranges);
	for (size_t i = 1; i < set->n; i++) {
		struct moe_range *last = &set->ranges[kept], next = set->ranges[i];
		if (next.first <= last->last + 1) {
			if (next.last > last->last)
				last->last = next.last;
		} else {
			set->ranges[++kept] = next;
		}
	}
	set->n = kept + 1;
}

void moe_charset_invert(struct moe_charset *set)
{
	struct moe_charset out = {0};
	uint32_t next = 0;

	moe_charset_tidy(set);
	for (size_t i = 0; i < set->n; i++) {
		if (set->ranges[i].first > next)
			moe_charset_add(&out, next, set->ranges[i].first - 1);
		next = set->ranges[i].last + 1;
	}
	if (next <= MOE_CODE_MAX)
		moe_charset_add(&out, next, MOE_CODE_MAX);
	out.failed |= set->failed;
	moe_charset_free(set);
	*set = out;
}

void moe_charset_intersect(struct moe_charset *set, const struct moe_charset *with)
{
	struct moe_charset out = {0}, other = {0};
	size_t i = 0, j = 0;

	moe_charset_tidy(set);
	moe_charset_add_ranges(&other, with->ranges, with->n);
	moe_charset_tidy(&other);
	while (i < set->n && j < other.n) {
		struct moe_range a = set->ranges[i], b = other.ranges[j];
		uint32_t first = a.first > b.first ? a.first : b.first, last = a.last < b.last ? a.last : b.last;
		if (first <= last)
			moe_charset_add(&out, first, last);
		if (a.last < b.last)
			i++;
		else
			j++;
	}
	out.failed |= set->failed || with->failed || other.failed;
	moe_charset_free(&other);
	moe_charset_free(set);
	*set = out;
}

/* The members of an ASCII set, which is what nearly every caseless pattern holds: letters have their other case, and
 * s and k have one relative outside ASCII each. */
static void fold_ascii(struct moe_charset *set)
{
	size_t n = set->n;

	for (size_t i = 0; i < n; i++) {
		for (uint32_t c = set->ranges[i].first; c <= set->ranges[i].last; c++) {
			uint32_t lower = moe_unicode_fold(c);
			if (lower < 'a' || lower > 'z')
				continue;
			moe_charset_add(set, lower, lower);
			moe_charset_add(set, lower - 32, lower - 32);
			if (lower == 's')
				moe_charset_add(set, 0x17F, 0x17F);
			if (lower == 'k')
				moe_charset_add(set, 0x212A, 0x212A);
		}
	}
}

void moe_charset_fold(struct moe_charset *set)
{
	struct moe_charset folded = {0};

	moe_charset_tidy(set);
	if (set->n == 0)
		return;
	if (set->ranges[set->n - 1].last < 0x80) {
		fold_ascii(set);
		moe_charset_tidy(set);
		return;
	}
	for (size_t i = 0; i < set->n; i++) {
		for (uint32_t c = set->ranges[i].first; c <= set->ranges[i].last; c++) {
			uint32_t f = moe_unicode_fold(c);
			moe_charset_add(&folded, f, f);
		}
		moe_charset_tidy(&folded);
	}
	for (uint32_t c = 0; c <= MOE_CODE_MAX; c++) {
		if (moe_unicode_in(folded.ranges, folded.n, moe_unicode_fold(c)))
			moe_charset_add(set, c, c);
	}
	set->failed |= folded.failed;
	moe_charset_free(&folded);
	moe_charset_tidy(set);
}

void moe_charset_free(struct moe_charset *set)
{
	free(set->ranges);
	*set = (struct moe_charset){0};
}
