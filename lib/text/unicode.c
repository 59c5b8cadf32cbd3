/* Look-ups in the tables of unicode_data.c. */
#include "text/unicode.h"

#include <string.h>
#include <utf8proc.h>

const struct moe_range moe_unicode_space[] = {
	{0x9, 0xd}, {0x20, 0x20}, {0x85, 0x85}, {0xa0, 0xa0}, {0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029},
	{0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000},
};
const size_t moe_unicode_n_space = sizeof moe_unicode_space / sizeof *moe_unicode_space;

bool moe_unicode_in(const struct moe_range *ranges, size_t n, uint32_t code)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (ranges[mid].last < code)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < n && ranges[lo].first <= code;
}

bool moe_unicode_is_space(uint32_t code)
{
	return moe_unicode_in(moe_unicode_space, moe_unicode_n_space, code);
}

bool moe_unicode_is_adjacent(uint32_t code)
{
	return moe_unicode_in(moe_unicode_word, moe_unicode_n_word, code) !=
	       moe_unicode_in(moe_unicode_adjacent, moe_unicode_n_adjacent, code);
}

bool moe_unicode_is_numeric(uint32_t code)
{
	return moe_unicode_in(moe_unicode_numeric, moe_unicode_n_numeric, code);
}

bool moe_unicode_is_punctuation(uint32_t code)
{
	return moe_unicode_in(moe_unicode_punctuation, moe_unicode_n_punctuation, code);
}

uint32_t moe_unicode_to_lower(uint32_t code)
{
	size_t lo = 0, hi = moe_unicode_n_lower;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (moe_unicode_lower[mid].last < code)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == moe_unicode_n_lower || moe_unicode_lower[lo].first > code ||
	    (code - moe_unicode_lower[lo].first) % moe_unicode_lower[lo].step != 0)
		return code;
	return (uint32_t)((int64_t)code + moe_unicode_lower[lo].change);
}

uint32_t moe_unicode_category_mask(const char *name, size_t n)
{
	static const char *const names[MOE_N_CATEGORIES] = {
		"Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi",
		"Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co",
	};
	static const struct {
		const char *name, *category;
	} longer[] = {
		{"Letter", "L"}, {"Mark", "M"}, {"Number", "N"}, {"Punctuation", "P"}, {"Symbol", "S"},
		{"Separator", "Z"}, {"Other", "C"},
	};
	uint32_t mask = 0;

	for (size_t i = 0; i < sizeof longer / sizeof *longer; i++) {
		if (n == strlen(longer[i].name) && memcmp(name, longer[i].name, n) == 0)
			return moe_unicode_category_mask(longer[i].category, 1);
	}
	for (int i = 0; i < MOE_N_CATEGORIES; i++) {
		if ((n == 1 || n == 2) && memcmp(name, names[i], n) == 0)
			mask |= UINT32_C(1) << i;
	}
	return mask;
}

uint32_t moe_unicode_fold(uint32_t code)
{
	if (code < 0x80)
		return code >= 'A' && code <= 'Z' ? code + 32 : code;
	/* Dotted capital and dotless small i have no simple folding, though they have case. */
	if (code == 0x130 || code == 0x131)
		return code;
	return (uint32_t)utf8proc_tolower(utf8proc_toupper((utf8proc_int32_t)code));
}
