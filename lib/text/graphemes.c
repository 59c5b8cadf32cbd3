/* The rules of Unicode's annex 29, one pair of neighbours at a time. */
#include "text/graphemes.h"

uint8_t moe_grapheme_class(uint32_t code)
{
	size_t lo = 0, hi = moe_unicode_n_graphemes;

	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;
		if (moe_unicode_graphemes[mid] >> 5 <= code)
			lo = mid;
		else
			hi = mid;
	}
	return moe_unicode_graphemes[lo] & 31;
}

void moe_graphemes_fill(struct moe_graphemes *graphemes)
{
	size_t run = 0;

	for (uint32_t c = 0; c < 0x10000; c++) {
		while (run + 1 < moe_unicode_n_graphemes && moe_unicode_graphemes[run + 1] >> 5 <= c)
			run++;
		graphemes->classes[c] = moe_unicode_graphemes[run] & 31;
	}
}

/* What has come of a grapheme. */
struct state {
	uint8_t last;
	bool with_tail;    /* last is a syllable of Hangul with a trailing consonant */
	int picture;       /* 1: a picture and what extends it; 2: and a joiner */
	int conjunct;      /* 1: a consonant and what extends it; 2: with a linker among that */
};

static bool extends(uint8_t class)
{
	return class == MOE_GRAPHEME_EXTEND || class == MOE_GRAPHEME_LINKER || class == MOE_GRAPHEME_OUTSIDER;
}

static void take(struct state *st, uint8_t class, uint32_t code)
{
	if (class == MOE_GRAPHEME_PICTURE)
		st->picture = 1;
	else if (class == MOE_GRAPHEME_ZWJ && st->picture == 1)
		st->picture = 2;
	else if (!extends(class) || st->picture == 2)
		st->picture = 0;
	if (class == MOE_GRAPHEME_CONSONANT)
		st->conjunct = 1;
	else if (class == MOE_GRAPHEME_LINKER && st->conjunct)
		st->conjunct = 2;
	else if (class != MOE_GRAPHEME_EXTEND && class != MOE_GRAPHEME_ZWJ)
		st->conjunct = 0;
	st->last = class;
	st->with_tail = class == MOE_GRAPHEME_HANGUL && (code - 0xAC00) % 28 != 0;
}

/* Whether Hangul goes on. */
static bool is_syllable(const struct state *st, uint8_t next)
{
	switch (st->last) {
	case MOE_GRAPHEME_JAMO_L:
		return next == MOE_GRAPHEME_JAMO_L || next == MOE_GRAPHEME_JAMO_V || next == MOE_GRAPHEME_HANGUL;
	case MOE_GRAPHEME_HANGUL:
		return next == MOE_GRAPHEME_JAMO_T || (next == MOE_GRAPHEME_JAMO_V && !st->with_tail);
	case MOE_GRAPHEME_JAMO_V:
		return next == MOE_GRAPHEME_JAMO_V || next == MOE_GRAPHEME_JAMO_T;
	case MOE_GRAPHEME_JAMO_T:
		return next == MOE_GRAPHEME_JAMO_T;
	default:
		return false;
	}
}

static bool is_control(uint8_t class)
{
	return class == MOE_GRAPHEME_CR || class == MOE_GRAPHEME_LF || class == MOE_GRAPHEME_CONTROL;
}

static bool goes_on(const struct state *st, uint8_t next)
{
	if (is_control(st->last) || is_control(next))
		return st->last == MOE_GRAPHEME_CR && next == MOE_GRAPHEME_LF;
	if (extends(next) || next == MOE_GRAPHEME_ZWJ || next == MOE_GRAPHEME_SPACING ||
	    st->last == MOE_GRAPHEME_PREPEND)
		return true;
	return is_syllable(st, next) || (st->picture == 2 && next == MOE_GRAPHEME_PICTURE) ||
	       (st->conjunct == 2 && next == MOE_GRAPHEME_CONSONANT);
}

size_t moe_grapheme_end(const struct moe_graphemes *graphemes, const uint32_t *codes, size_t n, size_t at)
{
	struct state st = {0};

	for (size_t i = at; i < n; i++) {
		uint8_t class = codes[i] < 0x10000 ? graphemes->classes[codes[i]] : moe_grapheme_class(codes[i]);
		if (i > at && !goes_on(&st, class))
			return i;
		take(&st, class, codes[i]);
	}
	return n;
}
