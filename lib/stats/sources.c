/* Counting choices by source. */
#include "stats/sources.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t state_bytes(const struct moe_stream_setup *setup)
{
	(void)setup;
	return sizeof(struct moe_sources);
}

/* Counts of a source, which is put in its place where it is new. */
static enum moe_status find(struct moe_sources *s, const char *name, size_t n_experts, uint64_t **counts,
                            struct moe_err *err)
{
	size_t lo = 0, hi = s->n;

	if (s->n > 0 && strcmp(s->names[s->last], name) == 0) {
		*counts = s->counts + s->last * n_experts;
		return MOE_OK;
	}
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(s->names[mid], name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	s->last = lo;
	if (lo == s->n || strcmp(s->names[lo], name) != 0) {
		if (s->n == s->cap) {
			size_t cap = s->cap ? 2 * s->cap : 8;
			void *names = reallocarray(s->names, cap, sizeof *s->names);
			void *grown;

			s->names = names ? names : s->names;
			grown = names ? reallocarray(s->counts, cap, n_experts * sizeof *s->counts) : NULL;
			if (!grown)
				return moe_err_nomem(err, cap * n_experts * sizeof *s->counts, "the counts of sources");
			s->counts = grown;
			s->cap = cap;
		}
		char *copy = strdup(name);

		if (!copy)
			return moe_err_nomem(err, strlen(name) + 1, "the name of a source");
		memmove(s->names + lo + 1, s->names + lo, (s->n - lo) * sizeof *s->names);
		memmove(s->counts + (lo + 1) * n_experts, s->counts + lo * n_experts,
		        (s->n - lo) * n_experts * sizeof *s->counts);
		memset(s->counts + lo * n_experts, 0, n_experts * sizeof *s->counts);
		s->names[lo] = copy;
		s->n++;
	}
	*counts = s->counts + lo * n_experts;
	return MOE_OK;
}

static enum moe_status add(const struct moe_stream_tokens *tokens, void *state, void *open, struct moe_err *err)
{
	const struct moe_routing *r = tokens->routing;
	uint64_t *counts;
	enum moe_status status = find(state, tokens->run->source, (size_t)r->n_experts, &counts, err);

	(void)open;
	for (int64_t i = 0; i < r->n_tokens * r->top_k && !status; i++)
		if (r->ids[i] >= 0)
			counts[r->ids[i]]++;
	return status;
}

static enum moe_status merge(const struct moe_stream_setup *setup, void *into, const void *from, struct moe_err *err)
{
	const size_t n = (size_t)setup->n_experts;
	const struct moe_sources *s = from;
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < s->n && !status; i++) {
		uint64_t *counts;

		status = find(into, s->names[i], n, &counts, err);
		for (size_t e = 0; e < n && !status; e++)
			counts[e] += s->counts[i * n + e];
	}
	return status;
}

static void clear(const struct moe_stream_setup *setup, void *state)
{
	struct moe_sources *s = state;

	(void)setup;
	for (size_t i = 0; i < s->n; i++)
		free(s->names[i]);
	free(s->names);
	free(s->counts);
}

const struct moe_stream moe_stream_sources = {.state = state_bytes, .add = add, .merge = merge, .clear = clear};

double moe_sources_of_source(const struct moe_counts *counts, size_t source)
{
	const struct moe_sources *s = counts->state;
	const size_t n = (size_t)counts->n_experts;
	double sum = 0;

	for (size_t e = 0; e < n; e++)
		sum += (double)s->counts[source * n + e];
	return sum;
}

double moe_sources_of_expert(const struct moe_counts *counts, int32_t expert)
{
	const struct moe_sources *s = counts->state;
	double sum = 0;

	for (size_t i = 0; i < s->n; i++)
		sum += (double)s->counts[i * (size_t)counts->n_experts + (size_t)expert];
	return sum;
}

double moe_sources_total(const struct moe_counts *counts)
{
	const struct moe_sources *s = counts->state;
	double sum = 0;

	for (size_t i = 0; i < s->n; i++)
		sum += moe_sources_of_source(counts, i);
	return sum;
}

double moe_sources_gain(const struct moe_counts *counts, int32_t expert)
{
	const struct moe_sources *s = counts->state;
	const double total = moe_sources_total(counts), of_expert = moe_sources_of_expert(counts, expert);
	double sum = 0;

	if (!(of_expert > 0))
		return (double)NAN;
	for (size_t i = 0; i < s->n; i++) {
		double p = (double)s->counts[i * (size_t)counts->n_experts + (size_t)expert] / of_expert;

		if (p > 0)
			sum += p * log2(p * total / moe_sources_of_source(counts, i));
	}
	return sum;
}
