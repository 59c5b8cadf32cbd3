/* Dividing a text into pieces: the matches of a pattern or of characters, and what becomes of them. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/stage.h"

enum moe_status moe_pieces_add(struct moe_pieces *pieces, size_t start, size_t end, bool is_match, struct moe_err *err)
{
	if (pieces->n == pieces->cap) {
		size_t cap = pieces->cap ? pieces->cap * 2 : 64;
		struct moe_piece *grown = realloc(pieces->v, cap * sizeof *grown);
		if (!grown)
			return moe_err_nomem(err, cap * sizeof *grown, "the pieces of a text");
		pieces->v = grown;
		pieces->cap = cap;
	}
	pieces->v[pieces->n++] = (struct moe_piece){(uint32_t)start, (uint32_t)end, is_match};
	return MOE_OK;
}

void moe_split_free(struct moe_split *split)
{
	moe_codes_free(&split->text);
	moe_codes_free(&split->spare_text);
	free(split->pieces.v);
	free(split->spare.v);
	free(split->matches.v);
	*split = (struct moe_split){0};
}

/* Appends to split->spare the pieces that split->matches, which cover a piece without a gap, make of it. */
static enum moe_status add_by_behavior(struct moe_split *split, enum moe_behavior behavior, struct moe_err *err)
{
	const struct moe_pieces *m = &split->matches;
	struct moe_pieces *out = &split->spare;
	size_t first = out->n;

	for (size_t i = 0; i < m->n; i++) {
		const struct moe_piece *v = &m->v[i];
		bool join = false;
		enum moe_status status;

		if (v->start == v->end && behavior == MOE_SPLIT_ISOLATED)
			continue;
		switch (behavior) {
		case MOE_SPLIT_ISOLATED:
			break;
		case MOE_SPLIT_REMOVED:
			if (v->is_match)
				continue;
			break;
		case MOE_SPLIT_WITH_PREVIOUS:
			join = v->is_match && !(i > 0 && m->v[i - 1].is_match);
			break;
		case MOE_SPLIT_WITH_NEXT:
			join = i > 0 && m->v[i - 1].is_match && !v->is_match;
			/* Of several matches in a row only the last goes with the gap behind them. */
			break;
		case MOE_SPLIT_CONTIGUOUS:
			join = i > 0 && v->is_match == m->v[i - 1].is_match;
			break;
		}
		if (join && out->n > first) {
			out->v[out->n - 1].end = v->end;
			continue;
		}
		status = moe_pieces_add(out, v->start, v->end, false, err);
		if (status)
			return status;
	}
	return MOE_OK;
}

/* The pieces gathered in spare become those of the split; empty ones go. */
static void take_spare(struct moe_split *split)
{
	struct moe_pieces done = split->spare;
	size_t kept = 0;

	for (size_t i = 0; i < done.n; i++) {
		if (done.v[i].start < done.v[i].end)
			done.v[kept++] = done.v[i];
	}
	done.n = kept;
	split->spare = split->pieces;
	split->pieces = done;
}

enum moe_status moe_pieces_match(struct moe_pieces *out, struct moe_regex_scan *scan, struct moe_piece piece,
                                 bool invert, struct moe_err *err)
{
	size_t from = piece.start, gap = piece.start, start, stop;
	bool found, any = false;
	enum moe_status status;

	out->n = 0;
	while (from <= piece.end) {
		status = moe_regex_find(scan, piece.start, piece.end, from, &found, &start, &stop, err);
		if (status)
			return status;
		if (!found)
			break;
		if (start == stop && any && start == gap) {
			from = from + 1;
			continue;
		}
		if (gap != start)
			status = moe_pieces_add(out, gap, start, invert, err);
		if (!status)
			status = moe_pieces_add(out, start, stop, !invert, err);
		if (status)
			return status;
		from = gap = stop;
		any = true;
	}
	return gap == piece.end ? MOE_OK : moe_pieces_add(out, gap, piece.end, invert, err);
}

enum moe_status moe_split_regex(struct moe_split *split, const struct moe_regex *regex, enum moe_behavior behavior,
                                bool invert, struct moe_err *err)
{
	struct moe_regex_scan *scan;
	enum moe_status status = moe_regex_begin(&scan, regex, split->text.p, split->text.n, err);

	split->spare.n = 0;
	for (size_t i = 0; i < split->pieces.n && !status; i++) {
		status = moe_pieces_match(&split->matches, scan, split->pieces.v[i], invert, err);
		if (!status)
			status = add_by_behavior(split, behavior, err);
	}
	moe_regex_finish(scan);
	take_spare(split);
	return status;
}

/* A match is a character for which is() holds; without is(), a copy of `code`. */
static enum moe_status split_by(struct moe_split *split, bool (*is)(uint32_t code), uint32_t code,
                                enum moe_behavior behavior, struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	split->spare.n = 0;
	for (size_t i = 0; i < split->pieces.n && !status; i++) {
		struct moe_piece piece = split->pieces.v[i];
		size_t gap = piece.start;

		split->matches.n = 0;
		for (size_t k = piece.start; k < piece.end && !status; k++) {
			if (is ? !is(split->text.p[k]) : split->text.p[k] != code)
				continue;
			if (gap < k)
				status = moe_pieces_add(&split->matches, gap, k, false, err);
			if (!status)
				status = moe_pieces_add(&split->matches, k, k + 1, true, err);
			gap = k + 1;
		}
		if (!status && gap < piece.end)
			status = moe_pieces_add(&split->matches, gap, piece.end, false, err);
		if (!status)
			status = add_by_behavior(split, behavior, err);
	}
	take_spare(split);
	return status;
}

enum moe_status moe_split_where(struct moe_split *split, bool (*is)(uint32_t code), enum moe_behavior behavior,
                                struct moe_err *err)
{
	return split_by(split, is, 0, behavior, err);
}

enum moe_status moe_split_code(struct moe_split *split, uint32_t code, enum moe_behavior behavior,
                               struct moe_err *err)
{
	return split_by(split, NULL, code, behavior, err);
}

enum moe_status moe_split_prefix(struct moe_split *split, uint32_t code, bool only_lead, struct moe_err *err)
{
	struct moe_codes *out = &split->spare_text;
	size_t n_lead = 0;
	enum moe_status status = MOE_OK;

	out->n = 0;
	for (size_t i = 0; i < split->pieces.n && !status; i++) {
		struct moe_piece *v = &split->pieces.v[i];
		size_t start = out->n;
		bool leads = v->start < split->text.n_lead;

		if (leads)
			n_lead += (v->end < split->text.n_lead ? v->end : split->text.n_lead) - v->start;
		if (split->text.p[v->start] != code && (leads || !only_lead)) {
			status = moe_codes_add(out, &code, 1, err);
			n_lead += leads;
		}
		if (!status)
			status = moe_codes_add(out, split->text.p + v->start, v->end - v->start, err);
		v->start = start;
		v->end = out->n;
	}
	moe_codes_swap(&split->text, out, n_lead);
	return status;
}

enum moe_status moe_stage_behavior(const json_t *obj, const char *where, enum moe_behavior *out, struct moe_err *err)
{
	static const char *const names[] = {
		[MOE_SPLIT_ISOLATED] = "Isolated", [MOE_SPLIT_REMOVED] = "Removed",
		[MOE_SPLIT_WITH_PREVIOUS] = "MergedWithPrevious", [MOE_SPLIT_WITH_NEXT] = "MergedWithNext",
		[MOE_SPLIT_CONTIGUOUS] = "Contiguous",
	};
	const char *name = names[*out];
	enum moe_status status = moe_json_str(obj, "behavior", where, &name, err);

	if (status)
		return status;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (strcmp(names[i], name) == 0) {
			*out = (enum moe_behavior)i;
			return MOE_OK;
		}
	}
	return moe_err_set(err, MOE_EFORMAT,
	                   "%s.behavior: '%.100s' is not one of Isolated, Removed, MergedWithPrevious, "
	                   "MergedWithNext, Contiguous", where, name);
}
