/* Finding tokens that chose otherwise. */
#include "stats/flips.h"

#include <math.h>
#include <string.h>

static uint64_t n_listed(const struct moe_stream_setup *setup)
{
	return setup->params->top_n > 0 ? (uint64_t)setup->params->top_n : MOE_FLIPS_LISTED;
}

static size_t flip_bytes(const struct moe_stream_setup *setup)
{
	return (sizeof(struct moe_flip) + 2 * (size_t)setup->top_k * sizeof(int32_t) + 7) / 8 * 8;
}

static size_t state_bytes(const struct moe_stream_setup *setup)
{
	return sizeof(struct moe_flips) + n_listed(setup) * flip_bytes(setup);
}

static struct moe_flip *flip_at(const struct moe_stream_setup *setup, struct moe_flips *flips, uint64_t i)
{
	return (struct moe_flip *)(void *)(flips->list + i * flip_bytes(setup));
}

const struct moe_flip *moe_flip_at(const struct moe_stream_setup *setup, const struct moe_flips *flips, uint64_t i,
                                   const int32_t **ids)
{
	const char *at = flips->list + i * flip_bytes(setup);

	*ids = (const int32_t *)(const void *)(at + sizeof(struct moe_flip));
	return (const struct moe_flip *)(const void *)at;
}

/* Does a come before b? Margins that are not known come last. */
static bool before(const struct moe_flip *a, const struct moe_flip *b)
{
	double x = isnan(a->margin) ? -(double)INFINITY : a->margin;
	double y = isnan(b->margin) ? -(double)INFINITY : b->margin;

	if (x != y)
		return x > y;
	if (a->part != b->part)
		return a->part < b->part;
	return a->seq != b->seq ? a->seq < b->seq : a->pos < b->pos;
}

/* Takes in a flip where it belongs, if there is room or a lesser one. */
static void enlist(const struct moe_stream_setup *setup, struct moe_flips *flips, const struct moe_flip *flip,
                   const int32_t *ids, const int32_t *other)
{
	const size_t n_each = flip_bytes(setup), n_ids = (size_t)setup->top_k * sizeof *ids;
	uint64_t max = n_listed(setup), at = flips->n_listed;
	char *place;

	while (at > 0 && before(flip, flip_at(setup, flips, at - 1)))
		at--;
	if (at == max)
		return;
	flips->n_listed += flips->n_listed < max;
	place = flips->list + at * n_each;
	memmove(place + n_each, place, (flips->n_listed - 1 - at) * n_each);
	memcpy(place, flip, sizeof *flip);
	memcpy(place + sizeof *flip, ids, n_ids);
	memcpy(place + sizeof *flip + n_ids, other, n_ids);
}

/* How many of a are not in b. */
static int32_t missing(const int32_t *a, const int32_t *b, int32_t k)
{
	int32_t n = 0;

	for (int32_t i = 0; i < k; i++) {
		bool found = a[i] < 0;

		for (int32_t j = 0; j < k && !found; j++)
			found = a[i] == b[j];
		n += !found;
	}
	return n;
}

static enum moe_status add(const struct moe_stream_tokens *tokens, void *state, void *open, struct moe_err *err)
{
	const struct moe_stream_setup *setup = tokens->setup;
	const struct moe_routing *r = tokens->routing;
	const int32_t k = r->top_k;
	struct moe_flips *s = state;

	(void)open;
	for (int64_t t = 0; t < r->n_tokens; t++) {
		const int32_t *ids = r->ids + t * k, *other = tokens->against->ids + t * k;
		int32_t gone = missing(ids, other, k), come = missing(other, ids, k);
		struct moe_flip flip = {.part = tokens->part, .seq = tokens->run->seq, .pos = tokens->run->pos + t,
		                        .margin = r->margins ? (double)r->margins[t] : (double)NAN};

		s->n_tokens++;
		if (gone + come == 0)
			continue;
		s->n_flips++;
		s->n_other += (uint64_t)gone;
		if (r->margins && isfinite(flip.margin)) {
			if (fabs(flip.margin) > MOE_FIXED_MAX)
				return moe_stream_bad(tokens, t, "the margin is not a number from -2^40 to 2^40", err);
			s->n_margins++;
			moe_fixed_add(&s->margins, flip.margin);
		}
		enlist(setup, s, &flip, ids, other);
	}
	return MOE_OK;
}

static enum moe_status merge(const struct moe_stream_setup *setup, void *into, const void *from, struct moe_err *err)
{
	struct moe_flips *to = into;
	const struct moe_flips *s = from;

	(void)err;
	to->n_tokens += s->n_tokens;
	to->n_flips += s->n_flips;
	to->n_other += s->n_other;
	to->n_margins += s->n_margins;
	moe_fixed_merge(&to->margins, &s->margins);
	for (uint64_t i = 0; i < s->n_listed; i++) {
		const int32_t *ids;
		const struct moe_flip *flip = moe_flip_at(setup, s, i, &ids);

		enlist(setup, to, flip, ids, ids + setup->top_k);
	}
	return MOE_OK;
}

const struct moe_stream moe_stream_flips = {.state = state_bytes, .add = add, .merge = merge};
