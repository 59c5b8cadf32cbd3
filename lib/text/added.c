/* A trie whose edges are one hash table; first characters have a filter, so that text without added tokens costs a bit
 * test per character. */
#include "text/added.h"

#include <stdlib.h>
#include <string.h>

#include "text/unicode.h"

enum { FILTER_BITS = 1024 };

struct edge {
	uint32_t node;   /* 0: empty slot (no edge leads to the root) */
	uint32_t from, code;
};

struct moe_added_set {
	const struct moe_added_token *tokens;
	struct edge *edges;         /* [mask + 1] */
	size_t mask, n_edges;
	int32_t *token_of;          /* [n_nodes] index of the token that ends here, or -1; node 0 is the root */
	size_t n_nodes, cap_nodes;
	uint64_t filter[FILTER_BITS / 64];
	bool any_lstrip;
};

static struct edge *find_edge(struct edge *edges, size_t mask, uint32_t from, uint32_t code)
{
	uint64_t h = ((uint64_t)from << 21 ^ code) * UINT64_C(0x9E3779B97F4A7C15);
	size_t i = (size_t)(h ^ h >> 32) & mask;

	while (edges[i].node && (edges[i].from != from || edges[i].code != code))
		i = (i + 1) & mask;
	return &edges[i];
}

enum moe_status moe_added_set_new(struct moe_added_set **out, const struct moe_added_token *tokens, struct moe_err *err)
{
	struct moe_added_set *set = calloc(1, sizeof *set);

	*out = NULL;
	if (!set)
		return moe_err_nomem(err, sizeof *set, "added tokens");
	set->tokens = tokens;
	set->mask = 1023;
	set->cap_nodes = 256;
	set->edges = calloc(set->mask + 1, sizeof *set->edges);
	set->token_of = malloc(set->cap_nodes * sizeof *set->token_of);
	if (!set->edges || !set->token_of) {
		moe_added_set_free(set);
		return moe_err_nomem(err, 1024 * sizeof *set->edges, "added tokens");
	}
	set->token_of[0] = -1;
	set->n_nodes = 1;
	*out = set;
	return MOE_OK;
}

static enum moe_status grow(struct moe_added_set *set, struct moe_err *err)
{
	if (set->n_nodes == set->cap_nodes) {
		int32_t *nodes = realloc(set->token_of, 2 * set->cap_nodes * sizeof *nodes);
		if (!nodes || set->n_nodes > UINT32_MAX / 4)
			return moe_err_nomem(err, 2 * set->cap_nodes * sizeof *nodes, "added tokens");
		set->token_of = nodes;
		set->cap_nodes *= 2;
	}
	if (2 * set->n_edges > set->mask) {
		size_t mask = 2 * set->mask + 1;
		struct edge *edges = calloc(mask + 1, sizeof *edges);
		if (!edges)
			return moe_err_nomem(err, (mask + 1) * sizeof *edges, "added tokens");
		for (size_t i = 0; i <= set->mask; i++) {
			if (set->edges[i].node)
				*find_edge(edges, mask, set->edges[i].from, set->edges[i].code) = set->edges[i];
		}
		free(set->edges);
		set->edges = edges;
		set->mask = mask;
	}
	return MOE_OK;
}

enum moe_status moe_added_set_add(struct moe_added_set *set, const uint32_t *codes, size_t n, int32_t index,
                                  struct moe_err *err)
{
	uint32_t node = 0;

	if (n == 0)
		return MOE_OK;
	set->any_lstrip |= set->tokens[index].lstrip;
	set->filter[codes[0] % FILTER_BITS / 64] |= UINT64_C(1) << codes[0] % 64;
	for (size_t i = 0; i < n; i++) {
		enum moe_status status = grow(set, err);
		struct edge *edge;

		if (status)
			return status;
		edge = find_edge(set->edges, set->mask, node, codes[i]);
		if (!edge->node) {
			*edge = (struct edge){(uint32_t)set->n_nodes, node, codes[i]};
			set->token_of[set->n_nodes++] = -1;
			set->n_edges++;
		}
		node = edge->node;
	}
	if (set->token_of[node] < 0)
		set->token_of[node] = index;
	return MOE_OK;
}

void moe_added_set_free(struct moe_added_set *set)
{
	if (!set)
		return;
	free(set->edges);
	free(set->token_of);
	free(set);
}

/* The index of the longest token that begins at `at`, or -1. *open: a longer one may, depending on what follows. */
static int32_t longest_at(const struct moe_added_set *set, const uint32_t *codes, size_t n, size_t at, size_t *end,
                          bool *open)
{
	uint32_t node = 0;
	int32_t found = -1;

	while (at < n && (node = find_edge(set->edges, set->mask, node, codes[at])->node)) {
		at++;
		if (set->token_of[node] >= 0) {
			found = set->token_of[node];
			*end = at;
		}
	}
	*open = at == n;
	return found;
}

/* Where the white space from `at` on ends. Each token in a run of it takes the rest along, which is looked through
 * once. */
static size_t skip_blanks(struct moe_divide *div, size_t at)
{
	if (at < div->blank || at > div->blank_end)
		div->blank = div->blank_end = at;
	while (div->blank_end < div->text.n && moe_unicode_is_space(div->text.p[div->blank_end]))
		div->blank_end++;
	return div->blank_end;
}

/* Whether a token that is written as the text from `start` to `end` is one there; then its part. *open: that depends on
 * what follows. */
static bool take_token(const struct moe_added_token *token, struct moe_divide *div, size_t start, size_t end,
                       struct moe_added_part *part, bool *open)
{
	const uint32_t *codes = div->text.p;
	const size_t n = div->text.n;

	*open = end == n && (token->single_word || token->rstrip);
	if (token->single_word && ((start > 0 && moe_unicode_is_adjacent(codes[start - 1])) ||
	                           (end < n && moe_unicode_is_adjacent(codes[end]))))
		return false;
	/* White space that the token before has taken stays with that one, and a token that is nothing else is none;
	 * without lstrip it is one again. */
	while (token->lstrip && start > div->done && moe_unicode_is_space(codes[start - 1]))
		start--;
	if (token->rstrip)
		end = skip_blanks(div, end);
	*open |= token->rstrip && end == n;
	if (token->lstrip && end <= div->done)
		return false;
	if (token->lstrip && start < div->done)
		start = div->done;
	*part = (struct moe_added_part){start, end, token->id, true};
	return true;
}

/* Looks for the next token from div->at on, up to where that depends on what follows. */
static void find_token(const struct moe_added_set *set, struct moe_divide *div, bool last)
{
	const uint32_t *codes = div->text.p;
	const size_t n = div->text.n;
	bool open = false;

	while (div->at < n && !div->has_token) {
		size_t end = div->at;
		int32_t index = -1;

		if (set->filter[codes[div->at] % FILTER_BITS / 64] >> codes[div->at] % 64 & 1) {
			index = longest_at(set, codes, n, div->at, &end, &open);
			if (open && !last)
				return;
		}
		if (index < 0) {
			div->at++;
			continue;
		}
		div->has_token = take_token(&set->tokens[index], div, div->at, end, &div->token, &open);
		if (open && !last) {
			div->has_token = false;
			return;
		}
		div->at = end;
	}
}

bool moe_added_next(const struct moe_added_set *set, struct moe_divide *div, bool last, struct moe_added_part *part)
{
	size_t end = div->text.n;

	if (!last && div->text.n - div->at < div->need)
		return false;
	div->need = 0;
	if (!div->has_token)
		find_token(set, div, last);
	if (div->has_token) {
		end = div->token.start;
	} else if (!last) {
		/* White space that a token may yet take; what was kept before is not looked at again. */
		end = div->at;
		while (set->any_lstrip && end > div->done && moe_unicode_is_space(div->text.p[end - 1]))
			end = end > div->tried ? end - 1 : div->done;
		div->tried = div->at;
	}
	if (div->done < end) {
		*part = (struct moe_added_part){div->done, end, -1, div->has_token || last};
		div->done = end;
		return true;
	}
	if (div->has_token) {
		*part = div->token;
		div->done = part->end;
		div->has_token = false;
		return true;
	}
	div->need = 2 * (div->text.n - div->at);
	return false;
}

void moe_divide_drop(struct moe_divide *div, bool last)
{
	size_t n = div->at > 0 ? div->at - 1 : 0;

	if (last) {
		div->text.n = div->text.n_lead = div->at = div->done = div->tried = div->need = 0;
		div->blank = div->blank_end = 0;
		return;
	}
	/* A token looks at the character before it. */
	n = n < div->done ? n : div->done;
	moe_codes_drop(&div->text, n);
	div->at -= n;
	div->done -= n;
	div->tried -= n < div->tried ? n : div->tried;
	div->blank -= n < div->blank ? n : div->blank;
	div->blank_end -= n < div->blank_end ? n : div->blank_end;
}
